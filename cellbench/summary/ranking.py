"""Rank all cells by their steps, over all points at the tuned rate, with the uncertainty of every rank."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import pandas as pd

from cellbench.statistics.intervals import Estimate, pool
from cellbench.statistics.ranks import rank_intervals
from cellbench.summary.comparisons import ALL, STEPS, shared
from cellbench.summary.fates import fate
from cellbench.summary.selection import Seeds, Selection

COLUMNS = (
    "cell", "rank", "rank_low", "rank_high", "ratio", "ratio_low", "ratio_high", "bound", "verdict", "parameters",
    "multiply_adds", "seeds", "solved", "typical_steps",
)  # fmt: skip
"""Those of `ranked`."""


def ranked(replicas: Selection, overview: pd.DataFrame, comparisons: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Return all cells, the fastest first, with the limits of their ranks, which hold for all cells at once.

    The rank itself is the place by the ratio of steps to the baseline, by typical steps where the baseline has no
    ratio; equal cells share it. The limits come from comparisons of every two cells over the points and seeds that
    both have (`statistics.ranks`). A cell that failed, diverged or broke a law, or has no number, has no rank and comes
    last.

    Args:
        replicas: all that was planned.
        overview: each cell over all points.
        comparisons: the rows of comparisons.csv.
        alpha: the chance that the limits of any rank are wrong.
    """
    design = replicas.design
    main = comparisons[(comparisons["metric"] == STEPS) & (comparisons["scope"] == ALL)]
    main = main[(main["at"] == "tuned") & (main["baseline"] == design.against)]
    ratios = {row["cell"]: row for row in main.to_dict("records")}
    sound = not fate(replicas, design.against)
    rows: list[dict[str, Any]] = []
    for one in overview.to_dict("records"):
        label = one["cell"]
        row: dict[str, Any] = {name: one[name] for name in COLUMNS if name in one}
        if label == design.against:
            row |= {"ratio": 1.0, "verdict": "", "bound": ""}
        elif label in ratios:
            row |= {name: ratios[label][name] for name in ("ratio", "ratio_low", "ratio_high", "bound", "verdict")}
            row["seeds"] = ratios[label]["seeds"]
        speed = row.get("ratio", math.nan) if sound else one["typical_steps"]
        rows.append(row | {"_speed": math.nan if fate(replicas, label) or pd.isna(speed) else float(speed)})
    rows.sort(key=lambda row: (math.isnan(row["_speed"]), row["_speed"]))
    among = [row for row in rows if not math.isnan(row["_speed"])]
    limits = rank_intervals(len(among), _differences(replicas, [str(row["cell"]) for row in among]), alpha)
    for i, row in enumerate(among):
        rank = 1 + sum(other["_speed"] < row["_speed"] * (1 - 1e-9) for other in among)
        # a pair compares more points and seeds than both have in common with the baseline: the place stays inside
        row |= {"rank": rank, "rank_low": min(rank, int(limits.low[i])), "rank_high": max(rank, int(limits.high[i]))}
    frame = pd.DataFrame(rows).reindex(columns=list(COLUMNS))
    for name in ("rank", "rank_low", "rank_high", "seeds"):
        frame[name] = frame[name].astype("Int64")
    return frame


def _differences(replicas: Selection, labels: list[str]) -> dict[tuple[int, int], Estimate]:
    """Estimate the difference of log steps of every two cells that can be compared."""
    known: dict[tuple[int, int, Seeds], Estimate] = {}

    def speed(cell: int, point: int, seeds: Seeds) -> Estimate:
        key = (cell, point, seeds)
        if key not in known:
            known[key] = replicas.speed(cell, point, seeds, "tuned")
        return known[key]

    found = {}
    cells = [replicas.cell(label) for label in labels]
    for (i, a), (j, b) in combinations(enumerate(cells), 2):
        both = shared(replicas, a, b, range(len(replicas.points)))
        if both.seeds:
            estimate = pool([speed(a, g, both.seeds) - speed(b, g, both.seeds) for g in both.points])
            if not math.isnan(estimate.centre):
                found[i, j] = estimate
    return found
