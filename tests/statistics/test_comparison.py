"""Two cells, many comparisons: scipy as the oracle, the worked numbers, and what must hold for any numbers."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cellbench.statistics.comparison import HolmBeside, axis, holm, profile, ratio, sooner, without_one
from cellbench.statistics.intervals import Estimate, interval, mean, pool
from cellbench.statistics.learning_rate import tuned
from cellbench.statistics.survival import log_steps

TAU = 2000.0
A = np.array([400.0, 500, 650, 300, 900, 550])
B = np.array([600.0, 550, 1000, 450, math.inf, 700])


def test_one_rate_is_scipys_paired_t_on_logs():
    """p and interval of the ratio equal `ttest_rel` of the logs."""
    ya, yb = log_steps(A, TAU), log_steps(B, TAU)
    oracle = stats.ttest_rel(ya, yb)
    limits = oracle.confidence_interval(0.95)
    found = ratio(mean(ya - yb))
    assert found.p == pytest.approx(oracle.pvalue, rel=1e-10)
    assert (math.log(found.low), math.log(found.high)) == pytest.approx((limits.low, limits.high), rel=1e-9)


def test_the_worked_comparison():
    """The worked sample, all its numbers."""
    found = ratio(mean(log_steps(A, TAU) - log_steps(B, TAU)))
    assert found.ratio == pytest.approx(0.67293, abs=5e-6)
    assert (found.low, found.high) == pytest.approx((0.52546, 0.86178), abs=5e-6)
    assert (found.low_90, found.high_90) == pytest.approx((0.55432, 0.81692), abs=5e-6)
    assert found.p == pytest.approx(0.00921, abs=5e-6)
    assert found.sd == pytest.approx(0.23571, abs=5e-6)
    assert found.seeds_needed == 21
    assert A.mean() == 550
    assert np.minimum(B, TAU).mean() == pytest.approx(883.33, abs=5e-3)


def test_p_is_close_to_a_permutation_test():
    """Twelve seeds, all 4,096 sign flips: p near t's, 0.4375 beside 0.4441 in a sample like this."""
    rng = np.random.default_rng(0)
    a, b = log_steps(rng.lognormal(6.4, 0.3, 12), TAU), log_steps(rng.lognormal(6.35, 0.3, 12), TAU)
    flips = stats.permutation_test(
        (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf, vectorized=False
    )
    assert ratio(mean(a - b)).p == pytest.approx(flips.pvalue, abs=0.02)


def test_holm():
    """The worked family; a nan leaves it; it never exceeds 1; scipy-free check against the definition."""
    assert holm([0.01, 0.04, 0.03, 0.20]) == pytest.approx([0.04, 0.09, 0.09, 0.20])
    assert holm([0.01, math.nan, 0.04])[[0, 2]] == pytest.approx([0.02, 0.04])
    assert math.isnan(holm([0.01, math.nan])[1])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert len(holm([])) == 0


def test_holm_rejects_what_the_step_down_procedure_rejects():
    """Adjusted p <= alpha exactly for the hypotheses that Holm's sequential rule rejects."""
    rng = np.random.default_rng(2)
    for _ in range(100):
        p = rng.random(6) ** 3
        rejected = np.zeros(6, dtype=bool)
        for rank, i in enumerate(np.argsort(p)):
            if p[i] > 0.05 / (6 - rank):
                break
            rejected[i] = True
        assert np.array_equal(holm(p) <= 0.05, rejected)


def test_holm_beside_a_fixed_rest_is_holm():
    """One hypothesis beside the rest of its family gets what Holm over all of them gives, ties and nan included."""
    rng = np.random.default_rng(3)
    for size in (1, 2, 5, 30):
        p = rng.integers(0, 20, size) / 100 * rng.choice([1.0, math.nan], size, p=[0.8, 0.2])
        for i in range(size):
            expected = holm(p)[i]
            found = HolmBeside(np.delete(p, i))(p[i])
            assert found == pytest.approx(expected, nan_ok=True)


def test_sooner_counts_ties_half():
    """Two wins, a tie and a loss of four seeds are 0.625."""
    found = sooner(np.array([1.0, 1.0, 2.0, 9.0]), np.array([2.0, 2.0, 2.0, 3.0]))
    assert found.share == 0.625
    assert found.low < 0.625 < found.high
    assert math.isnan(sooner(np.zeros(0), np.zeros(0)).share)


def test_axis_by_the_letter():
    """differ and crossing as the specification writes them."""
    rng = np.random.default_rng(6)
    for _ in range(50):
        psi = rng.normal(rng.normal(0, 0.4, (3, 1)), 0.3, (3, 10))
        c = psi.mean(axis=1)

        def p(centre, values):
            return interval(Estimate(centre, values)).p

        q = np.array([p(*pair) for pair in zip(c, psi, strict=True)])
        one = {up: np.where((c > 0) == up, q / 2, 1 - q / 2).min() for up in (True, False)}
        differ = min(1, 3 * min(p(c[a] - c[b], psi[a] - psi[b]) for a, b in combinations(range(3), 2)))
        found = axis([Estimate(*pair) for pair in zip(c, psi, strict=True)])
        assert found.differ == pytest.approx(differ)
        assert found.crossing == pytest.approx(min(1, 2 * max(one.values())))


def test_axis_is_one_sided_as_scipy_is():
    """With two values the crossing p is the larger of scipy's one-sided p for slower here and faster there."""
    rng = np.random.default_rng(7)
    low, high = rng.normal(-0.3, 0.3, 10), rng.normal(0.3, 0.3, 10)
    faster = stats.ttest_1samp(low, 0, alternative="less").pvalue
    slower = stats.ttest_1samp(high, 0, alternative="greater").pvalue
    assert axis([mean(low), mean(high)]).crossing == pytest.approx(max(faster, slower))


def test_one_value_is_no_axis():
    """Nothing to compare: not tested."""
    assert math.isnan(axis([mean(np.ones(5))]).differ)


def test_without_one_point():
    """Each point is left out once; a single point has nothing left."""
    points = [mean(np.array([x, x + 0.1])) for x in (0.0, 0.3, 0.9)]
    assert [e.centre for e in without_one(points)] == pytest.approx([0.65, 0.5, 0.2])
    assert without_one(points[:1]) == []


def test_the_profile_stays_below_one_for_never_solvers():
    """The share within a factor of the baseline's typical steps, weighted."""
    t = np.array([[100.0, 1000.0], [math.inf, 400.0]])
    found = profile(t, 200.0, np.array([0.25, 0.5, 2.0, 5.0, 1e9]))
    assert found == pytest.approx([0, 0.25, 0.5, 0.75, 0.75])
    weighted = profile(t, 200.0, np.array([0.5, 5.0]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert weighted == pytest.approx([0.5, 1.0])


# What must hold for any numbers.

ONE = st.one_of(st.sampled_from([math.inf]), st.integers(1, 199).map(lambda k: 10.0 * k))


@st.composite
def pairs(draw, rates=(1, 2, 3), seeds=(3, 4, 5, 6)):
    """T of two cells at some points: (2, points, seeds, rates)."""
    shape = (2, draw(st.integers(1, 3)), draw(st.sampled_from(seeds)), draw(st.sampled_from(rates)))
    flat = draw(st.lists(ONE, min_size=math.prod(shape), max_size=math.prod(shape)))
    return np.array(flat).reshape(shape)


def pooled(t: np.ndarray, tau: float = TAU) -> Estimate:
    """Cell minus baseline, over all points, at the tuned rate."""
    rates = np.array([0.003, 0.01, 0.03])[: t.shape[-1]]
    y = log_steps(t, tau)
    speeds = [[tuned(at, None, rates).estimate(at) for at in side] for side in y]
    return pool([a - b for a, b in zip(*speeds, strict=True)])


def same(one: Estimate, other: Estimate) -> None:
    assert one.centre == pytest.approx(other.centre, abs=1e-9)
    assert one.psi == pytest.approx(other.psi, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(pairs())
def test_swapping_cells_inverts_the_ratio(t):
    """a against b and b against a: reciprocal ratio and interval, the same p."""
    forth, back = ratio(pooled(t)), ratio(pooled(t[::-1]))
    assert forth.ratio == pytest.approx(1 / back.ratio)
    assert (forth.low, forth.high) == pytest.approx((1 / back.high, 1 / back.low))
    assert forth.p == pytest.approx(back.p)
    assert forth.p_equivalent == pytest.approx(back.p_equivalent)


@settings(max_examples=40, deadline=None)
@given(pairs(), st.randoms(use_true_random=False))
def test_the_order_of_seeds_and_points_does_not_matter(t, random):
    """Shuffled seeds and points give the same centre, the pseudo-values in the new order."""
    seeds, points = list(range(t.shape[2])), list(range(t.shape[1]))
    random.shuffle(seeds)
    random.shuffle(points)
    straight, shuffled = pooled(t), pooled(t[:, points][:, :, seeds])
    same(Estimate(straight.centre, straight.psi[seeds]), shuffled)


@settings(max_examples=40, deadline=None)
@given(pairs())
def test_twice_the_steps_and_the_budget_keep_the_ratio(t):
    """The unit of steps does not matter."""
    same(pooled(t), pooled(2 * t, 2 * TAU))


@settings(max_examples=40, deadline=None)
@given(pairs(rates=(1,)))
def test_one_rate_is_no_picking(t):
    """With one rate the tuned comparison is the plain paired one."""
    y = log_steps(t[..., 0], TAU)
    same(pooled(t), pool([mean(d) for d in y[0] - y[1]]))


@settings(max_examples=80, deadline=None)
@given(pairs())
def test_the_interval_excludes_one_exactly_when_p_is_small(t):
    """Interval and p cannot disagree (without spread the p is a sign flip's, and there is no interval)."""
    found = ratio(pooled(t))
    if found.sd > 0:
        assert (found.p < 0.05) == (found.low > 1 or found.high < 1)


@settings(max_examples=40, deadline=None)
@given(pairs())
def test_a_copy_of_each_point_changes_nothing(t):
    """Doubling every point changes no ratio and no interval: points are no replicas."""
    same(pooled(t), pooled(np.concatenate([t, t], axis=1)))
