"""The reference engine: one replica at a time, in a plain loop, by torch.optim. It carries any cell that trains.

The other two engines are tested against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cellbench.engines import device as devices
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
from cellbench.engines.on_torch import compiler, instruction_set, parameters_of
from cellbench.engines.optimizers import Optimizer, clip_value
from cellbench.errors import CellError
from cellbench.model import (
    Blueprint,
    Model,
    after_update,
    evaluating,
    follows_updates,
    generators_kept,
    seeded,
    set_generators,
    traits_of,
    try_update,
)
from cellbench.model.weights import tensors_of
from cellbench.records import CPU
from cellbench.task import Floats


def prepare(
    blueprint: Blueprint,
    *,
    optimizer: Optimizer,
    clip_norm: float | None,
    batch_sizes: Sequence[int] = USUAL_BATCHES,
    longest: int = LONGEST,
    device: str = CPU,
) -> Engine:
    """Make the reference engine ready for one model; see `cellbench.engines.engine`.

    Raises:
        Refused: the model has nothing to train, or its logits have another shape.
        CellError: the cell cannot be made, or its numbers cannot be had again.
    """
    if traits_of(blueprint).unrepeatable:
        raise CellError(
            f"{blueprint.origin}: two equal models, run the same way, give different outputs: it draws from a "
            "generator of its own module, or counts in one. Draw from torch's, numpy's or Python's global generator, "
            "or keep the generator in the cell"
        )
    model = blueprint.build("probe")
    inputs = torch.zeros(2, 3, blueprint.input_size)
    if not any(p.requires_grad for p in model.parameters()):
        raise Refused("the model has nothing to train")
    with seeded("probe"):
        logits = model(inputs)
    if logits.shape != (2, 3, blueprint.output_size):
        raise Refused(f"logits have shape {tuple(logits.shape)}, not (time, batch, {blueprint.output_size})")
    if optimizer.rule is None:
        _refuse_parameters(optimizer, model)
    if follows_updates(model) and (replaced := try_update(blueprint).replaced):
        raise CellError(
            f"{blueprint.origin}: after_update puts another parameter in the place of {replaced[0]}, which no "
            "optimizer would train. Write to it in place, such as self.weight.clamp_(min=0)"
        )
    if device != CPU:
        if views := traits_of(blueprint).views:
            raise Refused(f"{views[0]} lies in the memory of a trained parameter, and would not on a card")
        devices.refuse_strays(blueprint)
        devices.moved(blueprint.build("probe"), device)
    return ReferenceEngine(optimizer, clip_norm, device)


def _refuse_parameters(optimizer: Optimizer, model: Model) -> None:
    """Let an optimizer that torch alone has make one step of what it is to train: some look at it no sooner.

    Args:
        optimizer: torch's.
        model: it is not needed afterwards.

    Raises:
        Refused: it does not train such parameters.
    """
    try:
        by = optimizer.for_one(model.parameters(), 0.01)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
        by.step()
    except Exception as error:
        raise Refused(f"{optimizer.name} does not train the model's parameters: {first_line(error)}") from error


def together(batch_size: int) -> int:
    """Count the replicas that are trained at a time: one, at every batch size."""
    return 1


class ReferenceEngine:
    """torch.optim for one model; see `cellbench.engines.engine.Engine`."""

    name = "reference"
    width = 4  # replicas share nothing, so a chunk is small
    padded = 1
    owns_models = True

    def __init__(self, optimizer: Optimizer, clip_norm: float | None, device: str = CPU) -> None:
        self.isa = instruction_set(device)
        self.compiler = compiler(device)
        self.device = devices.name_of(device)
        self._place = device
        self._optimizer = optimizer
        self._clip_norm = clip_norm

    def begin(self, models: Sequence[Model], learning_rates: Sequence[float]) -> ReferenceReplicas:
        """Start replicas: the very modules that are given, each with its learning rate."""
        for model in models if self._place != CPU else ():
            devices.moved(model, self._place)
        replicas = [
            ReferenceReplica(model, self._optimizer.for_one(model.parameters(), rate), rate)
            for model, rate in zip(models, learning_rates, strict=True)
        ]
        return ReferenceReplicas(replicas, self._optimizer, self._clip_norm, self._place)

    def resume(self, trained: Sequence[Trained]) -> ReferenceReplicas:
        """Take trained replicas back, to evaluate them."""
        replicas = [replica for replica in trained if isinstance(replica, ReferenceReplica)]
        assert len(replicas) == len(trained)
        return ReferenceReplicas(replicas, self._optimizer, self._clip_norm, self._place)


@dataclass
class ReferenceReplica:
    """One module in training.

    Attributes:
        model: the module.
        optimizer: torch's.
        learning_rate: before the schedule.
        steps: how many it was trained for.
    """

    model: Model
    optimizer: torch.optim.Optimizer
    learning_rate: float
    steps: int = 0


class ReferenceReplicas:
    """Replicas in training; see `cellbench.engines.engine.Replicas`."""

    def __init__(
        self, replicas: Sequence[ReferenceReplica], optimizer: Optimizer, clip_norm: float | None, device: str
    ) -> None:
        self._replicas = list(replicas)
        self._schedule = optimizer.schedule
        self._clip_value = optimizer.clip_value
        self._clip_norm = clip_norm
        self._device = device

    def advance(self, inputs: Floats, targets: Targets, which: NDArray[np.int64], mask: Mask | None = None) -> Advanced:
        """Train every replica through a block of steps.

        Raises:
            ValueError: two replicas share one module.
        """
        if len({id(replica.model) for replica in self._replicas}) < len(self._replicas):
            raise ValueError("two replicas share one module: build a model for each")
        losses = np.full((len(self._replicas), inputs.shape[1]), np.nan)
        broke = np.full(len(self._replicas), -1, np.int64)
        with generators_kept():
            for row, replica in enumerate(self._replicas):
                x, y = self._tensor(inputs[which[row]]), self._tensor(targets[which[row]])
                m = None if mask is None else self._tensor(mask[which[row]])
                losses[row], broke[row] = self._train(replica, x, y, m)
        return Advanced(losses, broke)

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    def _train(
        self, replica: ReferenceReplica, inputs: Tensor, targets: Tensor, mask: Tensor | None
    ) -> tuple[NDArray[np.float64], int]:
        """Train one replica through a block.

        Args:
            replica: the replica.
            inputs: shape (steps, time, batch, input_size).
            targets: shape (steps, time, batch, output_size); classes: (steps, time, batch).
            mask: shape (steps, time, batch), or None.

        Returns:
            Its losses, shape (steps,), and the step at which it broke, or -1.
        """
        model, parameters = replica.model, list(replica.model.parameters())
        losses, follows = np.full(len(inputs), np.nan), follows_updates(model)
        factors = self._schedule.factors(replica.steps, len(inputs)).tolist()
        for step, (x, y) in enumerate(zip(inputs, targets, strict=True)):
            # what it draws is named by the replica and the step, whatever ran before in this process
            set_generators(*model.stream, replica.steps)
            replica.optimizer.zero_grad()
            with devices.making_on(self._device):
                value = model.objective.loss(model(x), y, None if mask is None else mask[step])
            value.backward()  # type: ignore[no-untyped-call]
            # clipping needs the norm, and the norm is not finite if any gradient is not
            norm = nn.utils.clip_grad_norm_(parameters, self._clip_norm or float("inf"))
            losses[step] = value.item()
            if not (np.isfinite(losses[step]) and bool(torch.isfinite(norm))):
                return losses, step  # its weights stay those of the step before
            if self._clip_value is not None:
                clip_value(parameters, self._clip_value)
            for group in replica.optimizer.param_groups:
                group["lr"] = replica.learning_rate * factors[step]
            replica.optimizer.step()
            if follows:
                with devices.making_on(self._device):
                    after_update(model)
            replica.steps += 1
        return losses, -1

    def evaluate(self, inputs: Floats, targets: Targets, which: NDArray[np.int64], mask: Mask | None = None) -> Scores:
        """Score every replica."""
        rows = []
        with generators_kept(), devices.making_on(self._device), torch.no_grad():
            for replica, seed in zip(self._replicas, which, strict=True):
                set_generators(*replica.model.stream, replica.steps, "evaluation")
                with evaluating(replica.model):
                    logits = replica.model(self._tensor(inputs[seed]))
                m = None if mask is None else self._tensor(mask[seed]).unsqueeze(0)
                y = self._tensor(targets[seed]).unsqueeze(0)
                rows.append(replica.model.objective.scores(logits.unsqueeze(0), y, m))
        return Scores(*(np.concatenate(values) for values in zip(*rows, strict=True)))

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these replicas alone, in this order."""
        self._replicas = [self._replicas[r] for r in rows]

    def trained(self, rows: Sequence[int]) -> list[Trained]:
        """Hand out some replicas, each with its own module in the attribute `model`."""
        return [self._replicas[r] for r in rows]

    def parameters(self) -> list[dict[str, Floats]]:
        """Copy each replica's parameters, by name."""
        return [parameters_of(replica.model) for replica in self._replicas]

    def tensors(self, rows: Sequence[int]) -> list[dict[str, NDArray[np.generic]]]:
        """Copy the tensors of some replicas by path."""
        return [tensors_of(self._replicas[row].model) for row in rows]
