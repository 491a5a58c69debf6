"""From an experiment to grid points, and to replicas, each with its key."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from cellbench.experiment.experiment import Experiment
from cellbench.records.settings import CellSpec, Fit, Planned, Point, Replica, ReplicaKey

Sizer = Callable[[CellSpec, str, int], Fit]
"""`(cell, "hidden" or "budget", number) -> Fit`; raises CellbenchError if no hidden size fits."""


def points(experiment: Experiment) -> list[Point]:
    """Every grid point, the last axis fastest."""
    names = [name for name, _ in experiment.axes]
    return [
        Point(tuple(zip(names, values, strict=True)), batch_size, f"{kind} {number}")
        for values in itertools.product(*(values for _, values in experiment.axes))
        for batch_size in experiment.batch_sizes
        for kind, number in experiment.sizes
    ]


def plan(experiment: Experiment, sizer: Sizer) -> list[Planned]:
    """Every cell at every point.

    Raises:
        ExperimentError: no hidden size fits a parameter budget.
        CellError: a cell cannot be made.
    """
    out = []
    for cell in experiment.cells:
        fits = {f"{kind} {number}": sizer(cell, kind, number) for kind, number in experiment.sizes}
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


def _key(experiment: Experiment, cell: CellSpec, point: Point) -> ReplicaKey:
    """The key of the cell's replicas at the point, but for seed and learning rate."""
    settings, train = experiment.settings, experiment.settings.train
    return ReplicaKey(
        task=settings.task,
        task_sources=tuple(s.sha256 for s in experiment.task_sources),
        parameters=point.parameters,
        batch_size=point.batch_size,
        size=point.size,
        seed=0,
        learning_rate=0.0,
        max_steps=train.max_steps,
        optimizer=train.optimizer,
        clip_norm=train.clip_norm,
        stop_when_solved=train.stop_when_solved,
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


def select(planned: Sequence[Planned], only: Mapping[str, Sequence[str]]) -> list[Planned]:
    """The part that `--only` names: each key's value must be among those given.

    Args:
        planned: the whole plan.
        only: `cell` (label or name), `seed`, `learning_rate`, `batch_size`, `size`, `hidden_size`, or a parameter of
            the task, to values as text.
    """
    kept = []
    for p in planned:
        facts: dict[str, Iterable[object]] = {
            "cell": (p.cell.label, p.cell.name),
            "batch_size": (p.point.batch_size,),
            "size": (p.point.size,),
            "hidden_size": (p.fit.hidden_size,),
            **{name: (value,) for name, value in p.point.parameters},
        }
        if all(_among(facts[name], values) for name, values in only.items() if name in facts):
            replicas = tuple(
                r
                for r in p.replicas
                if all(
                    _among((getattr(r, name),), values)
                    for name, values in only.items()
                    if name in ("seed", "learning_rate")
                )
            )
            if replicas:
                kept.append(replace(p, replicas=replicas))
    return kept


def only_keys(experiment: Experiment) -> list[str]:
    """The keys that `--only` takes."""
    return [
        "cell",
        "seed",
        "learning_rate",
        "batch_size",
        "size",
        "hidden_size",
        *(name for name, _ in experiment.axes),
    ]


def _among(facts: Iterable[object], values: Sequence[str]) -> bool:
    for fact in facts:
        for value in values:
            if str(fact) == value:
                return True
            if isinstance(fact, int | float):
                try:
                    if float(value) == float(fact):
                        return True
                except ValueError:
                    continue
    return False


def shard(planned: Sequence[Planned], number: int, of: int) -> list[Planned]:
    """The part of one shard of several: whole seeds of a cell at a point, dealt out in turn.

    Args:
        planned: the whole plan.
        number: from 1 to `of`.
        of: how many shards.
    """
    kept, dealt = [], 0
    for p in planned:
        replicas: list[Replica] = []
        for _, group in itertools.groupby(p.replicas, key=lambda r: r.seed):
            if dealt % of == number - 1:
                replicas.extend(group)
            dealt += 1
        if replicas:
            kept.append(replace(p, replicas=tuple(replicas)))
    return kept
