"""Describe each cell at each point (summary.csv): one row per learning rate, then `tuned` and `across`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cellbench.statistics.arrays import Floats
from cellbench.statistics.intervals import LEAST_SEEDS, Estimate, Share, interval, mean, pool, wilson
from cellbench.statistics.learning_rate import Tuned
from cellbench.statistics.survival import Median, log_steps, median, solved
from cellbench.summary import words
from cellbench.summary.design import OPTIONS, PICKED_OPTIONS, Design, Setting
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
    return pd.DataFrame(rows, columns=["cell", *replicas.design.axes, *numbers(replicas.design)])


def numbers(design: Design) -> list[str]:
    """List the columns after `cell` and the axes; where options are tuned, they stand beside the learning rates."""
    beside = {"learning_rate": OPTIONS, "picked": PICKED_OPTIONS} if design.tunes_options else {}
    return [name for column in NUMBERS for name in (*([beside[column]] if column in beside else []), column)]


def _rows(replicas: Selection, c: int, g: int) -> list[dict[str, Any]]:
    """Describe one cell at one point: at each rate, tuned, and across the rates."""
    design, tried = replicas.design, replicas.tried(c)
    steps = replicas.of(c, g)
    # a single rate uses every seed that is known at it
    at_rate = []
    for r, setting in enumerate(tried):
        known = ~np.isnan(steps[:, r])
        row = _row(replicas, steps[known, r][:, None], None)
        row |= {"at": "rate", "learning_rate": setting.rate}
        if design.tunes_options:
            row |= {OPTIONS: setting.options}
        row["notes"] = "; ".join([*_missing(replicas, c, g, r), *row["notes"]])
        at_rate.append(row)

    # a pick compares the rates, so only seeds that are complete over all of them count
    seeds = replicas.complete(c, g)
    pick = replicas.tuned(c, g, seeds)
    tuned: dict[str, Any] = {"seeds": len(seeds), "notes": []}
    if pick is not None:
        tuned = _row(replicas, steps[list(seeds)], pick)
        tuned |= {"picked": tried[pick.picked].rate, "picked_share": pick.share}
        if design.tunes_options:
            tuned |= {PICKED_OPTIONS: tried[pick.picked].options}
        if not math.isnan(replicas.at_end(c, g, seeds)):
            tuned["notes"].append("at the edge of the range; widen it")
        tuned["notes"] += _unreliable(at_rate, tried, pick.picked)
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


def _unreliable(at_rate: list[dict[str, Any]], tried: Sequence[Setting], picked: int) -> list[str]:
    """Note a picked setting when one nearly as fast solves more often, or with less than half the spread."""
    chosen = at_rate[picked]
    found = []
    for row, setting in zip(at_rate, tried, strict=True):
        if row is chosen or not row["seeds"] or row["typical_steps"] > 1.25 * chosen["typical_steps"]:
            continue
        if row["solved"] > chosen["solved"] or chosen["sd"] > 2 * row["sd"]:
            found.append(setting.text)
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
    an end of the range), end_rates, parameters, multiply_adds (geometric means over points), settings (how many it was
    tried at), picked (the setting picked at most points, in words).
    """
    rows: list[dict[str, Any]] = []
    among = list(range(len(replicas.points)) if points is None else points)
    for c, label in enumerate(replicas.design.labels):
        found = common([(g, replicas.complete(c, g)) for g in among])
        row: dict[str, Any] = {"cell": label, "points": len(found.points), "seeds": len(found.seeds), "end_rates": ""}
        row |= {"settings": len(replicas.tried(c)), "picked": ""}
        # the rate is picked at each point on the seeds that all points share
        picks = [replicas.tuned(c, g, found.seeds) for g in found.points]
        if found.seeds and all(pick is not None for pick in picks):
            chosen = list(zip(found.points, picks, strict=True))
            shares = [pick.values(solved(replicas.of(c, g)[list(found.seeds)])).mean() for g, pick in chosen if pick]
            row["solved"] = float(np.mean(shares))
            row["picked"] = _mostly(replicas.tried(c)[pick.picked].text for pick in picks if pick)
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
            known = np.array([replicas.size_of(size, c, g) for g in among])
            known = known[~np.isnan(known)]
            row[size] = math.exp(float(np.log(known).mean())) if len(known) else math.nan
        rows.append(row)
    columns = [
        "cell", "points", "seeds", "solved", "typical_steps", "typical_low", "typical_high", "tuning_gain", "ends",
        "end_rates", "parameters", "multiply_adds", "settings", "picked",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _mostly(picked: Iterable[str]) -> str:
    """Name the setting that was picked at most points, and at how many, where it was not at all."""
    counts = Counter(picked)
    first, most = counts.most_common(1)[0]
    return first if most == counts.total() else f"{first} ({most} of {words.count(counts.total(), 'points')})"
