"""Steps to solved with never-solvers, against lifelines and scipy."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from scipy import stats

from cellbench.statistics.survival import log_steps, median, reached, solved
from tests.helpers.tools import missing

TAU = 2000.0
A = np.array([400.0, 500, 650, 300, 900, 550])
B = np.array([600.0, 550, 1000, 450, math.inf, 700])


def samples() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    found = []
    for n, never in [(6, 0.0), (10, 0.2), (25, 0.5), (12, 0.9)]:
        t = np.ceil(rng.lognormal(6.3, 0.6, n) / 50) * 50
        found.append(np.where((t >= TAU) | (rng.random(n) < never), np.inf, t))
    return found


def fitted(t: np.ndarray, weights: np.ndarray | None = None) -> Any:
    """lifelines' Kaplan-Meier estimate. It wants pandas before 3, so not every environment has it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # also of weights that are no counts
        try:
            from lifelines import KaplanMeierFitter
        except ImportError:
            missing("lifelines")
        return KaplanMeierFitter().fit(np.minimum(t, TAU), np.isfinite(t), weights=weights)


@pytest.mark.parametrize("t", samples(), ids=lambda t: f"{len(t)} seeds")
def test_kaplan_meier_is_the_empirical_distribution(t):
    """With one common budget, `reached` equals lifelines' and scipy's Kaplan-Meier estimate."""
    times = np.unique(t[np.isfinite(t)])
    ours = 1 - reached(t, times)
    assert ours == pytest.approx(fitted(t).predict(times).to_numpy().ravel())
    data = stats.CensoredData(uncensored=t[np.isfinite(t)], right=np.full(int(np.isinf(t).sum()), TAU))
    assert ours == pytest.approx(stats.ecdf(data).sf.evaluate(times))


@pytest.mark.parametrize("t", samples(), ids=lambda t: f"{len(t)} seeds")
def test_the_restricted_mean_is_a_plain_mean(t):
    """mean(min(T, tau)) equals lifelines' restricted mean survival time."""
    estimate = fitted(t)
    from lifelines.utils import restricted_mean_survival_time

    assert np.minimum(t, TAU).mean() == pytest.approx(restricted_mean_survival_time(estimate, t=TAU))


def half(km: Any) -> float:
    """The median of lifelines' curve; its own attribute misses a curve that is 1/2 but for rounding."""
    curve = km.survival_function_.iloc[:, 0]
    at_half = curve.index[curve <= 0.5 + 1e-9]
    return float(at_half[0]) if len(at_half) else math.inf


@pytest.mark.parametrize("t", samples(), ids=lambda t: f"{len(t)} seeds")
def test_the_median_is_that_of_lifelines(t):
    """The least t with F(t) >= 1/2, infinite when half never solve."""
    assert median(t).median == half(fitted(t))


def test_the_weighted_median_with_equal_weights_is_that_of_the_pooled_replicas():
    """Five seeds at three rates, equal weights: lifelines on all fifteen."""
    rng = np.random.default_rng(4)
    t = np.where(rng.random((5, 3)) < 0.2, np.inf, np.ceil(rng.lognormal(6, 0.5, (5, 3)) / 10) * 10)
    assert median(t, np.full((5, 3), 1 / 3), seeds=5).median == half(fitted(t.ravel()))


def test_the_weighted_median_is_that_of_lifelines():
    """Unequal weights: lifelines with case weights."""
    rng = np.random.default_rng(5)
    t, weights = np.ceil(rng.lognormal(6, 0.5, (6, 3)) / 10) * 10, rng.integers(1, 9, (6, 3)).astype(float)
    assert median(t, weights, seeds=6).median == half(fitted(t.ravel(), weights.ravel()))


@pytest.mark.parametrize("n", [6, 7, 10, 20, 41])
def test_the_interval_of_the_median_is_scipys_quantile_test(n):
    """Order statistics, never-solvers included."""
    rng = np.random.default_rng(n)
    t = np.where(rng.random(n) < 0.3, np.inf, rng.lognormal(6, 0.5, n))
    oracle = stats.quantile_test(t, q=0, p=0.5).confidence_interval(0.95)
    found = median(t)
    assert (found.low, found.high) == (oracle.low, oracle.high)


@pytest.mark.parametrize("n", [1, 3, 5])
def test_below_six_seeds_the_median_has_no_interval(n):
    """No order-statistic interval reaches 95 % there; scipy says so too."""
    found = median(np.arange(1.0, n + 1))
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert not math.isnan(found.median)


def test_worked_medians():
    """The two worked samples: 500 [300, 900] and 600 [450, inf]."""
    assert (median(A).median, median(A).low, median(A).high) == (500, 300, 900)
    assert (median(B).median, median(B).low, median(B).high) == (600, 450, math.inf)


def test_nothing_reached():
    """All censored: the median is infinite, the share 0, and y is log tau."""
    t = np.full(8, np.inf)
    assert median(t).median == math.inf
    assert solved(t).sum() == 0
    assert log_steps(t, TAU) == pytest.approx(math.log(TAU))
    assert reached(t, np.array([10.0, TAU])).tolist() == [0.0, 0.0]


def test_missing_stays_missing():
    """A replica that was not run never becomes one that never solved."""
    assert math.isnan(log_steps(np.array([math.nan]), TAU)[0])
