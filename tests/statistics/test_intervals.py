"""Intervals of one number a seed, against scipy and by known values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from cellbench.statistics.intervals import (
    Estimate,
    detectable,
    gaffke,
    interval,
    mean,
    p_equivalent,
    pool,
    quantiles,
    rarest_failure,
    seeds_needed,
    wilson,
)

RNG = np.random.default_rng(11)


@pytest.mark.parametrize("n", [3, 5, 10, 30])
def test_interval_is_student_t_of_scipy(n):
    """Limits and p equal scipy's one-sample t test."""
    values = RNG.normal(0.3, 1.0, n)
    oracle = stats.ttest_1samp(values, 0.0)
    limits = oracle.confidence_interval(0.95)
    found = interval(mean(values))
    assert (found.low, found.high, found.p) == pytest.approx((limits.low, limits.high, oracle.pvalue), rel=1e-10)
    assert found.sd == pytest.approx(values.std(ddof=1))


def test_the_centre_need_not_be_the_mean_of_psi():
    """Pseudo-values give the spread alone; the interval lies about the centre."""
    found = interval(Estimate(5.0, np.array([0.0, 1.0, 2.0])))
    assert (found.low + found.high) / 2 == pytest.approx(5.0)


@pytest.mark.parametrize(("n", "p"), [(3, 0.25), (4, 0.125), (5, 0.0625), (6, 0.03125), (10, 2**-9)])
def test_no_spread_gives_the_least_p_of_a_sign_flip(n, p):
    """Without spread a t test would say p = 0; a sign-flip test of n seeds can say 2^(1-n)."""
    found = interval(mean(np.full(n, -0.4)))
    assert (found.low, found.high, found.p, found.sd) == (found.low, found.low, p, 0.0)
    assert interval(mean(np.zeros(n))).p == 1.0


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_seeds_have_no_interval(n):
    """The estimate stands alone: no interval, no p, no spread, no plan."""
    found = interval(mean(np.arange(n, dtype=float)))
    assert all(math.isnan(x) for x in (found.low, found.high, found.p, found.sd))
    assert math.isnan(p_equivalent(mean(np.arange(n, dtype=float)), 0.2))
    assert math.isnan(detectable(0.2, n))
    assert math.isnan(seeds_needed(0.2, n, 0.2))


@pytest.mark.parametrize("centre", [0.0, 0.1, -0.15, 0.4])
def test_equivalence_is_two_one_sided_t_tests_of_scipy(centre):
    """p_equivalent is the larger p of two one-sided tests against the bounds."""
    values, bound = RNG.normal(centre, 0.1, 9), math.log(1.25)
    lower = stats.ttest_1samp(values, -bound, alternative="greater").pvalue
    upper = stats.ttest_1samp(values, bound, alternative="less").pvalue
    assert p_equivalent(mean(values), bound) == pytest.approx(max(lower, upper), rel=1e-9)


def test_equivalence_agrees_with_the_90_percent_interval():
    """Equivalent at 5 % exactly when the 90 % interval lies within the bounds."""
    bound = math.log(1.25)
    for _ in range(200):
        values = mean(RNG.normal(RNG.normal(0, 0.15), 0.2, 8))
        narrow = interval(values, 0.90)
        assert (p_equivalent(values, bound) <= 0.05) == (-bound <= narrow.low and narrow.high <= bound)


def test_equivalence_without_spread():
    """At no spread: the least p a sign-flip reaches inside the bounds, 1 outside."""
    assert p_equivalent(mean(np.full(6, 0.1)), math.log(1.25)) == 2**-5
    assert p_equivalent(mean(np.full(6, 0.4)), math.log(1.25)) == 1.0


def test_detectable_is_found_four_times_in_five():
    """The detectable ratio has 80 % power by scipy's noncentral t."""
    n, sd = 10, 0.25
    effect = math.log(detectable(sd, n)) * math.sqrt(n) / sd
    cut = stats.t.ppf(0.975, n - 1)
    assert stats.nct.sf(cut, n - 1, effect) == pytest.approx(0.80, abs=0.01)
    assert [round(detectable(0.25, k), 2) for k in (5, 10, 20, 30)] == [1.52, 1.28, 1.18, 1.14]


def test_seeds_needed_is_the_least_that_suffices():
    """One seed fewer fails the defining inequality; scipy gives the quantiles."""
    n, sd, bound = 10, 0.3, math.log(1.25)
    upper = sd * math.sqrt((n - 1) / stats.chi2.ppf(0.2, n - 1))

    def enough(size: int) -> bool:
        return size >= ((stats.t.ppf(0.975, size - 1) + stats.t.ppf(0.8, size - 1)) * upper / bound) ** 2

    found = int(seeds_needed(sd, n, bound))
    assert enough(found)
    assert not enough(found - 1)


def test_seeds_needed_at_the_ends():
    """No spread gives no plan; a hopeless spread gives infinity, which prints as over 1000."""
    assert math.isnan(seeds_needed(0.0, 10, 0.2))
    assert seeds_needed(9.0, 10, math.log(1.25)) == math.inf


@pytest.mark.parametrize(("k", "n"), [(0, 10), (1, 3), (5, 6), (10, 10), (7, 20)])
def test_wilson_is_that_of_scipy(k, n):
    """Whole counts give scipy's Wilson interval."""
    oracle = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
    found = wilson(k / n, n)
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), abs=1e-12)


def test_wilson_of_a_share_that_is_no_count():
    """A tuned row's share lies between two counts, and so do its limits."""
    below, found, above = wilson(0.6, 10), wilson(0.65, 10), wilson(0.7, 10)
    assert below.low < found.low < above.low
    assert below.high < found.high < above.high
    assert wilson(1.0, 10).high == 1.0
    assert wilson(0.0, 10).low == 0.0
    assert math.isnan(wilson(0.0, 0).low)


def test_gaffke_of_perfect_seeds():
    """Five seeds at 1.0 leave 0.025^(1/5) open, ten leave 0.69: they cannot exclude that a quarter fail."""
    five, ten = gaffke(np.ones((1, 5)))[0], gaffke(np.ones((1, 10)))[0]
    assert five[0] == pytest.approx(0.025 ** (1 / 5), abs=0.005)
    assert round(ten[0], 2) == 0.69
    assert five[1] == ten[1] == 1.0


@pytest.mark.parametrize("n", [3, 10, 30])
def test_gaffke_by_its_definition(n):
    """Quantiles of Dirichlet-weighted means with one extra value at 0, or at 1, drawn as numpy draws them."""
    x = np.sort(RNG.random((5, n)), axis=1)
    draws = np.random.default_rng(0).dirichlet(np.ones(n + 1), 9999)
    low = np.quantile(draws @ np.vstack([np.zeros(5), x.T]), 0.025, axis=0)
    high = np.quantile(draws @ np.vstack([x.T, np.ones(5)]), 0.975, axis=0)
    assert gaffke(x) == pytest.approx(np.column_stack([low, high]), abs=1e-8)


@pytest.mark.parametrize("q", [0.025, 0.975])
def test_quantiles_in_any_order(q):
    """Numpy's, also where the numbers that the bound is taken from are the smallest, or all are alike."""
    rng = np.random.default_rng(0)
    up = np.sort(rng.random(9999))
    rows = np.stack([rng.random(9999), up, up[::-1], np.ones(9999), rng.integers(0, 3, 9999) / 2, up > 0.99, up > 0.01])
    assert quantiles(rows.copy(), q) == pytest.approx(np.quantile(rows, q, axis=1), abs=1e-15)


def test_gaffke_does_not_depend_on_its_company():
    """A sample's limits are the same bytes alone, in another order, among many."""
    x = RNG.random((40, 10))
    together = gaffke(x)
    assert all(np.array_equal(gaffke(x[[i]])[0], together[i]) for i in (0, 17, 39))
    assert np.array_equal(gaffke(x[:, ::-1]), together)


def test_gaffke_covers_a_rare_failure_that_t_misses():
    """95 % of seeds at 1, the rest at 0: the t interval covers the mean in under 60 %, Gaffke's in over 95 %."""
    x = (RNG.random((2000, 10)) < 0.95).astype(float)
    limits = gaffke(x)
    student = [interval(mean(row)) for row in x]
    assert np.mean((limits[:, 0] <= 0.95) & (limits[:, 1] >= 0.95)) > 0.95
    assert np.mean([s.low <= 0.95 <= s.high for s in student]) < 0.60


def test_rarest_failure():
    """Ten seeds that all solved miss a failure of 26 % once in 20 experiments."""
    assert (1 - rarest_failure(10)) ** 10 == pytest.approx(0.05)
    assert round(rarest_failure(10), 2) == 0.26


def test_pool_averages_within_a_seed():
    """Centres and pseudo-values are averaged over points, seed by seed."""
    found = pool([Estimate(0.1, np.array([0.0, 0.3])), Estimate(0.3, np.array([0.2, 0.5]))])
    assert found.centre == pytest.approx(0.2)
    assert found.psi == pytest.approx([0.1, 0.4])
