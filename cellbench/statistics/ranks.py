"""Ranks of many cells, with intervals that hold for all of them at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cellbench.statistics.arrays import Counts
from cellbench.statistics.comparison import holm
from cellbench.statistics.intervals import Estimate, p_values


@dataclass(frozen=True)
class Ranks:
    """For each cell, the least and the greatest rank that the comparisons leave open, shape (cells,)."""

    low: Counts
    high: Counts


def rank_intervals(cells: int, differences: Mapping[tuple[int, int], Estimate], alpha: float = 0.05) -> Ranks:
    """Return simultaneous intervals of the ranks of cells, 1 the fastest, from all comparisons of two.

    Estimator: every two cells are compared by t over their common seeds, and the p-values corrected by Holm over all
    pairs. A cell's rank is at least 1 + the number of cells shown to be faster, at most the number of cells - the
    number shown to be slower (Mogstad, Romano, Shaikh & Wilhelm 2024, whose tests of pairs are bootstrapped; Al
    Mohamad, Goeman & van Zwet 2022). All intervals hold at once wherever no pair is ordered wrongly. Equal cells share
    their ranks, and the intervals hold all of these.

    Where pairs have different numbers of seeds in common, each p is multiplied by how many such numbers there are:
    seeds that were added in stages, to the cells that were still open, are then looked at no more often than was paid
    for.

    Args:
        cells: how many.
        differences: by two cells, the first's log steps minus the second's; pairs that cannot be compared are not
            there, and are not ordered.
        alpha: the chance that any interval misses.

    >>> rng = np.random.default_rng(0)
    >>> y = np.array([[0.0], [0.0], [2.0]]) + 0.2 * rng.standard_normal((3, 10))
    >>> pairs = {(a, b): Estimate(float((y[a] - y[b]).mean()), y[a] - y[b]) for a in range(3) for b in range(a)}
    >>> found = rank_intervals(3, pairs)
    >>> found.low.tolist(), found.high.tolist()
    ([1, 1, 3], [2, 2, 3])
    """
    looks = len({estimate.seeds for estimate in differences.values()})
    corrected = holm(np.minimum(1.0, looks * p_values(list(differences.values()))))
    low, high = np.ones(cells, dtype=np.int64), np.full(cells, cells, dtype=np.int64)
    for (one, two), estimate, p in zip(differences, differences.values(), corrected, strict=True):
        if p <= alpha:
            faster, slower = (one, two) if estimate.centre < 0 else (two, one)
            low[slower] += 1
            high[faster] -= 1
    return Ranks(low, high)
