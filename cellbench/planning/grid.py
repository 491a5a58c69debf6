"""From an experiment to grid points and replicas: each replica with its key, each cell with its measured sizes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cellbench.engines import OptimizerError, optimizer_of
from cellbench.errors import CellError, PluginError
from cellbench.experiment import Experiment
from cellbench.model import blueprint_of, own_options, refused_option, sizes
from cellbench.planning import devices
from cellbench.records import LAYERS, CellSpec, Fit, Planned, Point, Replica, ReplicaKey
from cellbench.wording import one_line


def points(experiment: Experiment) -> list[Point]:
    """List every grid point, the last axis fastest."""
    names = [name for name, _ in experiment.axes]
    return [
        Point(tuple(zip(names, values, strict=True)), batch_size, f"{kind} {number}", layers)
        for values in itertools.product(*(values for _, values in experiment.axes))
        for layers in experiment.layers or (None,)
        for batch_size in experiment.batch_sizes
        for kind, number in experiment.sizes
    ]


def lay_out(experiment: Experiment, say: Callable[[str], object] = lambda text: None) -> list[Planned]:
    """Plan every cell at every point: measure its sizes, and give each replica its key.

    Args:
        experiment: whose cells and grid are meant.
        say: called with a line before each cell.

    Raises:
        ExperimentError: no hidden size fits a parameter budget, a cell is given an option that it does not take, torch
            refuses an optimizer that is given by its path, or it finds no card where one is asked for.
    """
    devices.check(experiment)
    _check_optimizer(experiment)
    out = []
    for number, cell in enumerate(experiment.cells, 1):
        say(f"measuring {number} of {len(experiment.cells)}: {cell.label}")
        stacked = {n: cell if n is None else replace(cell, layers=n) for n in experiment.layers or (None,)}
        fits = {
            (n, f"{kind} {number}"): _fit(experiment, one, kind, number)
            for n, one in stacked.items()
            for kind, number in experiment.sizes
        }
        for point in points(experiment):
            one = stacked[point.layers]
            key = _key(experiment, one, point)
            digest = key.digests()
            replicas = tuple(
                Replica(digest(seed, rate), seed, rate) for seed in experiment.seeds for rate in experiment.rates(cell)
            )
            out.append(Planned(one, point, fits[point.layers, point.size], key, replicas))
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
        layers=cell.layers,
    )


def _fit(experiment: Experiment, cell: CellSpec, kind: str, number: int) -> Fit:
    """Measure a cell at a hidden size or a budget; a broken cell gets no sizes, but the reason."""
    place = experiment.place_of(cell)
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
    tuned = experiment.tuned.get(cell.label)
    for name, _ in tuned.options if tuned else ():
        if refused := refused_option(factory, [name]):
            place = experiment.tuned_at(cell, name)
            hint = " Give the cells that have it a `tune` of their own." if place[0] == "tune" else ""
            raise experiment.fault(place, f"{tuned.cell if tuned else cell.label} {refused}{hint}")
    refused = refused_option(factory, [name for name, _ in cell.options])
    if refused:
        raise experiment.fault((*experiment.place_of(cell), "options"), f"{cell.label} {refused}")
    # before there was the harness's, `--cell CELL,layers=2` was the cell's own option
    place = (*experiment.place_of(cell), LAYERS)
    if experiment.typed(place) and LAYERS in own_options(factory):
        raise experiment.fault(
            place, f"{cell.label} has an option layers of its own, so this could mean two things: say it in an "
            "experiment file, under `options` for the cell's own, beside `name` for a stack of such cells"
        )  # fmt: skip
