"""The stack engine: many replicas as one model, by torch.func. It carries any cell that vmap carries.

Stacks are always 32 wide, padded with copies. Batched products of another width may take another path through the
library, so a replica's last bits would depend on how many share its stack.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import grad_and_value, vmap

from cellbench.engines.engine import (
    LONGEST,
    USUAL_BATCHES,
    Advanced,
    Engine,
    Mask,
    Refused,
    Scores,
    Targets,
    Trained,
    first_line,
)
from cellbench.engines.lines import at, of_traceback
from cellbench.engines.on_torch import compiler, instruction_set
from cellbench.engines.optimizers import Optimizer, Slots, clip
from cellbench.engines.projection import Projection
from cellbench.engines.stacked import WIDTH, Stacked
from cellbench.errors import CellError
from cellbench.model import (
    Blueprint,
    Model,
    Traits,
    evaluating,
    follows_updates,
    reached,
    traits_of,
    try_update,
)
from cellbench.task import Floats

TOLERANCE = 1e-4
"""The largest difference of a loss or a gradient under vmap from the same model alone, relative to the largest."""
SEEDS = 4
"""Models that are compared to find out which tensors differ between replicas."""
_TIME, _BATCH = 6, 5
"""Time steps and examples of the trial."""


def together(batch_size: int) -> int:
    """Count the replicas that are trained at a time: the same at every batch size."""
    return WIDTH


def prepare(
    blueprint: Blueprint,
    *,
    optimizer: Optimizer,
    clip_norm: float | None,
    batch_sizes: Sequence[int] = USUAL_BATCHES,
    longest: int = LONGEST,
) -> Engine:
    """Make the stack engine ready for one model; see `cellbench.engines.engine`.

    Raises:
        Refused: vmap does not carry the cell, or gives other numbers than one replica alone has.
        CellError: the cell cannot be made.
    """
    optimizer.refuse_torchs()
    models = [blueprint.build("probe", seed) for seed in range(SEEDS)]
    if not any(p.requires_grad for p in models[0].parameters()):
        raise Refused("the model has nothing to train")
    for name, parameter in models[0].named_parameters():
        if parameter.requires_grad and parameter.is_complex():
            raise Refused(f"the parameter {name} is complex; the rows of a stack hold real numbers")
    try:
        _refuse_traits(traits_of(blueprint))
        stacked = Stacked(blueprint.build("probe"), models, _changed_by_updates(blueprint, models[0]))
        if follows_updates(models[0]):
            stacked.projection = Projection(blueprint.build("probe"), stacked.names, stacked.own)
        if optimizer.decays:
            stacked.leave_out(reached(blueprint))
        engine = StackEngine(stacked, optimizer, clip_norm)
        _try(engine, blueprint, models)
    except (CellError, Refused):
        raise
    except Exception as error:
        # the cell's own faults end here too; the reference engine will show them with their traceback
        raise Refused(f"vmap: {_why(error)}{at(of_traceback(error.__traceback__))}") from error
    return engine


_KNOWN_FAILURES = {
    "data-dependent control flow": "control flow that depends on the data",
    ".item() on a Tensor": "a number is read from a tensor, as .item() does",
}
"""A part of torch's message, and the reason in our words."""


def _why(error: Exception) -> str:
    return next((why for part, why in _KNOWN_FAILURES.items() if part in str(error)), first_line(error))


def _refuse_traits(found: Traits) -> None:
    """Refuse what many replicas cannot share one module for.

    Raises:
        Refused: the cell does one of these things; the message names the tensor, attribute or generator.
    """
    for names, why in (
        (found.drawn, "differs between replicas, and is no tensor"),
        (found.views, "lies in the memory of a trained parameter"),
        ((*found.hooks, *found.module_hooks), "has a hook on its gradient"),
        (found.late_hooks, "has a hook that runs after its gradient was accumulated"),
        (found.keeps, "is remembered from one sequence to the next"),
    ):
        if names:
            raise Refused(f"{names[0]} {why}")
    if found.random:
        raise Refused(f"it draws from {found.random[0]} generator while it runs")


def _changed_by_updates(blueprint: Blueprint, model: Model) -> tuple[str, ...]:
    """List the tensors, trained parameters apart, that `after_update` changes: each replica must have its own.

    Raises:
        Refused: it changes something else, or draws.
    """
    if not follows_updates(model):
        return ()
    found = try_update(blueprint)
    if found.replaced or found.others:
        raise Refused(
            f"its after_update() changes {(*found.replaced, *found.others)[0]}, which is no tensor of a replica"
        )
    if found.random:
        raise Refused(f"its after_update() draws from {found.random[0]} generator")
    return found.tensors


def _try(engine: StackEngine, blueprint: Blueprint, models: Sequence[Model]) -> None:
    """Compare losses and gradients of a stack of models with those of each model alone, on two batches.

    Raises:
        Refused: they differ. vmap may change what a cell computes without an error (writes in place, a mean over the
            wrong axis).
    """
    generator = torch.Generator().manual_seed(0)
    replicas = engine.begin(models, [0.01] * len(models))
    for _ in range(2):
        x = torch.randint(0, 2, (_TIME, _BATCH, blueprint.input_size), generator=generator).float()
        y = blueprint.objective.example(_TIME, _BATCH, blueprint.output_size, generator)
        which = np.zeros(len(models), np.int64)
        scores = replicas.evaluate(x[None].numpy(), y[None].numpy(), which)
        losses, gradients = replicas.gradients([x[None], y[None]], torch.from_numpy(which))
        for row, model in enumerate(models):
            with torch.no_grad(), evaluating(model):
                evaluated = model.objective.loss(model(x), y).item()
            value = model.objective.loss(model(x), y)
            parameters = [p for p in model.parameters() if p.requires_grad]
            grads = torch.autograd.grad(value, parameters, allow_unused=True)
            own = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, grads, strict=True)]
            flat = torch.cat([g.reshape(-1) for g in own])
            for got, want in ((scores.loss[row], evaluated), (float(losses[row]), value.item())):
                if not np.isclose(got, want, rtol=TOLERANCE, atol=1e-6, equal_nan=True):
                    raise Refused(f"vmap: the loss under vmap is {got:.6g}, alone it is {want:.6g}")
            gap = (gradients[row] - flat).abs().max() / flat.abs().max().clamp(min=1e-6)
            if not (gap <= 10 * TOLERANCE or torch.isnan(flat).any()):
                raise Refused(f"vmap: the gradient under vmap differs from that alone (by {gap:.1e} of the largest)")


class StackEngine:
    """One model under vmap; see `cellbench.engines.engine.Engine`."""

    name = "stack"
    width = padded = WIDTH
    owns_models = False

    def __init__(self, stacked: Stacked, optimizer: Optimizer, clip_norm: float | None) -> None:
        self.isa = instruction_set()
        self.compiler = compiler()
        self._stacked = stacked
        self._optimizer = optimizer
        self._clip_norm = clip_norm

    def begin(self, models: Sequence[Model], learning_rates: Sequence[float]) -> StackReplicas:
        """Start replicas at the weights of `models`, each with its learning rate."""
        rows = torch.stack([self._stacked.row(m) for m in models])
        own = [self._stacked.constants(m) for m in models]
        return self._replicas(rows, own, torch.tensor(learning_rates, dtype=torch.float64)[:, None])

    def resume(self, trained: Sequence[Trained]) -> StackReplicas:
        """Take trained replicas back, to evaluate them."""
        replicas = [replica for replica in trained if isinstance(replica, _Replica)]
        assert len(replicas) == len(trained)
        rows = torch.stack([r.row for r in replicas])
        return self._replicas(rows, [r.own for r in replicas], torch.zeros(len(rows), 1, dtype=torch.float64))

    def _replicas(self, rows: Tensor, own: Sequence[Mapping[str, Tensor]], rates: Tensor) -> StackReplicas:
        joined = {path: torch.stack([tensors[path] for tensors in own]) for path in self._stacked.own}
        return StackReplicas(self._stacked, rows, joined, rates, self._optimizer, self._clip_norm)


@dataclass(frozen=True)
class _Replica:
    """One replica after training: its row, and its own tensors that are not trained."""

    row: Tensor
    own: Mapping[str, Tensor]


class StackReplicas:
    """Replicas in training; see `cellbench.engines.engine.Replicas`.

    Args:
        stacked: the model.
        rows: trained parameters, shape (replicas, trained numbers).
        own: each replica's other tensors, by path, with the replicas as a first axis.
        rates: learning rates in float64, shape (replicas, 1).
        optimizer, clip_norm: how they are trained.
    """

    def __init__(
        self,
        stacked: Stacked,
        rows: Tensor,
        own: dict[str, Tensor],
        rates: Tensor,
        optimizer: Optimizer,
        clip_norm: float | None,
    ) -> None:
        self._stacked = stacked
        self._optimizer = optimizer
        self._clip_norm = clip_norm
        self._step = 0
        self._rows, self._own, self._rates = rows, own, rates
        self._slots = optimizer.init(self._rows)

        # one replica's loss as a function of its row; vmap makes it one of all rows of a stack
        self._objective = stacked.model.objective

        def objective(row: Tensor, own: Mapping[str, Tensor], inputs: Tensor, targets: Tensor, *mask: Tensor) -> Tensor:
            return self._objective.loss(stacked.logits(row, own, inputs), targets, *mask)

        self._gradient: Any = stacked.aligned(vmap(grad_and_value(objective)))
        self._logits: Any = stacked.aligned(vmap(stacked.logits))

    def _stacks(self) -> list[Tensor]:
        """List the indices of each stack's members, padded with copies of its first to the fixed width."""
        stacks = []
        for start in range(0, len(self._rows), WIDTH):
            members = torch.arange(start, min(start + WIDTH, len(self._rows)))
            stacks.append(torch.cat([members, members[:1].expand(WIDTH - len(members))]))
        return stacks

    def advance(self, inputs: Floats, targets: Targets, which: NDArray[np.int64], mask: Mask | None = None) -> Advanced:
        """Train every replica through a block of steps."""
        steps, count = inputs.shape[1], len(self._rows)
        losses = np.full((count, steps), np.nan)
        broke = np.full(count, -1, np.int64)
        seed_of, data = torch.from_numpy(which), _tensors(inputs, targets, mask)
        for stack in self._stacks():
            # the stack's own copies of weights, slots and rates; the first `real` rows are replicas, the rest padding
            real = min(WIDTH, count - int(stack[0]))
            rows, rates = self._rows[stack], self._rates[stack]
            own = self._own_of(stack)
            slots: Slots = tuple(s[stack] for s in self._slots)
            ok = torch.ones(WIDTH, 1, dtype=torch.bool)
            at = slice(int(stack[0]), int(stack[0]) + real)
            factors = self._optimizer.schedule.factors(self._step, steps).tolist()
            stack_losses, stack_ok = torch.empty(steps, WIDTH), torch.empty(steps, WIDTH, dtype=torch.bool)
            for step in range(steps):
                batch = [tensor[seed_of[stack], step] for tensor in data]
                gradients, values = self._gradient(rows, own, *batch)
                norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
                ok = ok & torch.isfinite(values)[:, None] & torch.isfinite(norms)
                stack_losses[step], stack_ok[step] = values, ok[:, 0]
                if self._clip_norm is not None:
                    gradients = clip(gradients, norms, self._clip_norm)
                scaled = (rates * factors[step]).float()
                after, after_slots = self._optimizer.update(rows, gradients, slots, scaled, self._step + step + 1)
                # a replica whose loss or gradient was not finite keeps its weights from now on
                moves = ok if self._stacked.moves is None else ok & self._stacked.moves
                rows = torch.where(moves, after, rows)
                slots = tuple(torch.where(ok, a, b) for a, b in zip(after_slots, slots, strict=True))
                if self._stacked.projection is not None:
                    self._project(rows, own, ok[:real, 0])
            # write back what was trained, without the padding
            self._rows[at] = rows[:real]
            for path, tensors in own.items() if self._stacked.projection is not None else ():
                self._own[path][at] = tensors[:real]
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

    def _project(self, rows: Tensor, own: Mapping[str, Tensor], ok: Tensor) -> None:
        """Do to each replica of a stack that was updated what its cell does after an update; rows change in place."""
        assert self._stacked.projection is not None
        for i in torch.nonzero(ok).flatten().tolist():
            rows[i], after = self._stacked.projection(rows[i], {path: tensors[i] for path, tensors in own.items()})
            for path, tensor in after.items():
                own[path][i] = tensor

    def evaluate(self, inputs: Floats, targets: Targets, which: NDArray[np.int64], mask: Mask | None = None) -> Scores:
        """Score every replica."""
        seed_of, (x, *answers) = torch.from_numpy(which), _tensors(inputs, targets, mask)
        parts = []
        with torch.no_grad(), evaluating(self._stacked.model):
            for stack in self._stacks():
                real = min(WIDTH, len(self._rows) - int(stack[0]))
                logits = self._logits(self._rows[stack], self._own_of(stack), x[seed_of[stack]])
                found = self._objective.scores(logits, *(tensor[seed_of[stack]] for tensor in answers))
                parts.append([values[:real] for values in found])
        return Scores(*(np.concatenate(values) for values in zip(*parts, strict=True)))

    def gradients(self, data: Sequence[Tensor], which: Tensor) -> tuple[Tensor, Tensor]:
        """Compute loss and gradient of every replica, without training it.

        Args:
            data: inputs and targets, as for `evaluate`, and a mask if there is one.
            which: shape (replicas,), as for `advance`.

        Returns:
            Losses, shape (replicas,), and gradients, shape (replicas, trained numbers).
        """
        losses, gradients = [], []
        for stack in self._stacks():
            real = min(WIDTH, len(self._rows) - int(stack[0]))
            batch = [tensor[which[stack]] for tensor in data]
            found, values = self._gradient(self._rows[stack], self._own_of(stack), *batch)
            losses.append(values[:real].detach())
            gradients.append(found[:real].detach())
        return torch.cat(losses), torch.cat(gradients)

    def _own_of(self, stack: Tensor) -> dict[str, Tensor]:
        return {path: tensors[stack] for path, tensors in self._own.items()}

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these replicas alone, in this order."""
        index = torch.tensor(rows, dtype=torch.int64)
        self._rows, self._rates = self._rows[index], self._rates[index]
        self._slots = tuple(s[index] for s in self._slots)
        self._own = self._own_of(index)

    def trained(self, rows: Sequence[int]) -> list[Trained]:
        """Copy some replicas: their trained parameters, and their own other tensors."""
        return [_Replica(self._rows[r].clone(), {path: t[r].clone() for path, t in self._own.items()}) for r in rows]

    def parameters(self) -> list[dict[str, Floats]]:
        """Copy each replica's parameters, by name."""
        return [self._parameters_of(row) for row in range(len(self._rows))]

    def _parameters_of(self, row: int) -> dict[str, Floats]:
        own = {path: tensors[row] for path, tensors in self._own.items()}
        return {n: p.detach().numpy().copy() for n, p in self._stacked.parameters(self._rows[row], own).items()}

    def tensors(self, rows: Sequence[int]) -> list[dict[str, NDArray[np.generic]]]:
        """Copy the tensors of some replicas by path."""
        own = [{path: t[row].detach().numpy().copy() for path, t in self._own.items()} for row in rows]
        return [{**others, **self._parameters_of(row)} for row, others in zip(rows, own, strict=True)]


def _tensors(inputs: Floats, targets: Targets, mask: Mask | None) -> list[Tensor]:
    """List the data that there are, as tensors."""
    return [torch.from_numpy(array) for array in (inputs, targets, mask) if array is not None]
