"""The reference engine: one replica at a time, in a plain loop, by torch.optim. It carries any cell that trains.

The other two engines are tested against it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cellbench.engines.engine import USUAL_BATCHES, Advanced, Engine, Refused, Scores
from cellbench.engines.on_torch import compiler, instruction_set, parameters_of, scores_of
from cellbench.engines.optimizers import Optimizer
from cellbench.model import Blueprint, Model, loss
from cellbench.task import Floats


def prepare(
    blueprint: Blueprint, *, optimizer: Optimizer, clip_norm: float | None, batch_sizes: Sequence[int] = USUAL_BATCHES
) -> Engine:
    """Make the reference engine ready for one model; see `cellbench.engines.engine`.

    Raises:
        Refused: the model has nothing to train, or its logits have another shape.
        CellError: the cell cannot be made.
    """
    model = blueprint.build("probe")
    inputs = torch.zeros(2, 3, blueprint.input_size)
    if not any(p.requires_grad for p in model.parameters()):
        raise Refused("the model has nothing to train")
    logits = model(inputs)
    if logits.shape != (2, 3, blueprint.output_size):
        raise Refused(f"logits have shape {tuple(logits.shape)}, not (time, batch, {blueprint.output_size})")
    return ReferenceEngine(optimizer, clip_norm)


def together(batch_size: int) -> int:
    """Count the replicas that are trained at a time: one, at every batch size."""
    return 1


class ReferenceEngine:
    """torch.optim for one model; see `cellbench.engines.engine.Engine`."""

    name = "reference"
    width = 4  # replicas share nothing, so a chunk is small
    padded = 1

    def __init__(self, optimizer: Optimizer, clip_norm: float | None) -> None:
        self.isa = instruction_set()
        self.compiler = compiler()
        self._optimizer = optimizer
        self._clip_norm = clip_norm

    def begin(self, models: Sequence[Model], learning_rates: Sequence[float]) -> ReferenceReplicas:
        """Start replicas at the weights of `models`, each with its learning rate."""
        return ReferenceReplicas([copy.deepcopy(m) for m in models], learning_rates, self._optimizer, self._clip_norm)


class ReferenceReplicas:
    """Replicas in training; see `cellbench.engines.engine.Replicas`."""

    def __init__(
        self, models: Sequence[Model], rates: Sequence[float], optimizer: Optimizer, clip_norm: float | None
    ) -> None:
        self._models = list(models)
        self._optimizers = [optimizer.for_one(m.parameters(), rate) for m, rate in zip(models, rates, strict=True)]
        self._clip_norm = clip_norm

    def advance(self, inputs: Floats, targets: Floats, which: NDArray[np.int64]) -> Advanced:
        """Train every replica through a block of steps."""
        steps = inputs.shape[1]
        losses = np.full((len(self._models), steps), np.nan)
        broke = np.full(len(self._models), -1, np.int64)
        for row, (model, optimizer) in enumerate(zip(self._models, self._optimizers, strict=True)):
            x, y = torch.from_numpy(inputs[which[row]]), torch.from_numpy(targets[which[row]])
            parameters = list(model.parameters())
            for step in range(steps):
                optimizer.zero_grad()
                value = loss(model(x[step]), y[step])
                value.backward()  # type: ignore[no-untyped-call]
                # clipping needs the norm, and the norm is not finite if any gradient is not
                norm = nn.utils.clip_grad_norm_(parameters, self._clip_norm or float("inf"))
                losses[row, step] = value.item()
                if not (np.isfinite(losses[row, step]) and bool(torch.isfinite(norm))):
                    # its weights stay those of the step before
                    broke[row] = step
                    break
                optimizer.step()
        return Advanced(losses, broke)

    def evaluate(self, inputs: Floats, targets: Floats, which: NDArray[np.int64]) -> Scores:
        """Score every replica."""
        with torch.no_grad():
            rows = [
                scores_of(m(torch.from_numpy(inputs[w])).unsqueeze(0), torch.from_numpy(targets[w]).unsqueeze(0))
                for m, w in zip(self._models, which, strict=True)
            ]
        return Scores(*(np.concatenate(values) for values in zip(*rows, strict=True)))

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these replicas alone, in this order."""
        self._models = [self._models[r] for r in rows]
        self._optimizers = [self._optimizers[r] for r in rows]

    def parameters(self) -> list[dict[str, Floats]]:
        """Copy each replica's parameters, by name."""
        return [parameters_of(m) for m in self._models]
