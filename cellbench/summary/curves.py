"""Summarise the learning curves of all replicas by median and quartiles over seeds. Description only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from cellbench.statistics.arrays import Flags, Floats
from cellbench.summary.selection import CENSORED, DIVERGED, FAILED, SOLVED, Codes, Selection, settings

CURVES = ("loss", "bit_accuracy", "sequence_accuracy")
"""The columns of curves.csv that are drawn."""

MOST_ROWS = 40_000
"""The most rows of single seeds' curves that a page carries."""

MOST_STEPS = 40
"""Evaluations drawn per curve; `_FEWER` where there are more than `_MANY` curves, so that the page stays small."""

_MANY, _FEWER = 600, 22


def thinned(steps: Sequence[int], most: int) -> list[int]:
    """Choose the positions of at most `most` evaluations, even on a log scale, the first and the last among them.

    >>> thinned([5, 10, 15, 20, 40, 80, 160], 4)
    [0, 2, 4, 6]
    """
    if len(steps) <= most:
        return list(range(len(steps)))
    logs = np.log(np.asarray(steps, dtype=np.float64))
    wanted = np.linspace(logs[0], logs[-1], most)
    return sorted({int(np.abs(logs - x).argmin()) for x in wanted})


class Laid(NamedTuple):
    """Curves as arrays: both kinds of rows are made of them.

    Attributes:
        values: each of `CURVES` as (cells, points, seeds, rates, evaluations), filled to the end where that is known.
        picked: the position of the rate picked on all complete seeds, (cells, points); -1 where none can be picked.
        rates: the learning rate of each setting, (cells, rates).
        shown: whether the curve at a setting is drawn, (cells, points, rates): with the options that are picked.
    """

    values: list[Floats]
    picked: Codes
    rates: Floats
    shown: Flags


def lay(replicas: Selection, curves: pd.DataFrame) -> Laid:
    """Lay curves out as arrays, for `learning_curves` and `seed_curves`."""
    cells, points, _, most = replicas.steps.shape
    rates, shown = np.full((cells, most), np.nan), np.zeros((cells, points, most), dtype=bool)
    for c in range(cells):
        rates[c, : len(replicas.tried(c))] = replicas.rates(c)
        for g in range(points):
            shown[c, g, list(replicas.shown(c, g))] = True
    return Laid(_arrays(replicas, curves), _picked(replicas), rates, shown)


def learning_curves(replicas: Selection, curves: pd.DataFrame, laid: Laid | None = None) -> pd.DataFrame:
    """Return median and quartiles over seeds of each metric at each drawn evaluation.

    A replica that diverged, or failed in the cell's own code, has accuracy 0 and an infinite loss from there on; one
    that stopped because it had solved keeps its last values. Missing replicas are left out, and so are steps that no
    replica has reached.

    Args:
        replicas: all that was planned.
        curves: label, the axes, learning_rate, seed, step and the metrics, one row per evaluation.
        laid: what `lay` returned for them, if that is there already.

    Returns:
        cell, the axes, learning_rate, picked (whether it is the rate picked on all seeds), metric, step, middle, low,
        high, seeds. A loss that is not finite is `nan`.
    """
    design = replicas.design
    rows = []
    many = replicas.steps.shape[0] * replicas.steps.shape[1] * replicas.steps.shape[3] > _MANY
    drawn = thinned(design.evaluation_steps, _FEWER if many else MOST_STEPS)
    steps = np.array(design.evaluation_steps)[drawn]
    values, rate_picked, rates, shown = laid or lay(replicas, curves)
    for m, metric in enumerate(CURVES):
        # seeds last, to take quartiles over them: (cells, points, rates, evaluations, seeds)
        of_metric = np.moveaxis(values[m][..., drawn], 2, -1)
        low, middle, high, count = quartiles(of_metric)
        # one row per evaluation that some replica has reached
        where = np.nonzero((count > 0) & shown[..., None])
        c, g, r, t = where
        frame = pd.DataFrame({"cell": np.array(design.labels, dtype=object)[c]})
        for a, axis in enumerate(design.axes):
            frame[axis] = np.array([point[a] for point in replicas.points], dtype=object)[g]
        frame["learning_rate"] = rates[c, r]
        frame["picked"] = rate_picked[c, g] == r
        frame["metric"], frame["step"] = metric, steps[t]
        for name, numbers in (("middle", middle), ("low", low), ("high", high)):
            frame[name] = np.where(np.isfinite(numbers[where]), numbers[where], np.nan)
        frame["seeds"] = count[where]
        rows.append(frame)
    return pd.concat(rows, ignore_index=True)


def seed_curves(replicas: Selection, curves: pd.DataFrame, laid: Laid | None = None) -> pd.DataFrame:
    """Return the curves of single seeds at the rate picked on all seeds, as far as they are few enough to draw.

    Sequence accuracy comes first; a metric whose curves would make more than `MOST_ROWS` rows in all is left out.

    Args:
        replicas, curves, laid: as for `learning_curves`.

    Returns:
        cell, the axes, learning_rate, seed, metric, step, middle (the value).
    """
    design = replicas.design
    drawn = thinned(design.evaluation_steps, _FEWER)
    steps = np.array(design.evaluation_steps)[drawn]
    values, picked, rates, _ = laid or lay(replicas, curves)
    room, rows = MOST_ROWS, []
    for metric in sorted(CURVES, key=lambda name: name != "sequence_accuracy"):
        of_metric = values[list(CURVES).index(metric)][..., drawn]
        # (cells, points, seeds, evaluations) at the picked rate
        chosen = np.take_along_axis(of_metric, np.maximum(picked, 0)[:, :, None, None, None], axis=3)[:, :, :, 0]
        chosen = np.where((picked >= 0)[:, :, None, None], chosen, np.nan)
        where = np.nonzero(np.isfinite(chosen))
        if len(where[0]) > room:
            continue
        room -= len(where[0])
        c, g, i, t = where
        frame = pd.DataFrame({"cell": np.array(design.labels, dtype=object)[c]})
        for a, axis in enumerate(design.axes):
            frame[axis] = np.array([point[a] for point in replicas.points], dtype=object)[g]
        frame["learning_rate"] = rates[c, picked[c, g]]
        frame["seed"], frame["metric"] = np.array(design.seeds)[i], metric
        frame["step"], frame["middle"] = steps[t], chosen[where]
        rows.append(frame)
    columns = ["cell", *design.axes, "learning_rate", "seed", "metric", "step", "middle"]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)


def _picked(replicas: Selection) -> Codes:
    """Find the position of the rate picked on all complete seeds, (cells, points); -1 where none can be picked."""
    found = np.full(replicas.steps.shape[:2], -1, dtype=np.intp)
    for c, g in np.ndindex(*found.shape):
        seeds = replicas.complete(c, g)
        pick = replicas.tuned(c, g, seeds) if seeds else None
        if pick is not None:
            found[c, g] = pick.picked
    return found


def _arrays(replicas: Selection, curves: pd.DataFrame) -> list[Floats]:
    """Lay each of `CURVES` out as (cells, points, seeds, rates, evaluations), filled to the end where that is known."""
    design, shape = replicas.design, (*replicas.steps.shape, len(replicas.design.evaluation_steps))
    place = _places(replicas, curves)
    at = pd.Index(design.evaluation_steps).get_indexer(pd.Index(curves["step"]))
    known = at >= 0
    place = (*(codes[known] for codes in place), at[known])
    # after its last evaluation a dead replica has the worst value, a missing one none
    state = replicas.state[..., None]
    dead = np.isin(state, (DIVERGED, FAILED))
    gone = ~np.isin(state, (SOLVED, CENSORED, DIVERGED, FAILED))
    result = []
    for metric in CURVES:
        values = np.full(shape, np.nan)
        values[place] = curves[metric].to_numpy(dtype=np.float64)[known]
        there = np.zeros(shape, dtype=bool)
        there[place] = True
        ended = _ended(there)
        worst = np.inf if metric == "loss" else 0.0
        # a number that is not finite is a model that diverged, solved before or not
        values[there & ~np.isfinite(values)] = worst
        # after its last evaluation: what a solved replica had then, if it stopped there; else the worst value
        held = np.take_along_axis(values, _last(there), axis=-1)
        held = np.where(dead, worst, held) if design.stop_when_solved else np.full_like(held, worst)
        values = np.where(ended, np.broadcast_to(held, shape), values)
        values[np.broadcast_to(gone, shape)] = np.nan
        result.append(values)
    return result


def _places(replicas: Selection, frame: pd.DataFrame) -> tuple[Codes, ...]:
    """Find the position of each row's cell, point, seed and rate."""
    design = replicas.design
    points: Codes = np.zeros(len(frame), dtype=np.intp)
    known: Codes = np.zeros(len(replicas.points), dtype=np.intp)
    for a, axis in enumerate(design.axes):
        values = pd.Index(list(dict.fromkeys(point[a] for point in replicas.points)))
        points = points * len(values) + values.get_indexer(pd.Index(frame[axis]))
        known = known * len(values) + values.get_indexer(pd.Index([point[a] for point in replicas.points]))
    return (
        pd.Index(design.labels).get_indexer(pd.Index(frame["label"])),
        pd.Index(known).get_indexer(pd.Index(points)),
        pd.Index(design.seeds).get_indexer(pd.Index(frame["seed"])),
        settings(frame, design),
    )


def _last(there: Flags) -> Codes:
    """Find the position of each replica's last evaluation, keeping the axis; 0 where there is none."""
    last: Codes = (there.shape[-1] - 1 - there[..., ::-1].argmax(axis=-1))[..., None]
    return last


def _ended(there: Flags) -> Flags:
    """Mark the evaluations after a replica's last one; all of them where it has none."""
    after: Flags = np.arange(there.shape[-1]) > _last(there)
    return after | ~there.any(axis=-1, keepdims=True)


def quartiles(values: Floats) -> tuple[Floats, Floats, Floats, Codes]:
    """Return lower quartile, median, upper quartile over the last axis, and how many values are known (not `nan`).

    They are linear between order statistics, as `numpy.quantile` is; `inf` is larger than every number.

    >>> [x.tolist() for x in quartiles(np.array([[1.0, 3.0, np.inf, np.nan]]))]
    [[2.0], [3.0], [inf], [3]]
    """
    ordered = np.sort(values, axis=-1)  # nan last
    count = (~np.isnan(values)).sum(axis=-1)
    found = []
    for q in (0.25, 0.5, 0.75):
        position = q * np.maximum(count - 1, 0)
        below = np.floor(position).astype(np.intp)
        above = np.ceil(position).astype(np.intp)
        lower = np.take_along_axis(ordered, below[..., None], axis=-1)[..., 0]
        upper = np.take_along_axis(ordered, above[..., None], axis=-1)[..., 0]
        with np.errstate(invalid="ignore"):
            between = lower + (upper - lower) * (position - below)
        found.append(np.where(lower == upper, lower, np.where(above == below, lower, between)))
    return found[0], found[1], found[2], count
