"""Compare two cells over many points, and correct many comparisons.

A comparison is an `Estimate` of the paired difference of log steps (cell minus baseline), pooled over grid points
within each seed. Below 0, or a ratio below 1: the cell needs fewer steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cellbench.statistics.arrays import Floats
from cellbench.statistics.intervals import (
    Estimate,
    Share,
    detectable,
    interval,
    p_equivalent,
    pool,
    seeds_needed,
    wilson,
)
from cellbench.statistics.survival import reached

_TIE = 1e-9

LEAST_SOLVED = 0.95
"""Equivalence needs at least this share of replicas solved, of both cells.

Censoring draws a ratio towards 1 by the share that it cuts off: with two replicas in three at the budget, cells look
alike whatever they are. By simulation, two cells that differ by 1.25 are called equivalent in at most 5.9 % of
experiments of 5 to 30 seeds from this share on, as against 9.8 % at 0.90, and 5.8 % where all replicas solve."""


@dataclass(frozen=True)
class Ratio:
    """A ratio of typical steps with its uncertainty, all of which is `nan` where there are fewer than 3 seeds."""

    ratio: float
    low: float
    high: float
    low_90: float
    high_90: float
    p: float
    p_equivalent: float
    sd: float
    detectable: float
    seeds_needed: float


def ratio(difference: Estimate, of_interest: float = 1.25, share: float = 1.0) -> Ratio:
    """Return the ratio of typical steps: exp of the mean paired difference of log steps.

    Args:
        difference: the cell's estimate minus the baseline's, of log steps.
        of_interest: the ratio that matters; equivalence means within 1 / of_interest to of_interest.
        share: of the 5 % that this look has: intervals leave 5 and 10 % times it outside. The p-values are those of
            the look alone.

    >>> a = np.log([400, 500, 650, 300, 900, 550])
    >>> b = np.log([600, 550, 1000, 450, 2000, 700])
    >>> found = ratio(Estimate(float(np.mean(a - b)), a - b))
    >>> round(found.ratio, 5), round(found.low_90, 5), round(found.high_90, 5), found.seeds_needed
    (0.67293, 0.55432, 0.81692, 21.0)
    """
    wide, narrow = interval(difference, 1 - 0.05 * share), interval(difference, 1 - 0.10 * share)
    bound, n = math.log(of_interest), difference.seeds
    return Ratio(
        ratio=math.exp(difference.centre),
        low=math.exp(wide.low),
        high=math.exp(wide.high),
        low_90=math.exp(narrow.low),
        high_90=math.exp(narrow.high),
        p=wide.p,
        p_equivalent=p_equivalent(difference, bound),
        sd=wide.sd,
        detectable=detectable(wide.sd, n),
        seeds_needed=seeds_needed(wide.sd, n, bound),
    )


def sooner(cell: Floats, baseline: Floats) -> Share:
    """Return the share of seeds at which the cell needs fewer steps, with Wilson's interval; a tie counts as a half.

    For description only: no verdict rests on it.

    Args:
        cell: one number per seed, shape (seeds,).
        baseline: the same seeds, in the same order.

    >>> sooner(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 2.0, 4.0, 3.0])).share
    0.625
    """
    less = cell - baseline
    if not len(less):  # no seed is complete for both cells
        return wilson(math.nan, 0)
    wins = (less < -_TIE).sum() + 0.5 * (np.abs(less) <= _TIE).sum()
    return wilson(float(wins) / len(less), len(less))


def direction(p_holm: float, p_equivalent_holm: float, ratio: float) -> str:
    """Choose a verdict's word from corrected p-values.

    >>> direction(0.01, 0.9, 0.7), direction(0.01, 0.02, 1.1), direction(0.2, 0.01, 1.0), direction(0.2, 0.2, 0.8)
    ('faster', 'slightly slower', 'equivalent', 'no difference shown')
    """
    near = p_equivalent_holm <= 0.05
    if p_holm <= 0.05:
        word = "faster" if ratio < 1 else "slower"
        return f"slightly {word}" if near else word
    return "equivalent" if near else "no difference shown"


def holm(p: Sequence[float] | Floats) -> Floats:
    """Correct p-values by Holm (1979), which bounds the chance of any false rejection in the family.

    The p-values may depend on each other in any way. They are sorted, and each becomes the running maximum of
    (m - rank) · p, at most 1, where rank counts from 0. A `nan` does not count towards m.

    >>> holm([0.01, 0.04, 0.03, 0.20])
    array([0.04, 0.09, 0.09, 0.2 ])
    """
    p = np.asarray(p, dtype=np.float64)
    corrected = np.full(p.shape, math.nan)
    order, _, raised = _stepped(p)
    corrected[order] = np.minimum(raised, 1.0)
    return corrected


def _stepped(p: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Sort a family; returns the order, (m - rank), and the running maximum of (m - rank) · p."""
    known = np.flatnonzero(~np.isnan(p))  # a comparison that could not be made is no hypothesis of the family
    order = known[np.argsort(p[known], kind="stable")]
    steps = np.arange(len(order), 0, -1)
    return order, steps, np.maximum.accumulate(steps * p[order])


def holm_levels(p: Sequence[float] | Floats, alpha: float = 0.05) -> Floats:
    """Return, for each of a family, the level of the interval that excludes 0 exactly where Holm rejects at alpha.

    Holm raises a p-value by a factor between 1 and the family's size; the level leaves alpha over that factor outside.
    The intervals show what the corrected test decided; that all of them hold at once is not claimed.

    >>> holm_levels([0.01, 0.04])
    array([0.975, 0.95 ])
    """
    p = np.asarray(p, dtype=np.float64)
    levels = np.full(p.shape, math.nan)
    order, steps, raised = _stepped(p)
    factors = np.divide(raised, p[order], out=steps.astype(np.float64), where=p[order] > 0)
    levels[order] = 1 - alpha / factors
    return levels


class HolmBeside:
    """Holm's corrected p of one hypothesis, for many values of its p, while the rest of its family stays fixed.

    It sorts the rest once, where `holm` would sort the whole family anew for each of them.

    >>> rest = HolmBeside([0.01, 0.03, 0.20])
    >>> rest(0.04), holm([0.01, 0.04, 0.03, 0.20])[1]
    (0.09, np.float64(0.09))
    """

    def __init__(self, rest: Sequence[float] | Floats) -> None:
        known = np.asarray(rest, dtype=np.float64)
        self._rest = np.sort(known[~np.isnan(known)])
        size = len(self._rest) + 1
        self._before = np.maximum.accumulate(np.arange(size, 1, -1) * self._rest)

    def __call__(self, p: float) -> float:
        if math.isnan(p):
            return math.nan
        # as in `holm`: its own step times p, and at least what the smaller p-values were raised to
        rank = int(np.searchsorted(self._rest, p))
        own = (len(self._rest) + 1 - rank) * p
        return float(min(1.0, max(own, self._before[rank - 1]) if rank else own))


def without_one(points: Sequence[Estimate]) -> list[Estimate]:
    """Pool the estimates with each single point left out in turn; empty for a single point.

    >>> [e.centre for e in without_one([Estimate(c, np.zeros(3)) for c in (0.0, 1.0, 2.0)])]
    [1.5, 1.0, 0.5]
    """
    if len(points) < 2:
        return []
    return [pool([*points[:g], *points[g + 1 :]]) for g in range(len(points))]


@dataclass(frozen=True)
class AxisTest:
    """Whether a ratio depends on an axis: p-values for "it differs between values" and for "the order is reversed"."""

    differ: float
    crossing: float


def axis(values: Sequence[Estimate]) -> AxisTest:
    """Test whether the log ratio differs between the values of an axis, and whether it changes sign.

    Estimator: `differ` is Bonferroni's over all pairs of values, each a paired t on the difference of differences;
    `crossing` asks that some value be slower *and* some value be faster, each one-sided: an intersection of two
    unions, so the larger p of the two, times (values - 1) (Gail & Simon's question, by t). Assumes as `interval` does.

    Args:
        values: one estimate per value of the axis, over the same settings of the other axes and the same seeds.

    >>> rng = np.random.default_rng(0)
    >>> low, high = rng.normal(-0.4, 0.3, 10), rng.normal(0.7, 0.3, 10)
    >>> found = axis([Estimate(low.mean(), low), Estimate(high.mean(), high)])
    >>> found.differ < 0.001, found.crossing < 0.01
    (True, True)
    """
    if len(values) < 2:
        return AxisTest(math.nan, math.nan)
    v = len(values)
    two_sided = np.array([interval(value).p for value in values])
    centres = np.array([value.centre for value in values])

    def some(slower: bool) -> float:
        """Return the least one-sided p over the values: is some value slower, or is some value faster?"""
        return float(np.where((centres > 0) == slower, two_sided / 2, 1 - two_sided / 2).min())

    pairs = [interval(a - b).p for a, b in combinations(values, 2)]
    return AxisTest(
        differ=min(1.0, v * (v - 1) / 2 * float(np.min(pairs))),
        crossing=min(1.0, (v - 1) * float(np.max([some(True), some(False)]))),
    )


def profile(steps: Floats, typical: float, factors: Floats, weights: Floats | None = None) -> Floats:
    """Return one point's part of the performance profile: the share of replicas with T <= factor · typical.

    For a chart only.

    Relative to the baseline's typical steps, not to the best cell's: that would change when a cell is added (Dolan &
    Moré 2002; Gould & Scott 2016). Replicas that never solve keep the curve below 1.

    Args:
        steps: T, (seeds, rates), `inf` for never.
        typical: the baseline's typical steps at this point.
        factors: shape (factors,).
        weights: (seeds, rates); equal if left out.

    >>> profile(np.array([[100.0], [300.0], [np.inf]]), 200.0, np.array([0.25, 1.0, 4.0])).round(2)
    array([0.  , 0.33, 0.67])
    """
    return reached(steps, factors * typical, weights)
