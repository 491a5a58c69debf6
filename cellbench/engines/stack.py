"""The stack engine: many replicas as one model, by torch.func. It carries any cell that vmap carries.

On the CPU, stacks are always 32 wide, padded with copies. Batched products of another width may take another path
through the library, so a replica's last bits would depend on how many share its stack. On a card, all replicas that are
begun together are one stack, and last bits may depend on their number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import grad_and_value, vmap

from cellbench.engines import device as devices
from cellbench.engines.captured import Captured
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
)
from cellbench.engines.lines import at, of_traceback
from cellbench.engines.on_torch import compiler, instruction_set
from cellbench.engines.optimizers import Optimizer, Slots
from cellbench.engines.projection import Projection
from cellbench.engines.stack_step import Step
from cellbench.engines.stack_trial import changed_by_updates, compare, refuse_traits, why
from cellbench.engines.stacked import WIDTH, Stacked
from cellbench.errors import CellError
from cellbench.model import (
    Blueprint,
    Model,
    evaluating,
    follows_updates,
    reached,
    traits_of,
)
from cellbench.records import CPU
from cellbench.task import Floats

SEEDS = 4
"""Models that are compared to find out which tensors differ between replicas."""


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
    device: str = CPU,
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
        refuse_traits(traits_of(blueprint))
        stacked = Stacked(blueprint.build("probe"), models, changed_by_updates(blueprint, models[0]))
        if follows_updates(models[0]):
            stacked.projection = Projection(blueprint.build("probe"), stacked.names, stacked.own)
        if optimizer.decays:
            stacked.leave_out(reached(blueprint))
        if device != CPU:
            _go_to(device, blueprint, stacked)
        engine = StackEngine(stacked, optimizer, clip_norm)
        compare(engine, blueprint, models)
    except (CellError, Refused):
        raise
    except Exception as error:
        # the cell's own faults end here too; the reference engine will show them with their traceback
        raise Refused(f"vmap: {why(error)}{at(of_traceback(error.__traceback__))}") from error
    return engine


def _go_to(device: str, blueprint: Blueprint, stacked: Stacked) -> None:
    """Move what all replicas share to a card.

    Raises:
        Refused: the cell does something between two steps, or computes on the CPU.
    """
    if stacked.projection is not None:
        raise Refused("its after_update() is Python between two steps, for one replica after the other")
    devices.refuse_strays(blueprint)
    stacked.to(device)


class StackEngine:
    """One model under vmap; see `cellbench.engines.engine.Engine`."""

    name = "stack"
    width = padded = WIDTH
    owns_models = False

    def __init__(self, stacked: Stacked, optimizer: Optimizer, clip_norm: float | None) -> None:
        self.isa = instruction_set(stacked.device)
        self.compiler = compiler(stacked.device)
        self.device = devices.name_of(stacked.device)
        self._stacked = stacked
        self._optimizer = optimizer
        self._clip_norm = clip_norm

    def begin(self, models: Sequence[Model], learning_rates: Sequence[float]) -> StackReplicas:
        """Start replicas at the weights of `models`, each with its learning rate."""
        rows = torch.stack([self._stacked.row(m) for m in models]).to(self._stacked.device)
        own = [self._stacked.constants(m) for m in models]
        return self._replicas(rows, own, torch.tensor(learning_rates, dtype=torch.float64)[:, None])

    def resume(self, trained: Sequence[Trained]) -> StackReplicas:
        """Take trained replicas back, to evaluate them."""
        replicas = [replica for replica in trained if isinstance(replica, _Replica)]
        assert len(replicas) == len(trained)
        rows = torch.stack([r.row for r in replicas])
        return self._replicas(rows, [r.own for r in replicas], torch.zeros(len(rows), 1, dtype=torch.float64))

    def _replicas(self, rows: Tensor, own: Sequence[Mapping[str, Tensor]], rates: Tensor) -> StackReplicas:
        device = self._stacked.device
        joined = {path: torch.stack([tensors[path] for tensors in own]).to(device) for path in self._stacked.own}
        return StackReplicas(self._stacked, rows, joined, rates.to(device), self._optimizer, self._clip_norm)


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
        self._device = stacked.device
        # the width of stacks never changes, so that a recorded step serves until the last replica leaves
        self._width = WIDTH if stacked.device == CPU else max(len(rows), 1)
        self._step = 0
        self._rows, self._own, self._rates = rows, own, rates
        self._slots = optimizer.init(self._rows)

        # one replica's loss as a function of its row; vmap makes it one of all rows of a stack
        self._objective = of_task = stacked.model.objective

        def objective(row: Tensor, own: Mapping[str, Tensor], inputs: Tensor, targets: Tensor, *mask: Tensor) -> Tensor:
            # not `self`: a cycle of references would keep a card's memory until Python looks for cycles
            return of_task.loss(stacked.logits(row, own, inputs), targets, *mask)

        self._gradient: Any = stacked.aligned(vmap(grad_and_value(objective)))
        step = Step(self._gradient, stacked.own, optimizer, clip_norm, stacked.moves)
        self._make_step: Callable[..., tuple[Tensor, ...]] = Captured(step) if devices.is_card(self._device) else step
        self._logits: Any = stacked.aligned(vmap(stacked.logits))

    def _stacks(self) -> list[Tensor]:
        """List the indices of each stack's members, padded with copies of its first to the fixed width."""
        stacks = []
        for start in range(0, len(self._rows), self._width):
            members = torch.arange(start, min(start + self._width, len(self._rows)))
            stacks.append(torch.cat([members, members[:1].expand(self._width - len(members))]))
        return stacks

    def advance(self, inputs: Floats, targets: Targets, which: NDArray[np.int64], mask: Mask | None = None) -> Advanced:
        """Train every replica through a block of steps."""
        steps, count = inputs.shape[1], len(self._rows)
        losses = np.full((count, steps), np.nan)
        broke = np.full(count, -1, np.int64)
        seed_of, data = torch.from_numpy(which), self._tensors(inputs, targets, mask)
        for stack in self._stacks():
            # the stack's own copies of weights, slots and rates; the first `real` rows are replicas, the rest padding
            real = min(self._width, count - int(stack[0]))
            rows, rates = self._rows[stack], self._rates[stack]
            own = self._own_of(stack)
            slots: Slots = tuple(s[stack] for s in self._slots)
            ok = torch.ones(self._width, 1, dtype=torch.bool, device=self._device)
            at = slice(int(stack[0]), int(stack[0]) + real)
            factors = self._optimizer.schedule.factors(self._step, steps).tolist()
            seeds = seed_of[stack].to(self._device)
            stack_losses = torch.empty(steps, self._width, device=self._device)
            stack_ok = torch.empty(steps, self._width, dtype=torch.bool, device=self._device)
            for step in range(steps):
                batch = [tensor[seeds, step] for tensor in data]
                scaled, number = (rates * factors[step]).float(), self._number(self._step + step + 1)
                rows, ok, values, *after = self._make_step(rows, ok, scaled, number, *slots, *own.values(), *batch)
                slots = tuple(after)
                stack_losses[step], stack_ok[step] = values, ok[:, 0]
                if self._stacked.projection is not None:
                    self._project(rows, own, ok[:real, 0])
            # write back what was trained, without the padding
            self._rows[at] = rows[:real]
            for path, tensors in own.items() if self._stacked.projection is not None else ():
                self._own[path][at] = tensors[:real]
            for mine, theirs in zip(self._slots, slots, strict=True):
                mine[at] = theirs[:real]
            # a replica's losses up to the step at which it broke, and that step (or -1)
            went, alive = stack_losses[:, :real].double().cpu().numpy().T, stack_ok[:, :real].cpu().numpy().T
            first = np.where(alive.all(axis=1), -1, (~alive).argmax(axis=1))
            broke[at] = first
            seen = np.where(first < 0, steps, first + 1)
            losses[at] = np.where(np.arange(steps) < seen[:, None], went, np.nan)
        self._step += steps
        return Advanced(losses, broke)

    def _number(self, step: int) -> int | Tensor:
        """Write the number of a step as the step's function takes it: on a card as a tensor, which may change."""
        return step if self._device == CPU else torch.full((), step, dtype=torch.float64, device=self._device)

    def _tensors(self, inputs: Floats, targets: Targets, mask: Mask | None) -> list[Tensor]:
        """List the data that there are, as tensors on the device."""
        return [torch.from_numpy(array).to(self._device) for array in (inputs, targets, mask) if array is not None]

    def _project(self, rows: Tensor, own: Mapping[str, Tensor], ok: Tensor) -> None:
        """Do to each replica of a stack that was updated what its cell does after an update; rows change in place."""
        assert self._stacked.projection is not None
        for i in torch.nonzero(ok).flatten().tolist():
            rows[i], after = self._stacked.projection(rows[i], {path: tensors[i] for path, tensors in own.items()})
            for path, tensor in after.items():
                own[path][i] = tensor

    def evaluate(self, inputs: Floats, targets: Targets, which: NDArray[np.int64], mask: Mask | None = None) -> Scores:
        """Score every replica."""
        seed_of, (x, *answers) = torch.from_numpy(which), self._tensors(inputs, targets, mask)

        def score(stack: Tensor) -> tuple[NDArray[np.float64], ...]:
            seeds = seed_of[stack].to(self._device)
            logits = self._logits(self._rows[stack], self._own_of(stack), x[seeds])
            return self._objective.scores(logits, *(tensor[seeds] for tensor in answers))

        parts = []
        with torch.no_grad(), evaluating(self._stacked.model):
            for stack in self._stacks():
                real = min(self._width, len(self._rows) - int(stack[0]))
                # on a card all in one, or in as few parts as fit; elsewhere each stack at its full width
                of_stack = [score(stack)] if self._device == CPU else devices.in_parts(score, stack[:real])
                parts += [[values[:real] for values in found] for found in of_stack]
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
            real = min(self._width, len(self._rows) - int(stack[0]))
            batch = [tensor[which[stack]].to(self._device) for tensor in data]
            found, values = self._gradient(self._rows[stack], self._own_of(stack), *batch)
            losses.append(values[:real].detach().cpu())
            gradients.append(found[:real].detach().cpu())
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
        found = self._stacked.parameters(self._rows[row], own)
        return {n: p.detach().cpu().numpy().copy() for n, p in found.items()}

    def tensors(self, rows: Sequence[int]) -> list[dict[str, NDArray[np.generic]]]:
        """Copy the tensors of some replicas by path."""
        own = [{path: t[row].detach().cpu().numpy().copy() for path, t in self._own.items()} for row in rows]
        return [{**others, **self._parameters_of(row)} for row, others in zip(rows, own, strict=True)]
