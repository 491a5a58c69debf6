"""Picking the learning rate on other seeds: the worked example, an implementation by the letter, its properties."""

from __future__ import annotations

import math
import tracemalloc
from itertools import combinations

import numpy as np
import pytest

from cellbench.statistics.learning_rate import across, halvings, preference, tuned, tuning_curve
from cellbench.statistics.survival import log_steps

RATES = np.array([0.003, 0.01, 0.03])
WORKED = np.array([[300.0, 200, 250], [450, 250, 200], [350, 150, math.inf], [500, 300, 250]])


def by_the_letter(y: np.ndarray, accuracy: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """w[i, l], written as the definition says, seed by seed; small numbers of seeds only."""
    n, count = y.shape
    middle = (math.log(rates.min()) + math.log(rates.max())) / 2
    w = np.zeros((n, count))
    for first in combinations(range(n), n // 2):
        second = tuple(i for i in range(n) if i not in first)
        for picking, reporting in ((first, second), (second, first)):
            means = [np.mean([y[i, r] for i in picking]) for r in range(count)]
            hits = [np.mean([accuracy[i, r] for i in picking]) for r in range(count)]
            tied = [r for r in range(count) if means[r] <= min(means) + 1e-9]
            tied = [r for r in tied if hits[r] >= max(hits[q] for q in tied) - 1e-9]
            chosen = min(tied, key=lambda r: (round(abs(math.log(rates[r]) - middle), 9), rates[r]))
            for i in reporting:
                w[i, chosen] += 1
    return w / w.sum(1, keepdims=True)


def test_the_worked_example():
    """Four seeds, three rates: weights, centre and pseudo-values."""
    y = log_steps(WORKED, 2000)
    found = tuned(y, None, RATES)
    assert found.weights == pytest.approx(np.array([[0, 2 / 3, 1 / 3], [0, 1, 0], [0, 2 / 3, 1 / 3], [0, 1, 0]]))
    speed = found.estimate(y)
    assert math.exp(speed.centre) == pytest.approx(275.338, abs=5e-4)
    assert speed.psi == pytest.approx([3.78101, 5.52146, 5.86045, 5.70378], abs=5e-6)
    assert found.picked == 1
    assert found.share == pytest.approx(5 / 6)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 7])
def test_weights_by_the_letter(n):
    """The same weights as a plain implementation, ties of mean and of accuracy included."""
    rng = np.random.default_rng(n)
    for _ in range(20):
        y = rng.integers(1, 4, (n, 3)).astype(float)  # many ties
        accuracy = rng.integers(0, 2, (n, 3)).astype(float)
        assert tuned(y, accuracy, RATES).weights == pytest.approx(by_the_letter(y, accuracy, RATES))


@pytest.mark.parametrize("n", [3, 4, 5])
def test_pseudo_values_by_the_letter(n):
    """psi_i = n c - (n - 1) c_without_i, with all halvings redone without seed i."""
    rng = np.random.default_rng(n)
    y, accuracy = rng.normal(6, 0.4, (n, 3)), np.ones((n, 3))
    w = by_the_letter(y, accuracy, RATES)
    c = (w * y).sum() / n
    psi = []
    for i in range(n):
        rest = [j for j in range(n) if j != i]
        left = by_the_letter(y[rest], accuracy[rest], RATES)
        psi.append(n * c - (n - 1) * (left * y[rest]).sum() / (n - 1))
    found = tuned(y, accuracy, RATES).estimate(y)
    assert found.centre == pytest.approx(c)
    assert found.psi == pytest.approx(psi)


@pytest.mark.parametrize("n", [11, 12, 30])
def test_leaving_one_out_is_picking_anew_without_it(n):
    """Where halvings are drawn: all that is made for a seed left out is what the others alone give, ties included."""
    rng = np.random.default_rng(n)
    y, accuracy = rng.integers(1, 4, (n, 3)).astype(float), rng.integers(0, 2, (n, 3)).astype(float)
    found = tuned(y, accuracy, RATES)
    for i in range(n):
        rest = [j for j in range(n) if j != i]
        alone = tuned(y[rest], accuracy[rest], RATES).weights
        assert np.array_equal(found.left_out[i, rest] / len(halvings(n - 1)), alone)
        assert not found.left_out[i, i].any()


def test_many_seeds_at_a_point_fit_memory():
    """625 seeds and 5 rates: 2 MB are kept, and less than 60 on the way."""
    rng = np.random.default_rng(0)
    y, rates = rng.normal(6, 0.4, (625, 5)), np.geomspace(0.003, 0.3, 5)
    tracemalloc.start()
    found = tuned(y, rng.random((625, 5)), rates)
    found.estimate(y)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"kept {kept / 1e6:.1f} MB, peak {peak / 1e6:.1f} MB")
    assert kept < 4e6
    assert peak < 60e6


def test_one_rate_is_the_plain_mean():
    """Nothing is picked: c is the mean, psi the values, at any number of seeds."""
    for n in (1, 2, 3, 10):
        y = np.random.default_rng(n).normal(6, 1, (n, 1))
        found = tuned(y, None, np.array([0.01])).estimate(y)
        assert found.centre == pytest.approx(y.mean())
        assert np.array_equal(found.psi, y[:, 0])


def test_halvings_are_all_up_to_ten_seeds_and_fixed_beyond():
    """252 at 10, 200 beyond; each half holds n // 2 seeds; drawn alike each time, from [0, n]."""
    assert halvings(10).shape == (252, 10)
    assert len({tuple(row) for row in halvings(10).tolist()}) == 252
    assert halvings(11).shape == (200, 11)
    assert (halvings(21).sum(1) == 10).all()
    rng = np.random.default_rng([0, 12])
    expected = np.zeros(12, dtype=bool)
    expected[rng.permutation(12)[:6]] = True
    assert np.array_equal(halvings(12)[0], expected)


def test_ties_go_to_the_more_accurate_then_the_middle_then_the_smaller():
    """Three orders of preference, each seen to decide."""
    rates = np.array([0.001, 0.01, 0.1, 1.0])
    assert preference(rates).tolist() == [1, 2, 0, 3]
    y = np.zeros((4, 4))
    assert tuned(y, None, rates).picked == 1
    assert tuned(y, np.tile([0.9, 0.5, 0.5, 0.9], (4, 1)), rates).picked == 0
    assert tuned(y, np.tile([0.5, 0.5, 0.5, 0.9], (4, 1)), rates).picked == 3


def test_a_rate_that_never_solves_is_never_picked():
    """All replicas of one rate are infinite: its weight is 0 and the estimate finite."""
    t = np.array([[np.inf, 300, 400]] * 6) + np.arange(6)[:, None]
    y = log_steps(t, 2000)
    found = tuned(y, None, RATES)
    assert found.weights[:, 0].sum() == 0
    assert np.isfinite(found.estimate(y).psi).all()


def test_other_metrics_share_the_weights():
    """Many metrics at once give what each gives alone."""
    rng = np.random.default_rng(0)
    y, metrics = rng.normal(6, 0.3, (6, 3)), rng.random((6, 3, 4))
    found = tuned(y, None, RATES)
    centres, psi = found.estimates(metrics)
    for k in range(4):
        alone = found.estimate(metrics[..., k])
        assert centres[k] == pytest.approx(alone.centre)
        assert psi[:, k] == pytest.approx(alone.psi)
        assert centres[k] == pytest.approx(found.values(metrics[..., k]).mean())


def test_too_few_seeds_to_pick():
    """One seed cannot be picked on and reported on; two can be estimated, without pseudo-values."""
    assert tuned(np.zeros((1, 3)), None, RATES) is None
    assert tuned(np.zeros((0, 3)), None, RATES) is None
    two = tuned(np.array([[1.0, 2, 3], [2.0, 1, 3]]), None, RATES).estimate(np.array([[1.0, 2, 3], [2.0, 1, 3]]))
    assert two.centre == 2.0  # each seed is reported at the rate the other picked
    assert np.isnan(two.psi).all()


def test_the_tuning_curve_runs_from_across_to_tuned():
    """k = 1 is the average over the rates, k = L the tuned centre; more rates never cost much."""
    y = log_steps(WORKED, 2000)
    curve = tuning_curve(y, None, RATES)
    assert curve[0] == pytest.approx(across(y).centre)
    assert curve[-1] == pytest.approx(tuned(y, None, RATES).estimate(y).centre)
    assert curve[0] > curve[1]
