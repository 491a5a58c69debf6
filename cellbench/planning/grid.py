"""From an experiment to grid points and replicas: each replica with its key, each cell with its measured sizes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from cellbench.engines import OptimizerError, optimizer_of
from cellbench.errors import CellError, PluginError
from cellbench.experiment import Experiment
from cellbench.model import blueprint_of, refused_option, sizes
from cellbench.records import CellSpec, Fit, Planned, Point, Replica, ReplicaKey
from cellbench.wording import one_line


def points(experiment: Experiment) -> list[Point]:
    """List every grid point, the last axis fastest."""
    names = [name for name, _ in experiment.axes]
    return [
        Point(tuple(zip(names, values, strict=True)), batch_size, f"{kind} {number}")
        for values in itertools.product(*(values for _, values in experiment.axes))
        for batch_size in experiment.batch_sizes
        for kind, number in experiment.sizes
    ]


def lay_out(experiment: Experiment, say: Callable[[str], object] = lambda text: None) -> list[Planned]:
    """Plan every cell at every point: measure its sizes, and give each replica its key.

    Args:
        experiment: whose cells and grid are meant.
        say: called with a line before each cell.

    Raises:
        ExperimentError: no hidden size fits a parameter budget, a cell is given an option that it does not take, or
            torch refuses an optimizer that is given by its path.
    """
    _check_optimizer(experiment)
    out = []
    for number, cell in enumerate(experiment.cells, 1):
        say(f"measuring {number} of {len(experiment.cells)}: {cell.label}")
        fits = {f"{kind} {number}": _fit(experiment, cell, kind, number) for kind, number in experiment.sizes}
        for point in points(experiment):
            key = _key(experiment, cell, point)
            digest = key.digests()
            replicas = tuple(
                Replica(digest(seed, rate), seed, rate)
                for seed in experiment.seeds
                for rate in experiment.learning_rates
            )
            out.append(Planned(cell, point, fits[point.size], key, replicas))
    return out


def _check_optimizer(experiment: Experiment) -> None:
    """Make the optimizer once: only torch knows its classes and what they take."""
    try:
        optimizer_of(experiment.settings.train)
    except OptimizerError as error:
        given = ("train", error.key) in experiment.document.places or error.key in ("optimizer", "optimizer_options")
        path = ("train", error.key) if given else ("train", "optimizer_options", error.key)
        raise experiment.fault(path, str(error)) from error


def _key(experiment: Experiment, cell: CellSpec, point: Point) -> ReplicaKey:
    """Make the key of the cell's replicas at the point, except for seed and learning rate."""
    settings = experiment.settings
    return ReplicaKey(
        task=settings.task,
        task_sources=tuple(s.sha256 for s in experiment.task_sources),
        parameters=point.parameters,
        batch_size=point.batch_size,
        size=point.size,
        seed=0,
        learning_rate=0.0,
        **settings.train.keyed(),
        evaluate=settings.evaluate,
        solved=settings.solved,
        final=settings.final,
        cell=cell.name,
        factory=cell.factory,
        options=cell.options,
        cell_sources=tuple(s.sha256 for s in cell.sources),
        learn_initial_state=cell.learn_initial_state,
        readout_hidden=cell.readout_hidden,
    )


def _fit(experiment: Experiment, cell: CellSpec, kind: str, number: int) -> Fit:
    """Measure a cell at a hidden size or a budget; a broken cell gets no sizes, but the reason."""
    place = ("cells", experiment.cells.index(cell))
    try:
        _check_options(experiment, cell, blueprint_of(cell, 1, experiment.task).factory)
        if kind == "hidden":
            hidden, found = number, sizes.measured(blueprint_of(cell, number, experiment.task))
        else:
            hidden, found = sizes.largest_fitting(lambda h: blueprint_of(cell, h, experiment.task), number)
    except sizes.NothingFits as error:
        raise experiment.fault(place, f"{cell.label} at {kind} {number}: {error}") from error
    except (CellError, PluginError) as error:
        # a broken cell must not stop the others: its replicas are planned, and fail with its traceback
        return Fit(number if kind == "hidden" else 1, None, None, None, one_line(error))
    return Fit(hidden, found.parameters, found.state, found.multiply_adds)


def _check_options(experiment: Experiment, cell: CellSpec, factory: Callable[..., Any]) -> None:
    """Refuse options that the factory's signature does not take: bad input, not a failure of the cell."""
    refused = refused_option(factory, [name for name, _ in cell.options])
    if refused:
        raise experiment.fault(("cells", experiment.cells.index(cell), "options"), f"{cell.label} {refused}")
