"""Training of one model that the caller gets, to look inside it or to use it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cellbench.engines import OPTIMIZERS, optimizer_of, reference
from cellbench.engines.device import MPS, missing, moved, used
from cellbench.errors import CellbenchError
from cellbench.experiment import train_section
from cellbench.model import Blueprint, Model, Objective, layers_of
from cellbench.plugins import Registry, discover, load_factory, own_tasks
from cellbench.records import (
    CPU,
    MOST_LAYERS,
    TORCH,
    CellSpec,
    Chunk,
    CurvePoint,
    Evaluate,
    Final,
    Point,
    Replica,
    Settings,
    Solved,
    Train,
)
from cellbench.task import Task
from cellbench.training.loop import fit, initial_models
from cellbench.wording import share_right


@dataclass(frozen=True)
class Trained:
    """A trained model and its learning curve.

    Attributes:
        model: a torch module in `eval()` mode: inputs (time, batch, input_size) to raw outputs (time, batch,
            output_size): logits, or numbers.
        curve: loss and accuracies while it was trained.
        task, parameters: the task that it was trained on, and the task's parameters.
    """

    model: Model
    curve: tuple[CurvePoint, ...]
    task: Task
    parameters: dict[str, Any]

    def __repr__(self) -> str:
        at, last = ", ".join(f"{k} {v}" for k, v in self.parameters.items()), self.curve[-1]
        cells = " on ".join(type(cell).__name__ for cell in layers_of(self.model.cell))
        return (
            f"<Trained {cells} at {at}: loss {last.loss:.3g}, {share_right(self.task.kind, self.task.tolerance)} "
            f"{last.bit_accuracy:.3f}, sequence accuracy {last.sequence_accuracy:.3f} after {last.step:,} steps>"
        )


def train(
    cell: str | Callable[..., Any],
    *,
    task: str | type[Task] = "binary_addition",
    hidden_size: int = 20,
    batch_size: int = 16,
    steps: int = 1000,
    learning_rate: float = 0.01,
    seed: int = 0,
    data_seed: int | None = None,
    optimizer: str = "adam",
    clip_norm: float | None = 1.0,
    examples: int = 256,
    options: dict[str, Any] | None = None,
    readout_hidden: int | None = None,
    learn_initial_state: bool = False,
    layers: int = 1,
    train: Mapping[str, Any] | None = None,
    device: str = CPU,
    **parameters: Any,
) -> Trained:
    """Train one model on the reference engine.

    Args:
        cell: a registered name, or a factory `(input_size, hidden_size, **options)`.
        task: a registered name, `path.py:Class`, the path of a file of arrays, or a class that derives from `Task`.
        hidden_size, batch_size, steps, learning_rate, seed, optimizer, clip_norm: as in an experiment.
        data_seed: the seed of the examples, of those that measure the model too; `seed` is then that of the initial
            weights alone. Default: `seed`, as in an experiment.
        examples: how many each evaluation of the learning curve has.
        options: passed to the factory.
        readout_hidden, learn_initial_state, layers: as in an experiment.
        train: other keys of an experiment's section `train`, for example `{"schedule": "cosine", "weight_decay": 0.1}`.
        device: `cuda` trains on a card (written, not yet run on one), `mps` on the CPU. The model comes back on the
            CPU.
        **parameters: the task's, for example `bits=8`.

    Raises:
        CellbenchError: there is no such cell, task or optimizer, the task does not take a parameter, the cell breaks
            the contract, torch finds no card where one is asked for, or training diverged.

    Example:
        >>> import torch
        >>> trained = train("rnn", hidden_size=3, steps=10, bits=4)
        >>> tuple(trained.model(torch.zeros(7, 5, 2)).shape)
        (7, 5, 1)
    """
    # check all that was given before anything is trained
    registry = discover()
    named, made = _task(task, registry)
    if set(parameters) != set(made.parameters):
        raise CellbenchError(
            f"train: the task {named} takes {', '.join(made.parameters)}; given: {', '.join(parameters)}"
        )
    for name, value in parameters.items():
        try:
            made.check_parameter(name, value)
        except ValueError as error:
            raise CellbenchError(f"train: {name}={value!r}: {error}") from None
    if isinstance(layers, bool) or not isinstance(layers, int) or not 1 <= layers <= MOST_LAYERS:
        raise CellbenchError(f"train: layers={layers!r}: must be a whole number from 1 to {MOST_LAYERS}")
    how = _how(steps, optimizer, clip_norm, train or {})
    device = _device(device)
    # make the model, by the cell's registered factory or by the one that was given
    options = options or {}
    if isinstance(cell, str):
        entry = registry.find("cell", cell)
        factory, origin, options = load_factory(entry), entry.factory_name, {**entry.defaults, **options}
    else:
        factory, origin = cell, f"{cell.__module__}:{getattr(cell, '__qualname__', type(cell).__qualname__)}"
    blueprint = Blueprint(
        factory, origin, tuple(sorted(options.items())), made.input_size, hidden_size, made.output_size,
        readout_hidden, learn_initial_state, layers=layers, objective=Objective(made.kind, made.tolerance),
        tokens=made.tokens,
    )  # fmt: skip
    # train it as a chunk of one replica
    engine = reference.prepare(blueprint, optimizer=optimizer_of(how), clip_norm=how.clip_norm, device=device)
    spec = CellSpec(origin, origin, origin, blueprint.options, learn_initial_state, readout_hidden, layers=layers)
    settings = Settings(
        named,
        replace(how, timeout=math.inf),
        Evaluate(5, 0.05, examples),
        Solved("sequence_accuracy", 0.99, 2),
        Final(examples, (), difficulty=False),
    )
    point = Point(tuple(parameters.items()), batch_size, f"hidden {hidden_size}")
    chunk = Chunk(spec, point, hidden_size, settings, "reference", (Replica("", seed, learning_rate),))
    models = initial_models(blueprint, chunk, engine)
    if data_seed is not None:
        chunk = replace(chunk, replicas=(Replica("", data_seed, learning_rate),))
    fitted = fit(chunk, made, engine, models)
    if not fitted.trained:
        raise CellbenchError(f"train: diverged at step {fitted.lost_at[0]}; try a smaller learning rate")
    # the reference engine trains the very module that it is given
    if device != CPU:
        moved(models[0], CPU)
    return Trained(models[0].eval(), tuple(fitted.curves[0]), made, dict(parameters))


def _task(given: str | type[Task], registry: Registry) -> tuple[str, Task]:
    """Make the task that a user names; its name is a part of the names of streams."""
    if not isinstance(given, str):
        name = f"{given.__module__}:{given.__qualname__}"
        return name, own_tasks.checked(given(), name)
    if own_tasks.named_so(given):
        own = own_tasks.read(given, Path.cwd())
        return own.name, own_tasks.make(own)
    return given, own_tasks.checked(load_factory(registry.find("task", given))(), given)


def _device(asked: str) -> str:
    """Name the device that trains where this one is asked for.

    Raises:
        CellbenchError: there is none of this name, or torch finds no card.
    """
    if asked not in (CPU, "cuda", "mps"):
        raise CellbenchError(f"train: no device {asked!r}: cpu, cuda or mps")
    if asked == "mps":
        warnings.warn(MPS, stacklevel=3)
    if why := missing(used(asked)):
        raise CellbenchError(f"train: device={asked!r} is asked for, but {why}")
    return used(asked)


_OWN = {"max_steps": "steps", "optimizer": "optimizer", "clip_norm": "clip_norm"}
"""The keys of the section `train` that `train` has an argument for."""


def _how(steps: int, optimizer: str, clip_norm: float | None, others: Mapping[str, Any]) -> Train:
    """Read how the model is trained, with the checks that an experiment file gets.

    Raises:
        CellbenchError: with every fault.
    """
    if optimizer not in OPTIMIZERS and not optimizer.startswith(TORCH):
        raise CellbenchError(f"train: no optimizer {optimizer!r}. Known: {', '.join(OPTIMIZERS)}")
    for name in others:
        if name in _OWN:
            raise CellbenchError(f"train: {name} has an argument of its own: {_OWN[name]}=...")
        if name in ("stop_when_solved", "timeout"):
            raise CellbenchError(f"train: one model is trained for all its steps, and {name} has no use")
    section: dict[str, Any] = {"max_steps": steps, "optimizer": optimizer, **others}
    # clipping by value takes the place of the default
    if not (clip_norm == 1 and section.get("clip_value") is not None):
        section["clip_norm"] = clip_norm
    return train_section(section, "train(...)")
