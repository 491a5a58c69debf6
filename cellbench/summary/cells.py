"""Describe each cell at each point (summary.csv): one row per learning rate, then `tuned` and `across`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cellbench.statistics.arrays import Floats
from cellbench.statistics.intervals import LEAST_SEEDS, Estimate, Share, interval, mean, pool, wilson
from cellbench.statistics.learning_rate import Tuned
from cellbench.statistics.survival import Median, log_steps, median, solved
from cellbench.summary import words
from cellbench.summary.selection import NOT_PLANNED, Selection, common

NUMBERS = (
    "at", "learning_rate", "seeds", "solved", "solved_low", "solved_high", "median_steps", "median_low", "median_high",
    "typical_steps", "typical_low", "typical_high", "mean_steps", "mean_low", "mean_high", "sd", "picked",
    "picked_share", "notes",
)  # fmt: skip
"""The columns after `cell` and the axes."""

COARSE = 10
"""A median reached before this many evaluations is marked as coarse."""


def cells(replicas: Selection) -> pd.DataFrame:
    """Return the frame of summary.csv; empty (`nan`) means not reached or not known."""
    rows: list[dict[str, Any]] = []
    for c, label in enumerate(replicas.design.labels):
        for g, point in enumerate(replicas.points):
            where = {"cell": label, **dict(zip(replicas.design.axes, point, strict=True))}
            rows += [{**where, **row} for row in _rows(replicas, c, g)]
    return pd.DataFrame(rows, columns=["cell", *replicas.design.axes, *NUMBERS])


def _rows(replicas: Selection, c: int, g: int) -> list[dict[str, Any]]:
    """Describe one cell at one point: at each rate, tuned, and across the rates."""
    design = replicas.design
    steps = replicas.steps[c, g]
    # a single rate uses every seed that is known at it
    at_rate = []
    for r, rate in enumerate(design.rates):
        known = ~np.isnan(steps[:, r])
        row = _row(replicas, steps[known, r][:, None], None)
        row |= {"at": "rate", "learning_rate": rate}
        row["notes"] = "; ".join([*_missing(replicas, c, g, r), *row["notes"]])
        at_rate.append(row)

    # a pick compares the rates, so only seeds that are complete over all of them count
    seeds = replicas.complete(c, g)
    pick = replicas.tuned(c, g, seeds)
    tuned: dict[str, Any] = {"seeds": len(seeds), "notes": []}
    if pick is not None:
        tuned = _row(replicas, steps[list(seeds)], pick)
        picked = design.rates[pick.picked]
        tuned |= {"picked": picked, "picked_share": pick.share}
        if not math.isnan(replicas.at_end(c, g, seeds)):
            tuned["notes"].append("at the edge of the range; widen it")
        tuned["notes"] += _unreliable(at_rate, picked)
    elif seeds:
        tuned["notes"].append("a rate is picked on other seeds than it is reported on: needs 2 seeds")
    missing = _missing(replicas, c, g)
    tuned |= {"at": "tuned", "notes": "; ".join([*missing, *tuned["notes"]])}

    average: dict[str, Any] = {"at": "across", "seeds": len(seeds), "notes": "; ".join(missing)}
    if seeds:
        average |= _typical(replicas.speed(c, g, seeds, "across"))
    return [*at_rate, tuned, average]


def _row(replicas: Selection, steps: Floats, pick: Tuned | None) -> dict[str, Any]:
    """Compute the numbers of one row from T (seeds, rates): at the tuned rate, or at the only one."""
    tau, n = replicas.design.max_steps, len(steps)
    row: dict[str, Any] = {"seeds": n, "notes": []}
    if n == 0:
        return row

    def values(metric: Floats) -> Floats:
        """Return one number per seed: (seeds, rates) -> (seeds,)."""
        return pick.values(metric) if pick is not None else metric[:, 0]

    y = log_steps(steps, tau)
    row |= _typical(pick.estimate(y) if pick is not None else mean(y[:, 0]))
    share = float(values(solved(steps)).mean())
    found = wilson(share, n) if n >= LEAST_SEEDS else Share(share, math.nan, math.nan)
    row |= {"solved": share, "solved_low": found.low, "solved_high": found.high}
    middle = median(steps, None if pick is None else pick.weights, seeds=n)
    row |= _median(middle)
    restricted = mean(values(np.minimum(steps, tau)))
    # the t interval of a restricted mean may leave the possible range: no solved step is before the first evaluation
    limits = interval(restricted)
    least = float(replicas.design.evaluation_steps[0])
    row |= {"mean_steps": restricted.centre}
    row |= {"mean_low": float(np.clip(limits.low, least, tau)), "mean_high": float(np.clip(limits.high, least, tau))}
    row["notes"] += _coarse(replicas, middle)
    return row


def _typical(speed: Estimate) -> dict[str, Any]:
    """Turn log steps back into steps: a geometric mean with its interval."""
    limits = interval(speed)
    return {
        "typical_steps": math.exp(speed.centre),
        "typical_low": math.exp(limits.low),
        "typical_high": math.exp(limits.high),
        "sd": limits.sd,
    }


def _median(found: Median) -> dict[str, Any]:
    """Lay out a median; a limit that was not reached is empty."""

    def reached(t: float) -> float:
        return t if math.isfinite(t) else math.nan

    return {
        "median_steps": reached(found.median),
        "median_low": reached(found.low),
        "median_high": reached(found.high),
    }


def _coarse(replicas: Selection, found: Median) -> list[str]:
    """Note a median that falls on one of the first evaluations: the gap before it is large beside the steps."""
    at = replicas.design.evaluation_steps
    place = int(np.searchsorted(at, found.median))  # the median is one of the evaluations
    if not math.isfinite(found.median) or place + 1 >= COARSE:
        return []
    gap = at[place] - (at[place - 1] if place else 0)
    return [f"coarse: steps are known to within {gap}; ratios are drawn towards 1"]


def _unreliable(at_rate: list[dict[str, Any]], picked: float) -> list[str]:
    """Note a picked rate when one nearly as fast solves more often, or with less than half the spread."""
    chosen = next(row for row in at_rate if row["learning_rate"] == picked)
    found = []
    for row in at_rate:
        if row is chosen or not row["seeds"] or row["typical_steps"] > 1.25 * chosen["typical_steps"]:
            continue
        if row["solved"] > chosen["solved"] or chosen["sd"] > 2 * row["sd"]:
            found.append(words.number(row["learning_rate"]))
    if not found:
        return []
    return [f"unreliable: {words.listing(found)} is within 25 % of its steps and solves more often or more evenly"]


def _missing(replicas: Selection, c: int, g: int, rate: int | None = None) -> list[str]:
    """Note what a row lacks: replicas at one rate, or seeds complete over all rates."""
    seeds = int((replicas.state[c, g] != NOT_PLANNED).any(axis=1).sum())
    if not seeds:
        return ["nothing was planned here"]
    lacking = seeds - (
        len(replicas.complete(c, g)) if rate is None else int((~np.isnan(replicas.steps[c, g, :, rate])).sum())
    )
    return [f"{lacking} of {words.count(seeds, 'seeds')} missing"] if lacking else []


def overview(replicas: Selection, points: Sequence[int] | None = None) -> pd.DataFrame:
    """Pool each cell over all points, or some, where it is complete, at the tuned rate: solved share and typical steps.

    Columns: cell, points, seeds, solved (mean over points), typical_steps and its limits (geometric mean over points),
    tuning_gain (typical steps across the rates over those at the tuned rate), ends (points where its rate is picked at
    an end of the range), end_rates, parameters, multiply_adds (geometric means over points).
    """
    rows: list[dict[str, Any]] = []
    among = list(range(len(replicas.points)) if points is None else points)
    for c, label in enumerate(replicas.design.labels):
        found = common([(g, replicas.complete(c, g)) for g in among])
        row: dict[str, Any] = {"cell": label, "points": len(found.points), "seeds": len(found.seeds), "end_rates": ""}
        # the rate is picked at each point on the seeds that all points share
        picks = [replicas.tuned(c, g, found.seeds) for g in found.points]
        if found.seeds and all(pick is not None for pick in picks):
            chosen = list(zip(found.points, picks, strict=True))
            shares = [pick.values(solved(replicas.steps[c, g][list(found.seeds)])).mean() for g, pick in chosen if pick]
            row["solved"] = float(np.mean(shares))
            tuned, across = (
                pool([replicas.speed(c, g, found.seeds, at) for g in found.points]) for at in ("tuned", "across")
            )
            row |= _typical(tuned) | {"tuning_gain": math.exp(across.centre - tuned.centre)}
            ends = [replicas.at_end(c, g, found.seeds) for g in found.points]
            at_end = sorted({rate for rate in ends if not math.isnan(rate)})
            row |= {
                "ends": sum(not math.isnan(rate) for rate in ends),
                "end_rates": ", ".join(words.number(rate) for rate in at_end),
            }
        # sizes need no complete seeds: they are over all points at which the cell was measured
        for size in ("parameters", "multiply_adds"):
            known = replicas.size[size][c, among]
            known = known[~np.isnan(known)]
            row[size] = math.exp(float(np.log(known).mean())) if len(known) else math.nan
        rows.append(row)
    columns = [
        "cell", "points", "seeds", "solved", "typical_steps", "typical_low", "typical_high", "tuning_gain", "ends",
        "end_rates", "parameters", "multiply_adds",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)
