"""Intervals and p-values from one number per seed.

Every comparison is a t interval over seeds of an `Estimate`: a centre, and one pseudo-value per seed, whose spread says
how sure the centre is. Shares get Wilson's interval, means of accuracies Gaffke's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from cellbench.statistics.arrays import Floats

LEAST_SEEDS = 3
"""Fewer seeds get estimates, but no interval, p or verdict."""

ZERO = 1e-9
"""Log ratios and spreads smaller than this are rounding."""

MOST_SEEDS = 1000
"""The largest number of seeds that `seeds_needed` considers; beyond it the answer is `inf`."""


@dataclass(frozen=True)
class Estimate:
    """A centre and its pseudo-values, one per seed, shape (seeds,).

    For a plain mean the pseudo-values are the values themselves; for a statistic that looks at several seeds at once
    (a learning rate picked on other seeds) they are Tukey's, from leaving out one seed each (Miller 1974).
    """

    centre: float
    psi: Floats

    def __sub__(self, other: Estimate) -> Estimate:
        """Subtract seed by seed; both hold the same seeds in the same order."""
        return Estimate(self.centre - other.centre, self.psi - other.psi)

    @property
    def seeds(self) -> int:
        return len(self.psi)

    @property
    def is_zero(self) -> bool:
        """Whether the centre and all pseudo-values are 0: two cells gave the same numbers."""
        return abs(self.centre) < ZERO and bool(np.all(np.abs(self.psi) < ZERO))


def mean(values: Floats) -> Estimate:
    """Average over seeds, values of shape (seeds,), as an `Estimate`.

    >>> mean(np.array([1.0, 3.0]))
    Estimate(centre=2.0, psi=array([1., 3.]))
    """
    return Estimate(float(values.mean()) if len(values) else math.nan, values)


def pool(estimates: Sequence[Estimate]) -> Estimate:
    """Average over grid points, within each seed first; each point weighs the same.

    One seed's weights or data are lucky at several points at once, so (point, seed) pairs are not independent: treating
    them so rejects 25 % of true hypotheses at a correlation of 0.3.

    >>> pool([Estimate(0.0, np.array([0.0, 1.0])), Estimate(1.0, np.array([2.0, 3.0]))])
    Estimate(centre=0.5, psi=array([1., 2.]))
    """
    return Estimate(
        math.fsum(e.centre for e in estimates) / len(estimates),
        np.stack([e.psi for e in estimates]).mean(axis=0),
    )


@dataclass(frozen=True)
class Interval:
    """A two-sided t interval of a centre, the p that the centre is 0, and the spread of the pseudo-values."""

    low: float
    high: float
    p: float
    sd: float


UNKNOWN = Interval(math.nan, math.nan, math.nan, math.nan)


def interval(estimate: Estimate, level: float = 0.95) -> Interval:
    """Return Student's t interval and two-sided p of an estimate; they come from one function, so they agree.

    Estimator: centre ± t(n-1) · sd(psi) / √n. Assumes that seeds are independent and that the mean of the
    pseudo-values is near normal; by simulation it covers 93.5 to 96.4 % from 3 seeds on.
    With no spread at all the p is 2^(1-n), the least that a sign-flip test of n seeds can reach. With fewer than 3
    seeds every number is `nan`.

    >>> a = np.log([400, 500, 650, 300, 900, 550])
    >>> b = np.log([600, 550, 1000, 450, 2000, 700])
    >>> found = interval(mean(a - b))
    >>> [round(float(x), 5) for x in (np.exp(found.low), np.exp(found.high), found.p, found.sd)]
    [0.52546, 0.86178, 0.00921, 0.23571]
    """
    n, c = estimate.seeds, estimate.centre
    if n < LEAST_SEEDS:
        return UNKNOWN
    sd = float(estimate.psi.std(ddof=1))
    if sd < ZERO:
        return Interval(c, c, 1.0 if abs(c) < ZERO else 2.0 ** (1 - n), 0.0)
    se = sd / math.sqrt(n)
    half = float(special.stdtrit(n - 1, (1 + level) / 2)) * se
    return Interval(c - half, c + half, 2 * float(special.stdtr(n - 1, -abs(c) / se)), sd)


def p_values(estimates: Sequence[Estimate]) -> Floats:
    """Return the p of `interval` of many estimates at once, shape (estimates,).

    >>> one, two = mean(np.array([0.1, 0.3, 0.2])), mean(np.array([0.1, -0.3, 0.2, 0.1]))
    >>> bool(np.allclose(p_values([one, two]), [interval(one).p, interval(two).p], rtol=1e-12))
    True
    """
    found = np.full(len(estimates), math.nan)
    for n in {estimate.seeds for estimate in estimates}:
        if n < LEAST_SEEDS:
            continue
        places = [i for i, estimate in enumerate(estimates) if estimate.seeds == n]
        c = np.abs([estimates[i].centre for i in places])
        sd = np.stack([estimates[i].psi for i in places]).std(axis=1, ddof=1)
        spread = sd >= ZERO
        t = np.divide(c, sd / math.sqrt(n), out=np.zeros_like(c), where=spread)
        found[places] = np.where(spread, 2 * special.stdtr(n - 1, -t), np.where(c < ZERO, 1.0, 2.0 ** (1 - n)))
    return found


def p_equivalent(estimate: Estimate, log_bound: float) -> float:
    """Return the p that |centre| is at least `log_bound`, by two one-sided t tests (Schuirmann 1987).

    It is at most 0.05 exactly when the 90 % interval lies within ± `log_bound`.

    >>> round(p_equivalent(mean(np.array([0.05, -0.05, 0.1, -0.1, 0.02, -0.02])), np.log(1.25)), 5)
    0.00031
    """
    n, c = estimate.seeds, estimate.centre
    if n < LEAST_SEEDS:
        return math.nan
    sd = float(estimate.psi.std(ddof=1))
    if sd < ZERO:
        return 2.0 ** (1 - n) if abs(c) < log_bound - ZERO else 1.0
    se = sd / math.sqrt(n)
    return float(special.stdtr(n - 1, (abs(c) - log_bound) / se))


@lru_cache
def _reach(n: int) -> float:
    # the textbook formula for power: 5 % two-sided, found 4 times in 5, in units of the standard error
    return float(special.stdtrit(n - 1, 0.975) + special.stdtrit(n - 1, 0.8))


def detectable(sd: float, n: int) -> float:
    """Return the ratio that n seeds of this spread would find 4 times in 5 (two-sided 5 %, power 80 %).

    >>> [round(detectable(0.25, n), 2) for n in (5, 10, 20, 30)]
    [1.52, 1.28, 1.18, 1.14]
    """
    return math.exp(_reach(n) * sd / math.sqrt(n)) if n >= LEAST_SEEDS else math.nan


@lru_cache
def _reaches() -> Floats:
    return np.array([_reach(n) for n in range(2, MOST_SEEDS + 1)])


def seeds_needed(sd: float, n: int, log_bound: float) -> float:
    """Return the least number of seeds that finds a ratio of exp(log_bound) 4 times in 5; `inf` beyond 1000.

    It plans with the upper 80 % limit of the sd: the observed sd is as often too small as too large (Browne 1995).
    `nan` where there is no spread to plan with.

    >>> seeds_needed(0.23571, 6, np.log(1.25))
    21.0
    """
    if n < LEAST_SEEDS or not sd >= ZERO:
        return math.nan
    # chdtri takes the upper tail, so .8 above is the .2 quantile
    upper = sd * math.sqrt((n - 1) / float(special.chdtri(n - 1, 0.8)))
    sizes = np.arange(2, MOST_SEEDS + 1)
    enough = sizes >= (_reaches() * upper / log_bound) ** 2
    return float(sizes[enough.argmax()]) if enough.any() else math.inf


@dataclass(frozen=True)
class Share:
    """A share and its 95 % interval."""

    share: float
    low: float
    high: float


_Z = float(special.ndtri(0.975))


def wilson(share: float, n: int) -> Share:
    """Return Wilson's interval of a share of n seeds; the share need not be a whole count (a tuned row's is a mean).

    Estimator: the score interval, chosen because it is short; its least coverage is 0.84 at 5 seeds (Brown, Cai &
    DasGupta 2001).

    >>> found = wilson(5 / 6, 6)
    >>> round(found.low, 4), round(found.high, 4)
    (0.4365, 0.9699)
    """
    if n == 0 or math.isnan(share):
        return Share(math.nan, math.nan, math.nan)
    share = min(max(share, 0.0), 1.0)
    z2 = _Z * _Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # at 0 and 1 the limits are exact; rounding must not move them inside
    low = 0.0 if share == 0 else max(0.0, centre - half)
    high = 1.0 if share == 1 else min(1.0, centre + half)
    return Share(share, low, high)


def rarest_failure(n: int) -> float:
    """Return the rate of failure below which n seeds show none with a chance above 5 %: 1 - 0.05^(1/n).

    >>> round(rarest_failure(10), 2)
    0.26
    """
    return 1 - math.pow(0.05, 1 / n)


_DRAWS = 9999
_BLOCK = 16  # samples whose draws fit the cache together
_SMALL = 200_000  # multiply-adds of a product that OpenBLAS leaves to one thread


@lru_cache
def _dirichlet(n: int) -> Floats:
    # (n + 1, draws); a fixed seed, so that the same runs give the same report
    draws = np.random.default_rng(0).dirichlet(np.ones(n + 1), _DRAWS)
    return np.ascontiguousarray(draws.T)


def _product(rows: Floats, draws: Floats) -> Floats:
    """Compute `rows @ draws` in pieces: where cores are shared, waiting for BLAS's threads takes ten times as long."""
    result = np.empty((len(rows), draws.shape[1]))
    piece = max(1, _SMALL // max(1, rows.size))
    for start in range(0, draws.shape[1], piece):
        np.matmul(rows, draws[:, start : start + piece], out=result[:, start : start + piece])
    return result


def gaffke(values: Floats) -> Floats:
    """Return Gaffke's 95 % interval of means of numbers in [0, 1], shape (samples, seeds) -> (samples, 2).

    Estimator: a Bayesian bootstrap with one extra seed at the worst value for the low limit, at the best for the high
    one. Assumes nothing but the bounds; at a ceiling of 1.0, where t and the bootstrap cover 41 %, it covers 99 %
    (Gaffke 2005; Phan 2021).

    >>> gaffke(np.ones((1, 5))).round(2)
    array([[0.48, 1.  ]])
    """
    samples, n = values.shape
    limits = np.empty((samples, 2))
    ordered = np.sort(values, axis=1)
    draws = _dirichlet(n)
    for start in range(0, samples, _BLOCK):
        block = ordered[start : start + _BLOCK]
        # an extra 0 adds nothing; an extra 1 adds its own weight
        limits[start : start + _BLOCK, 0] = quantiles(_product(block, draws[1:]), 0.025)
        limits[start : start + _BLOCK, 1] = quantiles(_product(block, draws[:-1]) + draws[-1], 0.975)
    # the last bits of a product depend on which samples share a block; they must not show
    return np.clip(limits.round(9), 0.0, 1.0)


def quantiles(rows: Floats, q: float) -> Floats:
    """Compute `np.quantile(rows, q, axis=1)`, faster where rows are long, in no order, and q is near 0 or 1.

    Args:
        rows: shape (rows, numbers), 16 numbers at least.
        q: the share of the numbers that are below.

    Returns:
        Shape (rows,).

    >>> quantiles(np.arange(200.0).reshape(2, 100), 0.025)
    array([  2.475, 102.475])
    """
    if q > 0.5:
        return -quantiles(-rows, 1 - q)
    place = q * (rows.shape[1] - 1)
    k = math.floor(place)
    # of each row, only what is below a bound is put in order: the bound is a quantile of its first numbers
    few = rows[:, : rows.shape[1] // 16]
    most = min(few.shape[1] - 1, math.ceil(2 * q * few.shape[1]))
    bounds = np.partition(few, most, axis=1)[:, most]
    result = np.empty(len(rows))
    for i, (row, bound) in enumerate(zip(rows, bounds, strict=True)):
        below = row[row <= bound]
        if len(below) < k + 2:
            below = row
        below = np.partition(below, (k, k + 1))
        result[i] = below[k] + (below[k + 1] - below[k]) * (place - k)
    return result
