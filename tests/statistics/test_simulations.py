"""The method's error rates, by simulation through the public functions: what a reader is promised holds.

Steps are log-normal on a grid of 50, `inf` from tau = 2000 on; "never" is the share that never solves. The rejected
methods (the best rate on the reported seeds; points as independent) run beside it and must exceed their rate, so that
the simulation could have found a fault.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from cellbench.statistics.arrays import Floats
from cellbench.statistics.comparison import LEAST_SOLVED, axis, holm
from cellbench.statistics.intervals import Estimate, interval, mean, p_equivalent, pool
from cellbench.statistics.learning_rate import tuned
from cellbench.statistics.survival import log_steps

pytestmark = pytest.mark.slow

TAU = 2000.0
RATES = np.array([0.003, 0.01, 0.03])


def steps(rng: np.random.Generator, log_median: Floats | float, sd: float, never: float, z: Floats) -> Floats:
    """T of the shape of z, standard normal luck."""
    t = np.ceil(np.exp(log_median + sd * z) / 50) * 50
    return np.where((t >= TAU) | (rng.random(z.shape) < never), np.inf, t)


def y(
    rng: np.random.Generator, median: float, sd: float, never: float, z: Floats, shift: Floats | float = 0.0
) -> Floats:
    return log_steps(steps(rng, math.log(median) + shift, sd, never, z), TAU)


def lucky(rng: np.random.Generator, shape: tuple[int, ...], shared: tuple[int, ...], correlation: float) -> Floats:
    """Standard normal with a part common to all that share a seed; `shared` broadcasts to `shape`."""
    common, own = rng.standard_normal(shared), rng.standard_normal(shape)
    return math.sqrt(correlation) * common + math.sqrt(1 - correlation) * own


def rate(hits: Iterator[bool] | list[bool], record: Callable[[str, object], None], name: str) -> float:
    """The share of hits; printed, so that `pytest -s` shows what was seen."""
    found = float(np.mean(list(hits)))
    record(name, round(found, 4))
    print(f"\n{name}: {found:.4f}", end="")
    return found


@pytest.mark.parametrize("n", [5, 10, 20])
@pytest.mark.parametrize(
    ("median", "sd", "never", "low", "high"),
    [(600, 0.3, 0.0, 0.038, 0.062), (600, 0.6, 0.1, 0.020, 0.062), (1500, 0.5, 0.1, 0.020, 0.062)],
)
def test_equal_cells_at_one_rate_differ_in_five_percent(median, sd, never, low, high, n, record_property):
    """Two cells alike are told apart in 5 % of experiments, also with never-solvers and a budget that cuts."""
    rng = np.random.default_rng([1, n, median])
    z = rng.standard_normal((2, 4000, n))
    a, b = (y(rng, median, sd, never, side) for side in z)
    found = rate(
        [interval(mean(d)).p <= 0.05 for d in a - b], record_property, f"A/A one rate, {median} {sd} {never}, n={n}"
    )
    assert low <= found <= high


@pytest.mark.parametrize("n", [3, 5, 10, 20])
@pytest.mark.parametrize("effect", [0.5, 0.75, 1.0])
@pytest.mark.parametrize(("median", "sd", "never"), [(600, 0.3, 0.0), (600, 0.6, 0.1)])
def test_the_interval_of_a_ratio_covers(median, sd, never, effect, n, record_property):
    """The 95 % interval holds the true ratio of typical steps in 95 % of experiments."""
    rng = np.random.default_rng([2, n, int(100 * effect), int(10 * sd)])
    shift = math.log(effect)
    big = rng.standard_normal((2, 1_000_000))
    truth = y(rng, median, sd, never, big[0], shift).mean() - y(rng, median, sd, never, big[1]).mean()
    z = rng.standard_normal((2, 4000, n))
    found = [interval(mean(d)) for d in y(rng, median, sd, never, z[0], shift) - y(rng, median, sd, never, z[1])]
    covers = rate(
        [i.low <= truth <= i.high for i in found], record_property, f"coverage {median} {sd} {never} x {effect}, n={n}"
    )
    assert 0.925 <= covers <= 0.975


@pytest.mark.parametrize("profile", [(0.0, 0.0, 0.0), (0.0, 0.15, 0.15)])
def test_a_picked_rate_does_not_make_equal_cells_differ(profile, record_property):
    """Picking among three rates, alike or nearly, keeps the false positives under 8 %."""
    rng = np.random.default_rng([3, int(100 * profile[1])])
    hits = []
    for _ in range(400):
        one, two = (y(rng, 600, 0.3, 0.0, rng.standard_normal((10, 3)), np.array(profile)) for _ in range(2))
        speeds = [tuned(side, None, RATES).estimate(side) for side in (one, two)]
        hits.append(interval(speeds[0] - speeds[1]).p <= 0.05)
    assert rate(hits, record_property, f"A/A three rates {profile}, n=10") <= 0.08


def test_points_share_the_luck_of_a_seed(record_property):
    """Averaging within a seed first keeps 5 %; treating points as independent does not, in the same experiments."""
    rng = np.random.default_rng(4)
    by_seed, independent = [], []
    for _ in range(1500):
        a, b = (y(rng, 600, 0.3, 0.0, lucky(rng, (12, 10), (1, 10), 0.3)) for _ in range(2))
        each = [mean(d) for d in a - b]
        by_seed.append(interval(pool(each)).p <= 0.05)
        independent.append(interval(mean((a - b).ravel())).p <= 0.05)
    assert rate(by_seed, record_property, "A/A 12 points, luck 0.3, by seed") <= 0.068
    assert rate(independent, record_property, "A/A 12 points, luck 0.3, as if independent") >= 0.15


def test_the_best_rate_on_the_reported_seeds_flatters(record_property):
    """A cell with flat rates does not beat one with sharp rates by repeated halving; by the best rate it does."""
    rng = np.random.default_rng(5)
    profiles = np.array([0.0, 0.0, 0.0]), np.array([0.6, 0.0, 0.6])
    ours, best = [], []
    for _ in range(150):
        sides = [y(rng, 600, 0.3, 0.0, lucky(rng, (12, 10, 3), (12, 10, 1), 0.3), profile) for profile in profiles]
        speeds = [[tuned(at, None, RATES).estimate(at) for at in side] for side in sides]
        ours.append(interval(pool([a - b for a, b in zip(*speeds, strict=True)])).p <= 0.05)
        naive = [[mean(at[:, at.mean(axis=0).argmin()]) for at in side] for side in sides]
        best.append(interval(pool([a - b for a, b in zip(*naive, strict=True)])).p <= 0.05)
    assert rate(ours, record_property, "A/A flat v sharp, 12 points, halvings") <= 0.11
    assert rate(best, record_property, "A/A flat v sharp, 12 points, best on the reported seeds") >= 0.15


def test_any_false_verdict_among_five_cells_is_rare(record_property):
    """Five cells against a baseline, three rates, six points: any false difference after Holm."""
    rng = np.random.default_rng(6)
    hits = []
    for _ in range(200):
        speeds = []
        for _cell in range(6):
            side = y(rng, 600, 0.3, 0.0, lucky(rng, (6, 10, 3), (1, 10, 1), 0.3))
            speeds.append(pool([tuned(at, None, RATES).estimate(at) for at in side]))
        p = [interval(speed - speeds[0]).p for speed in speeds[1:]]
        hits.append(bool((holm(p) <= 0.05).any()))
    assert rate(hits, record_property, "family-wise, five cells, three rates, six points") <= 0.09


def axis_tests(ratios: tuple[float, ...], seed: int, sims: int = 1500) -> tuple[list[bool], list[bool]]:
    """differ <= 0.05, and that with crossing <= 0.05: normal psi, 10 seeds, sd .57 at value 1, .31 elsewhere."""
    rng = np.random.default_rng([7, seed])
    sd = np.array([0.57, *[0.31] * (len(ratios) - 1)])[:, None]
    differ, both = [], []
    for _ in range(sims):
        psi = np.log(ratios)[:, None] + sd * lucky(rng, (len(ratios), 10), (1, 10), 0.2)
        found = axis([mean(one) for one in psi])
        differ.append(found.differ <= 0.05)
        both.append(found.differ <= 0.05 and found.crossing <= 0.05)
    return differ, both


@pytest.mark.parametrize("values", [2, 3])
def test_an_axis_without_effect(values, record_property):
    """Ratios that do not depend on the axis are said to in 5 %, and to turn round hardly ever."""
    differ, both = axis_tests((1.0,) * values, values)
    assert 0.030 <= rate(differ, record_property, f"axis, no effect, {values} values: differ") <= 0.065
    assert rate(both, record_property, f"axis, no effect, {values} values: differ and crossing") <= 0.01


@pytest.mark.parametrize("ratios", [(1.0, 2.1), (1.0, 1.0, 2.1), (1.0, 1.0, 5.0), (1.0, 1.0, 1.0, 1.0, 5.0)])
def test_an_axis_with_effect_but_no_turn(ratios, record_property):
    """Where the cell is slower at one value and equal elsewhere, the order is seldom said to turn round."""
    _, both = axis_tests(ratios, 10 + int(10 * sum(ratios)))
    assert rate(both, record_property, f"axis, {ratios}: both") <= 0.065


@pytest.mark.parametrize(
    ("ratios", "low", "high"),
    [((0.65, 2.1), 0.67, 0.77), ((0.65, 1.2, 2.1), 0.52, 0.64), ((0.65, 0.65), 0.0, 0.01)],
)
def test_an_axis_along_which_the_order_turns(ratios, low, high, record_property):
    """A real turn is found as often as promised; a constant ratio never turns."""
    _, both = axis_tests(ratios, 100 + int(10 * sum(ratios)))
    assert low <= rate(both, record_property, f"axis, {ratios}: both") <= high


def test_coverage_with_a_rate_that_is_late_for_one_seed_in_eight(record_property):
    """At one point the interval covers too seldom, hence the label `description`; averaged over points it covers."""
    rng = np.random.default_rng(8)
    rates = np.array([0.003, 0.01, 0.03, 0.1, 0.3])
    middle, sd = np.array([1.45, 0.6, 0.0, -0.2, 0.3]), np.array([0.15, 0.15, 0.15, 0.15, 0.3])
    late = np.array([0, 0, 0, 0.125, 0.5])
    covered: dict[int, list[bool]] = {1: [], 3: [], 8: []}
    for _ in range(600):
        sides = []
        for _cell in range(2):
            shape = (8, 10, 5)
            at = middle + sd * lucky(rng, shape, (8, 10, 1), 0.3) + 1.6 * (rng.random(shape) < late)
            sides.append([tuned(one, None, rates).estimate(one) for one in at])
        each: list[Estimate] = [a - b for a, b in zip(*sides, strict=True)]
        for points, hits in covered.items():
            found = interval(pool(each[:points]))
            hits.append(found.low <= 0 <= found.high)
    assert 0.76 <= rate(covered[1], record_property, "heavy v heavy, coverage at 1 point") <= 0.90
    assert rate(covered[3], record_property, "heavy v heavy, coverage, mean of 3 points") >= 0.91
    assert rate(covered[8], record_property, "heavy v heavy, coverage, mean of 8 points") >= 0.93


SHARES = (0.3, 0.5, 0.7, 0.8, 0.9, 0.93, 0.95, 0.97, 1.0)
"""Shares of replicas that solve, as simulated."""
LEAST = (0.5, 0.8, 0.9, 0.95, 1.0)
"""Shares that equivalence could ask of both cells."""


def unlike(rng: np.random.Generator, shape: tuple[int, int, int], sd: float, share: float, how: str) -> Floats:
    """Log steps of two cells of which one needs 1.25 times the other's, the budget at 0: (cells, sims, points, seeds).

    Args:
        rng: the luck.
        shape: simulations, points, seeds.
        sd: of log steps.
        share: of replicas that solve, on average over both cells.
        how: `slow`: the budget cuts the slow ones off; `never`: some never solve, whatever their speed; `mixed`: at a
            part of the points one replica in ten solves, at the others all do.
    """
    z = rng.standard_normal((2, *shape))
    apart = math.log(1.25) * np.array([0.5, -0.5])[:, None, None, None]
    if how == "slow":
        # the centre from which this share lies below the budget
        centres = np.linspace(-8, 8, 4001)
        cut = sum(special.ndtr(-(centres + a) / sd) for a in apart.ravel()) / 2
        found = float(centres[np.abs(cut - min(share, 0.9999)).argmin()]) + apart + sd * z
    else:
        chance = np.full(shape[1], share)
        if how == "mixed":
            chance = np.where(np.arange(shape[1]) < round((1 - share) / 0.9 * shape[1]), 0.1, 1.0)
        solves = rng.random(z.shape) < chance[:, None]
        found = np.where(solves, -1.5 + apart + sd * z, 0.0)
    return np.minimum(found, 0.0)


def test_the_least_share_solved_at_which_equivalent_holds(record_property):
    """Cells that differ by 1.25 are called equivalent in at most 6.5 % from LEAST_SOLVED on, and more often below it.

    Over 5 to 30 seeds, 1 to 8 points, spreads of 0.2 to 0.6 and three ways of not solving: the worst of them. The
    table in docs/statistics.md is what this prints.
    """
    rng = np.random.default_rng(18)
    sims, bound = 4000, math.log(1.25)
    worst = dict.fromkeys((0.0, *LEAST), 0.0)
    for how, n, points, sd, share in itertools.product(
        ("slow", "never", "mixed"), (5, 10, 20, 30), (1, 4, 8), (0.2, 0.35, 0.6), SHARES
    ):
        if how == "mixed" and points == 1:
            continue
        y = unlike(rng, (sims, points, n), sd, share, how)
        solved = y < 0
        told = solved.any(axis=(0, 3))  # points at which one of the two solves
        weight = told / np.maximum(1, told.sum(axis=1, keepdims=True))
        psi = np.einsum("spn,sp->sn", y[0] - y[1], weight)
        near = np.array([p_equivalent(mean(d), bound) <= 0.05 for d in psi]) & told.any(axis=1)
        shares = np.einsum("cspn,sp->cs", solved, weight) / n
        never = (~solved.any(axis=3) & told).any(axis=(0, 2))
        for least in (0.0, *LEAST):
            allowed = near if not least else near & ~never & (shares.min(axis=0) >= least - 1e-9)
            worst[least] = max(worst[least], float(allowed.mean()))
    rows = {least: rate([found], record_property, f"at least {least} solved") for least, found in worst.items()}
    assert rows[LEAST_SOLVED] <= 0.066
    assert rows[0.9] > 0.085, "the guard works"
    assert rows[0.5] > 0.5
    text = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")
    for least, found in rows.items():
        name = "any" if not least else f"{100 * least:.0f} %"
        (shown,) = re.findall(rf"^\| {name} \| (\d+\.\d) % \|$", text, re.MULTILINE)
        assert float(shown) == pytest.approx(100 * found, abs=0.3), name
