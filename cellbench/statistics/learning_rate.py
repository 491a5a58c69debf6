"""One number per seed when several learning rates were tried.

Reporting the rate that was best on the reported seeds favours the cell with more near-equal rates: by simulation, false
positives reach 40 %. So the rate is picked on half of the seeds and reported on the other half, for all halvings
("tuned"). The average over the whole range of rates, where nothing is picked, is given beside it ("across").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from cellbench.statistics.arrays import Counts, Flags, Floats
from cellbench.statistics.intervals import Estimate, mean

_TIE = 1e-9
_MOST_EXHAUSTIVE = 10
_SAMPLED = 200
_MOST_SUBSETS, _SAMPLED_SUBSETS = 252, 50
_AT_ONCE = 2_000_000
"""The most numbers in an intermediate array: 16 MB."""


@lru_cache
def halvings(n: int) -> Flags:
    """List the ways to halve n seeds, shape (halvings, seeds); true = the first half, of n // 2 seeds.

    Up to 10 seeds these are all of them, beyond that 200 drawn with a fixed seed. Each is used in both directions: pick
    on the first half and report on the second, and the reverse.

    >>> [halvings(n).shape for n in (4, 10, 20)]
    [(6, 4), (252, 10), (200, 20)]
    """
    if n <= _MOST_EXHAUSTIVE:
        halves = list(combinations(range(n), n // 2))
    else:
        rng = np.random.default_rng([0, n])
        halves = [tuple(rng.permutation(n)[: n // 2]) for _ in range(_SAMPLED)]
    found = np.zeros((len(halves), n), dtype=bool)
    for row, half in zip(found, halves, strict=True):
        row[list(half)] = True
    return found


def preference(rates: Floats) -> Counts:
    """Order the rates for breaking ties: nearest the middle of the range on a log scale, then the smaller.

    >>> preference(np.array([0.001, 0.01, 0.1]))
    array([1, 0, 2])
    """
    logs = np.log(rates)
    away = np.abs(logs - (logs.min() + logs.max()) / 2).round(9)
    return np.lexsort((logs, away))


def _pick(means: Floats, hits: Floats | None, order: Counts) -> Counts:
    """Pick a rate from the means of y and of accuracy: (..., rates) -> (...)."""
    # the least mean of y; among equal ones the best accuracy; among equal ones the first by `preference`
    fine = means <= means.min(-1, keepdims=True) + _TIE
    if hits is not None:
        hits = np.where(fine, hits, -np.inf)
        fine &= hits >= hits.max(-1, keepdims=True) - _TIE
    result: Counts = order[fine[..., order].argmax(-1)]
    return result


def _both(inside: Floats, whole: Floats, first: Flags) -> Floats:
    """Turn sums over first halves (..., R, rates) and over all seeds (..., rates) into means: (..., 2 R, rates).

    The means over the first halves come first, those over the second halves after them.
    """
    size = first[0].sum()
    outside = whole[..., None, :] - inside
    return np.concatenate([inside / size, outside / (first.shape[1] - size)], axis=-2)


def _weights(y: Floats, accuracy: Floats | None, order: Counts) -> Floats:
    """Count how often the half without a seed picked each rate: (seeds, rates) -> the same, rows summing to 1."""
    n, rates = y.shape
    if rates == 1:
        return np.ones_like(y)
    first = halvings(n)

    def means(x: Floats) -> Floats:
        return _both(first @ x, x.sum(0), first)

    picked = _pick(means(y), None if accuracy is None else means(accuracy), order)
    found = np.empty_like(y)  # in memory as y is: the last bits of a sum over both depend on it
    # each seed is in one half of each halving, so its counts sum to the number of halvings
    found[:] = np.concatenate([~first, first]).T.astype(np.float64) @ np.eye(rates)[picked] / len(first)
    return found


def _left_out(y: Floats, accuracy: Floats | None, order: Counts) -> NDArray[np.uint8]:
    """Compute `Tuned.left_out` from y (seeds, rates): the picks once more, with each seed left out in turn."""
    n, rates = y.shape
    found = np.zeros((n, n, rates), dtype=np.uint8)
    if n < 3 or rates == 1:
        return found
    first = halvings(n - 1)
    places = first.T.astype(np.float64)[..., None]

    def means(x: Floats) -> Floats:
        """Return the means of every half without each seed: (left out, 2 R, rates)."""
        # halving places 0 to n - 2 are the seeds before the one left out, then those after it: two running sums
        inside = np.zeros((n, len(first), rates))
        np.cumsum(places * x[:-1, None], axis=0, out=inside[1:])
        inside[:-1] += np.cumsum((places * x[1:, None])[::-1], axis=0)[::-1]
        return _both(inside, x.sum(0) - x, first)

    picked = _pick(means(y), None if accuracy is None else means(accuracy), order)
    # leaving out another seed seldom changes a pick: count for one, and add the changes
    usual = picked[0]
    left, half = np.nonzero(picked != usual)
    rows = np.concatenate([left * rates + picked[left, half], left * rates + usual[half]])
    signs = np.repeat(np.array([1, -1], dtype=np.int16), len(half))
    without = np.concatenate([~first, first]).astype(np.int16)
    changes = np.asarray(csr_array((signs, (rows, np.tile(half, 2))), shape=(n * rates, len(usual))) @ without)
    counts = np.eye(rates, dtype=np.int16)[usual].T @ without + changes.reshape(n, rates, n - 1)
    # the counts are by place among the other seeds; put each at its seed, and leave the row of the seed itself 0
    seeds = np.arange(n)[:, None]
    others = np.arange(n - 1) + (np.arange(n - 1) >= seeds)
    found[seeds, others] = counts.swapaxes(1, 2)
    return found


@dataclass(frozen=True)
class Tuned:
    """The rate that is picked, how surely, and the weights that average every metric of the tuned row."""

    weights: Floats
    """(seeds, rates): how often the half without the seed picked the rate; rows sum to 1."""
    left_out: NDArray[np.uint8]
    """(left out, seeds, rates): the same as counts, with all halvings (at most 252) redone without one seed; the row
    of the seed left out is 0."""
    picked: int
    """The rate picked on all seeds."""

    @property
    def share(self) -> float:
        """The mean weight of the picked rate."""
        return float(self.weights[:, self.picked].mean())

    def values(self, metric: Floats) -> Floats:
        """Average a metric over the rates by the weights, one number per seed: (seeds, rates, ...) -> (seeds, ...)."""
        result: Floats = np.einsum("il,il...->i...", self.weights, metric)
        return result

    def estimate(self, metric: Floats) -> Estimate:
        """Estimate a metric (seeds, rates) at the tuned rate: its centre, and its jackknife pseudo-values.

        Estimator: c = mean_i Σ_l w[i, l] · metric[i, l], the metric at a rate picked on n / 2 *other* seeds: what a
        user who tunes gets, not the metric at the truly best rate. psi_i = n · c - (n - 1) · c_without_i, with all
        halvings redone (Miller 1974). Its interval covers 94 to 98 % where the sd at the picked rate does not.
        """
        centres, psi = self.estimates(metric[..., None])
        return Estimate(float(centres[0]), psi[:, 0])

    def estimates(self, metrics: Floats) -> tuple[Floats, Floats]:
        """Estimate many metrics at once: (seeds, rates, metrics) -> centres (metrics,), psi (seeds, metrics)."""
        n = len(metrics)
        values = self.values(metrics)
        centre = values.mean(axis=0)
        if metrics.shape[1] == 1:  # nothing is picked: the plain mean
            return centre, values
        if n < 3:  # without one seed there is no other half
            return centre, np.full_like(values, math.nan)
        # the centre without each seed, then psi_i = n · c - (n - 1) · c_without_i
        without = np.empty_like(values)
        size = max(1, _AT_ONCE // self.left_out[0].size)
        for start in range(0, n, size):
            weights = self.left_out[start : start + size] / len(halvings(n - 1))
            without[start : start + size] = np.einsum("jil,ilm->jm", weights, metrics) / (n - 1)
        return centre, n * centre - (n - 1) * without


def tuned(y: Floats, accuracy: Floats | None, rates: Floats) -> Tuned | None:
    """Pick the learning rate by repeated halving.

    Args:
        y: log steps, shape (seeds, rates), without `nan`.
        accuracy: what breaks ties of the mean of y, the same shape; higher is better.
        rates: the learning rates, shape (rates,).

    Returns:
        The weights; `None` where there are several rates and not two seeds to pick on one and report on the other.

    >>> steps = [[300, 200, 250], [450, 250, 200], [350, 150, 2000], [500, 300, 250]]
    >>> y = np.log(steps)
    >>> found = tuned(y, None, np.array([0.003, 0.01, 0.03]))
    >>> found.weights.round(2)
    array([[0.  , 0.67, 0.33],
           [0.  , 1.  , 0.  ],
           [0.  , 0.67, 0.33],
           [0.  , 1.  , 0.  ]])
    >>> speed = found.estimate(y)
    >>> round(float(np.exp(speed.centre)), 3), speed.psi.round(5)
    (275.338, array([3.78101, 5.52146, 5.86045, 5.70378]))
    """
    n, count = y.shape
    if n == 0 or (n < 2 and count > 1):
        return None
    order = preference(rates)
    picked = _pick(y.mean(0), None if accuracy is None else accuracy.mean(0), order)
    return Tuned(_weights(y, accuracy, order), _left_out(y, accuracy, order), int(picked))


def across(metric: Floats) -> Estimate:
    """Average over the whole range of rates, nothing picked: (seeds, rates) -> an estimate over seeds.

    It answers another question than `tuned`, with less noise: how fast the cell is without tuning, over *these* rates.
    A difference between the two is no contradiction.

    >>> across(np.array([[1.0, 3.0], [2.0, 4.0]]))
    Estimate(centre=2.5, psi=array([2., 3.]))
    """
    return mean(metric.mean(axis=1))


def _subsets(count: int, k: int) -> list[list[int]]:
    """List the subsets of k of `count` rates, or some of them, if there are many."""
    if math.comb(count, k) <= _MOST_SUBSETS:
        return [list(kept) for kept in combinations(range(count), k)]
    rng = np.random.default_rng([1, count, k])
    return [sorted(rng.permutation(count)[:k].tolist()) for _ in range(_SAMPLED_SUBSETS)]


def tuning_curve(y: Floats, accuracy: Floats | None, rates: Floats) -> Floats:
    """Return the log steps to expect after trying k = 1, 2, ... learning rates, shape (rates,). For the chart only.

    Estimator: the mean of the tuned centre over all subsets of k rates (Dodge 2019); of more than 252 subsets, over 50
    drawn with a fixed seed. k = 1 is "across", k = all is "tuned".

    >>> y = np.log([[300, 200], [450, 250], [350, 150]])
    >>> np.exp(tuning_curve(y, None, np.array([0.003, 0.01]))).round(1)
    array([266. , 195.7])
    """
    n, count = y.shape
    curve = np.full(count, math.nan)
    for k in range(1, count + 1):
        centres = []
        for kept in _subsets(count, k):
            if n == 0 or (n < 2 and k > 1):
                continue
            hits = None if accuracy is None else accuracy[:, kept]
            weights = _weights(y[:, kept], hits, preference(rates[kept]))
            centres.append(float((weights * y[:, kept]).sum() / n))
        if centres:
            curve[k - 1] = math.fsum(centres) / len(centres)
    return curve
