"""The stack engine: many replicas as one model, by torch.func. It carries any cell that vmap carries.

Stacks are always 32 wide, padded with copies. Batched products of another width may take another path through the
library, so a replica's last bits would depend on how many share its stack.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap

from cellbench.engines.engine import USUAL_BATCHES, Advanced, Engine, Refused, Scores, first_line
from cellbench.engines.fused import spelt_out
from cellbench.engines.on_torch import compiler, instruction_set, scores_of
from cellbench.engines.optimizers import Optimizer, Slots, clip
from cellbench.model import Blueprint, Model, loss
from cellbench.task import Floats

WIDTH = 32


def together(batch_size: int) -> int:
    """Count the replicas that are trained at a time: the same at every batch size."""
    return WIDTH


def prepare(
    blueprint: Blueprint, *, optimizer: Optimizer, clip_norm: float | None, batch_sizes: Sequence[int] = USUAL_BATCHES
) -> Engine:
    """Make the stack engine ready for one model; see `cellbench.engines.engine`.

    Raises:
        Refused: vmap does not carry the cell, or gives other numbers than one replica alone has.
        CellError: the cell cannot be made.
    """
    model = blueprint.build("probe")
    if not any(p.requires_grad for p in model.parameters()):
        raise Refused("the model has nothing to train")
    engine = StackEngine(_Stacked(model), optimizer, clip_norm)
    # try it: one replica, one step, five examples of three time steps
    generator = torch.Generator().manual_seed(0)
    shape = (1, 1, 3, 5)
    inputs = torch.randint(0, 2, (*shape, blueprint.input_size), generator=generator).float().numpy()
    targets = torch.randint(0, 2, (*shape, blueprint.output_size), generator=generator).float().numpy()
    which = np.zeros(1, np.int64)
    try:
        replicas = engine.begin([model], [0.01])
        stacked = replicas.evaluate(inputs[:, 0], targets[:, 0], which)
        replicas.advance(inputs, targets, which)
    except Exception as error:
        # the cell's own faults end here too; the reference engine will show them with their traceback
        raise Refused(f"vmap: {first_line(error)}") from error
    with torch.no_grad():
        alone = loss(model(torch.from_numpy(inputs[0, 0])), torch.from_numpy(targets[0, 0])).item()
    # vmap may change what a cell computes without an error (writes in place, a mean over the wrong axis)
    if not np.isclose(stacked.loss[0], alone, rtol=1e-4, atol=1e-6, equal_nan=True):
        raise Refused(f"vmap: the loss under vmap is {stacked.loss[0]:.6g}, alone it is {alone:.6g}")
    return engine


class _Stacked:
    """The model as a function of one flat row of parameters."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.names = [n for n, _ in model.named_parameters()]
        self.shapes = [p.shape for _, p in model.named_parameters()]
        self.sizes = [p.numel() for _, p in model.named_parameters()]
        self.buffers = dict(model.named_buffers())

    def flat(self, model: Model) -> Tensor:
        """Join the model's parameters to a row, shape (parameters,)."""
        return torch.cat([p.detach().reshape(-1) for p in model.parameters()])

    def named(self, row: Tensor) -> dict[str, Tensor]:
        """Divide a row into parameters by name, as views in their own shapes."""
        parts = torch.split(row, self.sizes)
        return {n: p.view(s) for n, p, s in zip(self.names, parts, self.shapes, strict=True)}

    def logits(self, row: Tensor, inputs: Tensor) -> Tensor:
        """Compute logits (time, batch, output_size) with the parameters of a row."""
        with spelt_out():
            out: Tensor = functional_call(self.model, {**self.named(row), **self.buffers}, (inputs,))
        return out


class StackEngine:
    """One model under vmap; see `cellbench.engines.engine.Engine`."""

    name = "stack"
    width = padded = WIDTH

    def __init__(self, stacked: _Stacked, optimizer: Optimizer, clip_norm: float | None) -> None:
        self.isa = instruction_set()
        self.compiler = compiler()
        self._stacked = stacked
        self._optimizer = optimizer
        self._clip_norm = clip_norm

    def begin(self, models: Sequence[Model], learning_rates: Sequence[float]) -> StackReplicas:
        """Start replicas at the weights of `models`, each with its learning rate."""
        return StackReplicas(self._stacked, models, learning_rates, self._optimizer, self._clip_norm)


class StackReplicas:
    """Replicas in training; see `cellbench.engines.engine.Replicas`."""

    def __init__(
        self,
        stacked: _Stacked,
        models: Sequence[Model],
        rates: Sequence[float],
        optimizer: Optimizer,
        clip_norm: float | None,
    ) -> None:
        self._stacked = stacked
        self._optimizer = optimizer
        self._clip_norm = clip_norm
        self._step = 0
        self._rows = torch.stack([stacked.flat(m) for m in models])
        self._slots = optimizer.init(self._rows)
        self._rates = torch.tensor(rates, dtype=torch.float32)[:, None]

        # one replica's loss as a function of its row; vmap makes it one of all rows of a stack
        def objective(row: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
            return loss(stacked.logits(row, inputs), targets)

        self._gradient: Any = vmap(grad_and_value(objective))
        self._logits: Any = vmap(stacked.logits)

    def _stacks(self) -> list[Tensor]:
        """List the indices of each stack's members, padded with copies of its first to the fixed width."""
        stacks = []
        for start in range(0, len(self._rows), WIDTH):
            members = torch.arange(start, min(start + WIDTH, len(self._rows)))
            stacks.append(torch.cat([members, members[:1].expand(WIDTH - len(members))]))
        return stacks

    def advance(self, inputs: Floats, targets: Floats, which: NDArray[np.int64]) -> Advanced:
        """Train every replica through a block of steps."""
        steps, count = inputs.shape[1], len(self._rows)
        losses = np.full((count, steps), np.nan)
        broke = np.full(count, -1, np.int64)
        seed_of, x, y = torch.from_numpy(which), torch.from_numpy(inputs), torch.from_numpy(targets)
        for stack in self._stacks():
            # the stack's own copies of weights, slots and rates; the first `real` rows are replicas, the rest padding
            real = min(WIDTH, count - int(stack[0]))
            rows, rates = self._rows[stack], self._rates[stack]
            slots: Slots = tuple(s[stack] for s in self._slots)
            ok = torch.ones(WIDTH, 1, dtype=torch.bool)
            at = slice(int(stack[0]), int(stack[0]) + real)
            stack_losses, stack_ok = torch.empty(steps, WIDTH), torch.empty(steps, WIDTH, dtype=torch.bool)
            for step in range(steps):
                gradients, values = self._gradient(rows, x[seed_of[stack], step], y[seed_of[stack], step])
                norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
                ok = ok & torch.isfinite(values)[:, None] & torch.isfinite(norms)
                stack_losses[step], stack_ok[step] = values, ok[:, 0]
                if self._clip_norm is not None:
                    gradients = clip(gradients, norms, self._clip_norm)
                after, after_slots = self._optimizer.update(rows, gradients, slots, rates, self._step + step + 1)
                # a replica whose loss or gradient was not finite keeps its weights from now on
                rows = torch.where(ok, after, rows)
                slots = tuple(torch.where(ok, a, b) for a, b in zip(after_slots, slots, strict=True))
            # write back what was trained, without the padding
            self._rows[at] = rows[:real]
            for mine, theirs in zip(self._slots, slots, strict=True):
                mine[at] = theirs[:real]
            # a replica's losses up to the step at which it broke, and that step (or -1)
            went, alive = stack_losses[:, :real].double().numpy().T, stack_ok[:, :real].numpy().T
            first = np.where(alive.all(axis=1), -1, (~alive).argmax(axis=1))
            broke[at] = first
            seen = np.where(first < 0, steps, first + 1)
            losses[at] = np.where(np.arange(steps) < seen[:, None], went, np.nan)
        self._step += steps
        return Advanced(losses, broke)

    def evaluate(self, inputs: Floats, targets: Floats, which: NDArray[np.int64]) -> Scores:
        """Score every replica."""
        seed_of, x, y = torch.from_numpy(which), torch.from_numpy(inputs), torch.from_numpy(targets)
        parts = []
        with torch.no_grad():
            for stack in self._stacks():
                real = min(WIDTH, len(self._rows) - int(stack[0]))
                found = scores_of(self._logits(self._rows[stack], x[seed_of[stack]]), y[seed_of[stack]])
                parts.append([values[:real] for values in found])
        return Scores(*(np.concatenate(values) for values in zip(*parts, strict=True)))

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these replicas alone, in this order."""
        index = torch.tensor(rows, dtype=torch.int64)
        self._rows, self._rates = self._rows[index], self._rates[index]
        self._slots = tuple(s[index] for s in self._slots)

    def parameters(self) -> list[dict[str, Floats]]:
        """Copy each replica's parameters, by name."""
        return [{n: p.numpy().copy() for n, p in self._stacked.named(row).items()} for row in self._rows]
