"""Steps to solved, when some replicas never solve.

T is the number of steps to solved, `inf` for a replica that never solved within the budget tau. Every replica of an
experiment is censored at the same tau, so Kaplan-Meier is the plain empirical distribution and the restricted mean is
`mean(min(T, tau))`. No survival library is needed; the tests compare with lifelines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from cellbench.statistics.arrays import Flags, Floats

_SLACK = 1e-12


def log_steps(steps: Floats, tau: float) -> Floats:
    """Return y = log(min(T, tau)), the number that is compared; any shape. `nan` (missing) stays `nan`.

    >>> log_steps(np.array([100.0, np.inf]), 2000).round(3)
    array([4.605, 7.601])
    """
    return np.log(np.minimum(steps, tau))


@dataclass(frozen=True)
class Median:
    """A median with its 95 % interval. `inf`: not reached within the budget. `nan`: not known."""

    median: float
    low: float
    high: float


@lru_cache
def _rank(n: int) -> int:
    """Return the largest j with P(Binomial(n, 1/2) <= j - 1) <= 0.025; 0 when there is none (n < 6)."""
    below = special.bdtr(np.arange(n), n, 0.5)
    return int((below <= 0.025).sum())


def median(steps: Floats, weights: Floats | None = None, seeds: int | None = None) -> Median:
    """Return the Kaplan-Meier median, the least t with F(t) >= 1/2, and its order-statistic interval.

    Estimator: the interval holds the j-th to the (n-j+1)-th order statistic, j from the binomial; for weights it
    holds the quantiles j/n and (n-j+1)/n of the weighted distribution. Assumes independent seeds and nothing else.
    Below 6 seeds no such interval reaches 95 %.

    Args:
        steps: T, any shape, `inf` for never.
        weights: how much each of `steps` counts, the same shape; equal if left out.
        seeds: the number of independent seeds; the number of `steps` if left out.

    >>> median(np.array([600, 550, 1000, 450, np.inf, 700]))
    Median(median=600.0, low=450.0, high=inf)
    """
    t = np.ravel(steps)
    n = t.size if seeds is None else seeds
    if t.size == 0:
        return Median(math.nan, math.nan, math.nan)
    mass = np.full(t.size, 1 / t.size) if weights is None else np.ravel(weights) / weights.sum()
    order = np.argsort(t, kind="stable")
    t, below = t[order], np.cumsum(mass[order])

    def quantile(q: float) -> float:
        """Return the least T at which the cumulated weight reaches q, up to rounding."""
        return float(t[min(int(np.searchsorted(below, q - _SLACK)), t.size - 1)])

    j = _rank(n)
    if j == 0:
        return Median(quantile(0.5), math.nan, math.nan)
    return Median(quantile(0.5), quantile(j / n), quantile((n - j + 1) / n))


def reached(steps: Floats, at: Floats, weights: Floats | None = None) -> Floats:
    """Evaluate the empirical distribution F: the (weighted) share of replicas with T <= t, for each t of `at`.

    Args:
        steps: T, any shape.
        at: shape (times,).
        weights: the same shape as steps; equal if left out.

    >>> reached(np.array([100.0, 200.0, np.inf, 100.0]), np.array([50.0, 100.0, 1000.0]))
    array([0.  , 0.5 , 0.75])
    """
    t = np.ravel(steps)
    mass = np.full(t.size, 1 / t.size) if weights is None else np.ravel(weights) / weights.sum()
    order = np.argsort(t, kind="stable")
    cumulated = np.concatenate([[0.0], np.cumsum(mass[order])])
    result: Floats = cumulated[np.searchsorted(t[order], at, side="right")]
    return result


def solved(steps: Floats) -> Floats:
    """Return 1 where T is finite (the replica solved), else 0; any shape.

    >>> solved(np.array([100.0, np.inf]))
    array([1., 0.])
    """
    done: Flags = np.isfinite(steps)
    return done.astype(np.float64)


BUDGETS = 2.0, 10.0
"""The least and the most by which `longer_budget` multiplies a budget."""


def longer_budget(y: Floats, log_budget: float, share: float) -> float:
    """Guess the budget at which a share of replicas would have solved. For a suggestion only.

    Estimator: a normal distribution of log steps through two of their quantiles: the budget, and the median of those
    that solved. Where none solved, the largest of `BUDGETS`.

    Args:
        y: log steps, shape (replicas,); those that did not solve are at `log_budget`.
        log_budget: the log of the budget.
        share: the share to be solved.

    Returns:
        Steps; the budget itself where the share is solved already.

    >>> y = np.log(100) + 0.8 * special.ndtri((np.arange(1000) + 0.5) / 1000)
    >>> round(longer_budget(np.minimum(y, np.log(150)), np.log(150), 0.95)), round(float(np.exp(np.quantile(y, 0.95))))
    (373, 372)
    """
    solved = y < log_budget - 1e-9
    found, budget = float(solved.mean()) if len(y) else 0.0, math.exp(log_budget)
    if found >= share:
        return budget
    least, most = (budget * factor for factor in BUDGETS)
    if not found:
        return most
    middle, end = float(special.ndtri(found / 2)), float(special.ndtri(found))
    sd = (log_budget - float(np.median(y[solved]))) / (end - middle)
    wanted = log_budget + sd * (float(special.ndtri(share)) - end)
    return float(np.clip(math.exp(min(wanted, 700.0)), least, most))
