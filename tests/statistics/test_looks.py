"""Seeds until decided: looks and shares, the listed numbers, and what holds of a replay whatever the data."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cellbench.statistics.arrays import Floats
from cellbench.statistics.comparison import direction, holm
from cellbench.statistics.intervals import Estimate, interval, mean, p_equivalent
from cellbench.statistics.looks import (
    DECISIONS,
    Reading,
    critical,
    critical_near,
    decide,
    finds,
    kept,
    looks,
    settles_at,
)

BOUND = math.log(1.25)


@pytest.mark.parametrize(
    ("first", "caps", "seeds", "shares"),
    [
        (10, [80], [10, 20, 40, 80], [0.2] * 4),
        (10, [20], [10, 20], [1 / 3] * 2),
        (10, [30], [10, 20, 30], None),
        (10, [100], [10, 20, 40, 100], None),
        (20, [90], [20, 40, 90], None),
        (10, [80, 320], [10, 20, 40, 80, 160, 320], [0.2] * 4 + [0.1, 0.05]),
        (10, [80, 160, 320], [10, 20, 40, 80, 160, 320], [0.2] * 4 + [0.1, 0.05]),
        (10, [80, 40], [10, 20, 40, 80], [0.2] * 4),
    ],
)
def test_looks_double_and_have_fixed_shares(first, caps, seeds, shares):
    """The plans that are listed with the method."""
    found = looks(first, caps)
    assert [look.seeds for look in found] == seeds
    assert [look.number for look in found] == list(range(1, len(seeds) + 1))
    if shares is not None:
        assert [look.share for look in found] == pytest.approx(shares)


@settings(deadline=None)
@given(st.integers(5, 200), st.lists(st.integers(5, 5000), min_size=1, max_size=6))
def test_shares_never_pass_one(first, caps):
    """Whatever caps are set one after the other, and what is kept is what the next look gets."""
    found = looks(first, caps)
    assert math.fsum(look.share for look in found) < 1
    raised = looks(first, [*caps, found[-1].seeds + 1])
    assert raised[: len(found)] == found
    assert raised[len(found)].share == pytest.approx(kept(found))


def test_critical_values_are_those_listed():
    """At 10, 20, 40, 80 seeds a fifth each, by the comparisons still in Holm's family; scipy's t is the oracle."""
    listed = {
        1: (3.25, 2.86, 2.71, 2.64), 2: (3.69, 3.17, 2.98, 2.89), 5: (4.30, 3.58, 3.31, 3.20),
        9: (4.71, 3.84, 3.52, 3.38), 49: (5.99, 4.58, 4.10, 3.90),
    }  # fmt: skip
    near = {
        1: (2.82, 2.54, 2.43, 2.37), 2: (3.25, 2.86, 2.71, 2.64), 9: (4.23, 3.53, 3.27, 3.16),
        49: (5.45, 4.28, 3.87, 3.69),
    }  # fmt: skip
    for table, of, sides in ((listed, critical, 2), (near, critical_near, 1)):
        for k, wanted in table.items():
            found = [of(look.seeds, look.share, k) for look in looks(10, [80])]
            assert [round(t, 2) for t in found] == list(wanted)
            assert found == pytest.approx([stats.t.ppf(1 - 0.01 / k / sides, n - 1) for n in (10, 20, 40, 80)])


def test_settles_at_is_as_listed():
    """The least seeds at which some verdict follows whatever the ratio, and it does follow there."""
    listed = {1: (23, 47, 63, 125, 313), 2: (28, 57, 76, 150, 377), 9: (38, 78, 104, 207, 519),
              49: (50, 102, 137, 271, 683)}  # fmt: skip
    for k, wanted in listed.items():
        assert tuple(settles_at(sd, 0.2, BOUND, k) for sd in (0.2, 0.3, 0.35, 0.5, 0.8)) == wanted
    n, luck = 63, np.random.default_rng(1).normal(0, 1, 63)
    luck = 0.35 * (luck - luck.mean()) / luck.std(ddof=1)
    for centre in np.linspace(0, 1, 201):
        one = Estimate(float(centre), luck + centre)
        assert min(interval(one).p, p_equivalent(one, BOUND)) / 0.2 <= 0.05 + 1e-9, n
    assert math.isnan(settles_at(0.0, 0.2, BOUND))
    assert math.isinf(settles_at(5.0, 0.2, BOUND))


def test_a_look_finds_what_it_says_4_times_in_5():
    """By simulation with scipy's paired test at a hundredth."""
    rng = np.random.default_rng(0)
    d = rng.normal(math.log(finds(0.35, 80, 0.2)), 0.35, (4000, 80))
    assert np.mean(stats.ttest_1samp(d, 0, axis=1).pvalue <= 0.01) == pytest.approx(0.8, abs=0.02)


def worked() -> dict[str, Floats]:
    """Three cells against a baseline, 80 seeds, as the method's page has them."""
    rng = np.random.default_rng(0)
    base = rng.normal(6, 0.2, 80)
    luck = [rng.normal(0, sd, 80) for sd in (0.3, 0.3, 0.6)]
    cells = {"a": base - 0.5 + luck[0], "c": base + luck[1], "d": base + 0.1 + luck[2]}
    return {label: y - base for label, y in cells.items()}


def of(differences: dict[str, Floats]) -> Callable[[str, int], Estimate]:
    return lambda label, n: mean(differences[label][:n])


def test_the_worked_example():
    """One is faster at 10 seeds, one equivalent at 40, one never decided."""
    found = decide(of(worked()), "acd", looks(10, [80]), BOUND)
    assert {c: (r.word, r.look.seeds) for c, r in found.items()} == {
        "a": ("faster", 10), "c": ("equivalent", 40), "d": ("no difference shown", 80),
    }  # fmt: skip
    limits = {c: interval(r.estimate, 1 - 0.05 * r.look.share) for c, r in found.items()}
    numbers = {c: [r.estimate.centre, limits[c].low, limits[c].high] for c, r in found.items()}
    assert np.exp(numbers["a"]).round(4).tolist() == [0.6111, 0.4472, 0.8350]
    assert np.exp(numbers["c"]).round(4).tolist() == [1.0004, 0.8845, 1.1315]
    assert np.exp(numbers["d"]).round(4).tolist() == [1.0444, 0.8653, 1.2605]
    assert round(found["a"].p_holm, 4) == 0.0093
    assert (round(found["c"].near_holm, 4), round(found["d"].near_holm, 4)) == (0.0001, 0.0683)


def test_one_comparison_is_corrected_for_looks_alone():
    """With one comparison p after Holm is p / share, and the interval excludes 1 exactly where that is 0.05."""
    rng = np.random.default_rng(3)
    for _ in range(200):
        d = {"a": rng.normal(rng.choice([0, 0.1, 0.2]), 0.3, 80)}
        (found,) = decide(of(d), ["a"], looks(10, [80]), BOUND).values()
        once = interval(found.estimate)
        assert found.p_holm == pytest.approx(min(1, once.p / found.look.share))
        wide = interval(found.estimate, 1 - 0.05 * found.look.share)
        assert (found.p_holm <= 0.05) == (wide.low > 0 or wide.high < 0)


CELLS = ("a", "b", "c", "d")
drawn = st.tuples(
    st.integers(0, 10**6),
    st.lists(st.sampled_from([0.0, 0.05, 0.15, 0.3, 0.6, -0.25]), min_size=4, max_size=4),
    st.sampled_from([0.1, 0.3, 0.6]),
)


def data(given_: tuple[int, list[float], float], seeds: int = 320) -> dict[str, Floats]:
    number, shifts, sd = given_
    rng = np.random.default_rng(number)
    return {c: rng.normal(shift, sd, seeds) for c, shift in zip(CELLS, shifts, strict=True)}


def said(found: dict[str, Reading]) -> dict[str, tuple]:
    """All that a replay says, in what compares by value."""
    return {
        c: (r.look, r.word, r.p, r.near, r.p_holm, r.near_holm, r.estimate.centre, r.estimate.psi.tolist())
        for c, r in found.items()
    }


def closed(found: dict[str, Reading]) -> dict[str, int]:
    return {c: r.look.seeds for c, r in found.items() if r.word in DECISIONS}


@settings(max_examples=60, deadline=None)
@given(drawn)
def test_raising_the_cap_undoes_nothing(given_):
    """What a plan to 80 decided, the same plan to 160 and to 320 says in the same words, at the same look."""
    d = data(given_)
    before = decide(of(d), CELLS, looks(10, [80]), BOUND)
    for caps in ([80, 160], [80, 320], [80, 160, 320]):
        after = decide(of(d), CELLS, looks(10, caps), BOUND)
        assert all(said(after)[c] == said(before)[c] for c in closed(before))


@settings(max_examples=60, deadline=None)
@given(drawn, st.dictionaries(st.sampled_from(CELLS), st.integers(0, 80)))
def test_what_the_middle_of_a_stage_decides_the_look_decides_too(given_, stored):
    """Comparisons that are behind count with p = 1: when they arrive, all that was decided is decided still."""
    d = data(given_)

    def behind(label: str, n: int) -> Estimate | None:
        return mean(d[label][:n]) if n <= stored.get(label, 80) else None

    middle = decide(behind, CELLS, looks(10, [80]), BOUND)
    whole = decide(of(d), CELLS, looks(10, [80]), BOUND)
    for c, n in closed(middle).items():
        assert whole[c].word in DECISIONS
        assert whole[c].look.seeds <= n


@settings(max_examples=40, deadline=None)
@given(drawn, st.permutations(CELLS))
def test_the_order_of_comparisons_does_not_matter(given_, order):
    """The replay knows the numbers alone, not who came first."""
    d = data(given_)
    one, two = (decide(of(d), cells, looks(10, [80]), BOUND) for cells in (CELLS, order))
    assert said(one) == said(two)


@settings(max_examples=40, deadline=None)
@given(drawn)
def test_seeds_beyond_a_look_change_nothing_of_it(given_):
    """A comparison decided at 10 seeds does not see the other 70."""
    d = data(given_)
    before = decide(of(d), CELLS, looks(10, [80]), BOUND)
    other = {c: np.concatenate([y[: before[c].look.seeds], 9 + y[before[c].look.seeds :]]) for c, y in d.items()}
    assert said(decide(of(other), CELLS, looks(10, [80]), BOUND)) == said(before)


@settings(max_examples=60, deadline=None)
@given(drawn)
def test_the_family_at_the_end_still_rejects_all_that_was_decided(given_):
    """Holm over the kept p-values: no later look takes back a decision, by an implementation of its own."""
    d = data(given_)
    p, near, found = {}, {}, {}
    for look in looks(10, [80]):
        for c in CELLS:
            if c not in found:
                e = mean(d[c][: look.seeds])
                p[c] = min(1.0, stats.ttest_1samp(e.psi, 0).pvalue / look.share)
                near[c] = min(1.0, p_equivalent(e, BOUND) / look.share)
        p_holm, near_holm = holm([p[c] for c in CELLS]), holm([near[c] for c in CELLS])
        for c, one, two in zip(CELLS, p_holm, near_holm, strict=True):
            word = direction(one, two, math.exp(d[c][: look.seeds].mean()))
            assert c not in found or word in DECISIONS
            if c not in found and word in DECISIONS:
                found[c] = look.seeds
    assert found == closed(decide(of(d), CELLS, looks(10, [80]), BOUND))
