"""Compute what the charts draw and no table holds. Description only; computed when first used."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from cellbench.statistics.comparison import profile
from cellbench.statistics.learning_rate import tuning_curve
from cellbench.statistics.survival import reached
from cellbench.summary.selection import Seeds, Selection, common

FACTORS = np.exp(np.linspace(math.log(1 / 4), math.log(4), 97))
"""The performance profile's x: from a quarter of the baseline's typical steps to four times them."""


def _present(replicas: Selection) -> Iterator[tuple[dict[str, Any], int, int, Seeds]]:
    """Yield each cell at each point with its complete seeds, where there are any and a rate can be picked."""
    for c, label in enumerate(replicas.design.labels):
        for g, point in enumerate(replicas.points):
            seeds = replicas.complete(c, g)
            if seeds and replicas.tuned(c, g, seeds) is not None:
                yield {"cell": label, **dict(zip(replicas.design.axes, point, strict=True))}, c, g, seeds


def solved_over_steps(replicas: Selection) -> pd.DataFrame:
    """Return the share solved by each step: cell, the axes, at (`rate` or `tuned`), learning_rate, step, share.

    Where options are tuned, the rates are those with the options that are picked.
    """
    times = np.array(replicas.design.evaluation_steps, dtype=np.float64)
    heads: list[dict[str, Any]] = []
    shares: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = []
    # at each rate, over the seeds that are known at it
    for c, label in enumerate(replicas.design.labels):
        for g, point in enumerate(replicas.points):
            where = {"cell": label, **dict(zip(replicas.design.axes, point, strict=True))}
            for r in replicas.shown(c, g):
                steps = replicas.steps[c, g, :, r]
                steps = steps[~np.isnan(steps)]
                if len(steps):
                    heads.append({**where, "at": "rate", "learning_rate": replicas.tried(c)[r].rate})
                    shares.append(reached(steps, times))
    # tuned: all rates, weighted by how often each was picked
    for where, c, g, seeds in _present(replicas):
        pick = replicas.tuned(c, g, seeds)
        if pick is not None:
            heads.append({**where, "at": "tuned", "learning_rate": math.nan})
            shares.append(reached(replicas.of(c, g)[list(seeds)], times, pick.weights))
    columns = ["cell", *replicas.design.axes, "at", "learning_rate"]
    frame = pd.DataFrame(heads, columns=columns)
    frame = frame.loc[np.repeat(np.arange(len(heads)), len(times))].reset_index(drop=True)
    share = np.concatenate(shares) if shares else np.empty(0)
    return frame.assign(step=np.tile(times.astype(np.int64), len(heads)), share=share)


def performance_profile(replicas: Selection) -> pd.DataFrame:
    """Return the share solved within a factor of the baseline's typical steps, tuned, as a mean over points.

    Columns: cell, factor, share, points (how many the mean is over). Points where the baseline is missing, or where
    neither the baseline nor the cell solved, are left out, as in the comparisons.
    """
    design = replicas.design
    base = replicas.cell(design.against)
    rows = []
    for c, label in enumerate(design.labels):
        found = common([(g, replicas.complete(c, g)) for g in range(len(replicas.points))])
        curves = []
        for g in found.points:
            seeds, of_base = replicas.complete(c, g), replicas.complete(base, g)
            pick = replicas.tuned(c, g, seeds)
            if pick is None or not of_base or not (replicas.solves(c, g) or replicas.solves(base, g)):
                continue
            typical = math.exp(replicas.speed(base, g, of_base, "tuned").centre)
            if math.isnan(typical):
                continue
            curves.append(profile(replicas.of(c, g)[list(seeds)], typical, FACTORS, pick.weights))
        if curves:
            share = np.mean(curves, axis=0)
            rows += [(label, float(x), float(y), len(curves)) for x, y in zip(FACTORS, share, strict=True)]
    return pd.DataFrame(rows, columns=["cell", "factor", "share", "points"])


def tuning_curves(replicas: Selection) -> pd.DataFrame:
    """Return the typical steps to expect after trying k settings: cell, the axes, tried, typical_steps.

    Rows with empty axes are the geometric mean over the cell's points.
    """
    design = replicas.design
    rows: list[dict[str, Any]] = []
    curves: dict[str, list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]] = {}
    for where, c, g, seeds in _present(replicas):
        curve = tuning_curve(replicas.y(c, g, seeds), replicas.ties(c, g, seeds), replicas.rates(c))
        curves.setdefault(where["cell"], []).append(curve)
        rows += [{**where, "tried": k + 1, "typical_steps": math.exp(y)} for k, y in enumerate(curve)]
    pooled: list[dict[str, Any]] = [
        {"cell": label, "tried": k + 1, "typical_steps": math.exp(y)}
        for label, found in curves.items()
        for k, y in enumerate(np.mean(found, axis=0))
    ]
    return pd.DataFrame(pooled + rows, columns=["cell", *design.axes, "tried", "typical_steps"])


def rate_profile(replicas: Selection, cells: pd.DataFrame) -> pd.DataFrame:
    """Select each learning rate's typical steps with interval and solved share from the rows of summary.csv.

    Where options are tuned, the rates are those with the options that are picked.
    """
    axes = replicas.design.axes
    at_rate = cells["at"] == "rate"
    # in the order of `cells`: by cell, point and setting
    shown = [
        r in kept
        for c in range(len(replicas.design.labels))
        for g in range(len(replicas.points))
        for kept in [replicas.shown(c, g)]
        for r in range(len(replicas.tried(c)))
    ]
    found = cells[at_rate][shown]
    columns = ["cell", *axes, "learning_rate", "typical_steps", "typical_low", "typical_high", "solved", "seeds"]
    return found.loc[found["seeds"] > 0, columns].reset_index(drop=True)
