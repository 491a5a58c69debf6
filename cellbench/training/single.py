"""One trained model in hand, for whoever wants to look inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cellbench.engines import reference
from cellbench.engines.on_torch import scores_of
from cellbench.engines.optimizers import OPTIMIZERS
from cellbench.errors import CellbenchError
from cellbench.model.model import Blueprint, Model
from cellbench.plugins.discovery import discover, load_factory
from cellbench.records.schedule import schedule
from cellbench.records.settings import CurvePoint
from cellbench.streams import Stream
from cellbench.task import Task
from cellbench.training.data import TrainingData


@dataclass(frozen=True)
class Trained:
    """A trained model and its learning curve.

    Attributes:
        model: a torch module: inputs (time, batch, input_size) to logits (time, batch, output_size).
        curve: loss and accuracies along the way.
        task, parameters: what it was trained on.
    """

    model: Model
    curve: tuple[CurvePoint, ...]
    task: Task
    parameters: dict[str, Any]


def train(
    cell: str | Callable[..., Any],
    *,
    task: str = "binary_addition",
    hidden_size: int = 20,
    batch_size: int = 16,
    steps: int = 1000,
    learning_rate: float = 0.01,
    seed: int = 0,
    optimizer: str = "adam",
    clip_norm: float | None = 1.0,
    examples: int = 256,
    options: dict[str, Any] | None = None,
    readout_hidden: int | None = None,
    learn_initial_state: bool = False,
    **parameters: Any,
) -> Trained:
    """Train one model on the reference engine.

    Args:
        cell: a registered name, or a factory `(input_size, hidden_size, **options)`.
        task: a registered name.
        hidden_size, batch_size, steps, learning_rate, seed, optimizer, clip_norm: as in an experiment.
        examples: of each evaluation along the way.
        options: passed to the factory.
        readout_hidden, learn_initial_state: as in an experiment.
        **parameters: the task's, for example `bits=8`.

    Raises:
        CellbenchError: no such cell, task or optimizer, a parameter of no use, or a cell that breaks the contract.

    Example:
        >>> trained = train("rnn", hidden_size=3, steps=10, bits=4)
        >>> tuple(trained.model(torch.zeros(7, 5, 2)).shape)
        (7, 5, 1)
    """
    registry = discover()
    made: Task = load_factory(registry.find("task", task))()
    if set(parameters) != set(made.parameters):
        raise CellbenchError(
            f"train: the task {task} takes {', '.join(made.parameters)}; given: {', '.join(parameters)}"
        )
    for name, value in parameters.items():
        try:
            made.check_parameter(name, value)
        except ValueError as error:
            raise CellbenchError(f"train: {name}={value!r}: {error}") from None
    if optimizer not in OPTIMIZERS:
        raise CellbenchError(f"train: no optimizer {optimizer!r}. Known: {', '.join(OPTIMIZERS)}")
    options = options or {}
    if isinstance(cell, str):
        entry = registry.find("cell", cell)
        factory, origin, options = load_factory(entry), entry.factory_name, {**entry.defaults, **options}
    else:
        factory, origin = cell, f"{cell.__module__}:{getattr(cell, '__qualname__', type(cell).__qualname__)}"
    blueprint = Blueprint(
        factory, origin, tuple(sorted(options.items())), made.input_size, hidden_size, made.output_size,
        readout_hidden, learn_initial_state,
    )  # fmt: skip
    model = blueprint.build(tuple(parameters.items()), batch_size, f"hidden {hidden_size}", seed)
    engine = reference.prepare(blueprint, optimizer=OPTIMIZERS[optimizer], clip_norm=clip_norm)
    replicas = engine.begin([model], [learning_rate])
    pairs, which = tuple(parameters.items()), np.zeros(1, np.int64)
    data = TrainingData(made, task, pairs, batch_size, [seed], steps)
    inputs, targets = made.batch(Stream("evaluation", task, pairs, seed, None, count=examples), examples, parameters)
    curve, step = [], 0
    for stop in schedule(5, 0.05, steps):
        while step < stop:
            count, x, y = data.up_to(step, stop)
            if replicas.advance(x, y, which).broke[0] >= 0:
                raise CellbenchError(f"train: diverged after step {step}; try a smaller learning rate")
            step += count
        _load(model, replicas.parameters()[0])
        with torch.no_grad():
            logits = model(torch.from_numpy(inputs))
        loss, bit, sequence = scores_of(logits[None], torch.from_numpy(targets)[None])
        curve.append(CurvePoint(step, float(loss[0]), float(bit[0]), float(sequence[0])))
    return Trained(model, tuple(curve), made, dict(parameters))


def _load(model: Model, values: dict[str, Any]) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(values[name]))
