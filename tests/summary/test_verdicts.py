"""Every verdict in its exact words, its sentence, and the notes that must stand beside it."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from scipy import stats

from cellbench.report.screen import terminal
from cellbench.report.tables import markdown
from cellbench.summary import Summary, Verdict, summarise
from cellbench.summary.comparisons import TOO_SHORT
from tests.helpers.frames import design, evaluations, runs

INF = math.inf
RATES = (0.003, 0.01, 0.03)
FOUR = ((8, 32), (16,), ("hidden 4", "hidden 20"))
EIGHT = ((8, 32), (4, 16), ("hidden 4", "hidden 20"))
ONE = ((8,), (16,), ("hidden 4",))


def jitter(label, point, seed, sd=0.1):
    """Luck of one replica: the same for the same names."""
    return math.exp(sd * np.random.default_rng([seed, *f"{label}{point}".encode()]).standard_normal())


def cells(ratio, sd=0.1, base=500.0):
    """lstm about `base`, gru `ratio` times that; ratio may be a function of the point."""

    def steps(label, point, rate, seed):
        factor = (ratio(point) if callable(ratio) else ratio) if label != "lstm" else 1.0
        t = base * factor * jitter(label, point, seed, sd)
        return INF if t >= 2000 else t

    return steps


def summary_of(plan, steps, grid=FOUR, **more) -> Summary:
    table = runs(plan, steps, grid, **more)
    return summarise(table, evaluations(plan, table, keys=()), plan)


def verdict_of(steps, grid=FOUR, cell="gru", plan=None, **more) -> Verdict:
    found = summary_of(plan or design(), steps, grid, **more)
    return next(v for v in found.verdicts if v.cell == cell)


def oracle(steps, grid=FOUR, level=0.95, seeds=10):
    """Ratio, limits and p over all points from scipy."""
    points = [(a, b, c) for a in grid[0] for b in grid[1] for c in grid[2]]

    def y(label, point, seed):
        return math.log(min(steps(label, point, 0.01, seed), 2000))

    logs = [np.mean([y("gru", p, s) - y("lstm", p, s) for p in points]) for s in range(seeds)]
    test = stats.ttest_1samp(logs, 0)
    limits = test.confidence_interval(level)
    return math.exp(np.mean(logs)), math.exp(limits.low), math.exp(limits.high), test.pvalue


def test_faster():
    """The whole sentence, with scipy's numbers."""
    steps = cells(0.7)
    ratio, low, high, _ = oracle(steps)
    found = verdict_of(steps)
    assert found.verdict == "faster"
    assert found.sentence == (
        f"gru needs {ratio:.2f} times the steps of lstm (95 % interval {low:.2f} to {high:.2f}; 10 seeds, 4 points; "
        f"p < 0.001)."
    )


def test_slower_among_others():
    """The other way round, with its p corrected for the comparisons there are."""
    steps = cells(1.35, sd=0.3)
    _, _, _, p = oracle(steps)
    found = verdict_of(steps, plan=design(labels=("lstm", "gru", "rnn")))
    assert found.verdict == "slower"
    assert found.sentence.startswith("gru needs 1.")
    assert re.search(r"; p (< )?0\.\d+ after correction for 2 comparisons\)\.$", found.sentence)
    assert p < 0.025


def test_slightly_faster():
    """A difference that is sure, and surely smaller than the ratio of interest."""
    found = verdict_of(cells(0.92, sd=0.02))
    assert found.verdict == "slightly faster"
    assert found.sentence.endswith("p < 0.001), a difference smaller than the 1.25 set as of interest.")


def test_slightly_slower_depends_on_the_ratio_of_interest():
    """The same numbers, with another ratio of interest: no longer slight."""
    steps = cells(1.08, sd=0.02)
    assert verdict_of(steps).verdict == "slightly slower"
    assert verdict_of(steps, plan=design(ratio_of_interest=1.05)).verdict == "slower"


def test_equivalent():
    """Two one-sided tests; the sentence gives the 90 % interval."""
    steps = cells(1.0, sd=0.1)
    ratio, low, high, p = oracle(steps, level=0.90)
    assert p > 0.05
    found = verdict_of(steps)
    assert found.verdict == "equivalent"
    assert found.sentence == (
        f"gru and lstm need the same steps to within 0.80 to 1.25 (ratio {ratio:.2f}, 90 % interval {low:.2f} to "
        f"{high:.2f})."
    )


def test_a_bound_shows_no_likeness():
    """Seen: rnn solved in 0 of 6, lstm in 2 of 6, and they "need the same steps": the budget is too short to tell."""

    def steps(label, point, rate, seed):
        return 1900.0 if label == "lstm" and seed < 2 else INF

    found = verdict_of(steps, ONE, plan=design(seeds=tuple(range(6))))
    row = summary_of(design(seeds=tuple(range(6))), steps, ONE).comparisons.query("metric == 'steps'").iloc[0]
    assert row.p_equivalent_holm <= 0.05
    assert found.verdict == "cannot tell: the budget is too short"
    assert found.sentence.startswith("gru solved 0 % and lstm 33 % within 2000 steps")
    assert found.sentence.endswith("try `--set train.max_steps=20000`.")


def censored(share, sd=0.15, gru=1.0):
    """A share of the seeds of both cells, one part of them each, solves; the others never do."""

    def steps(label, point, rate, seed):
        if ((seed + (5 if label == "gru" else 0)) * 7 % 20 + 0.5) / 20 > share:
            return INF
        return 1000 * (gru if label == "gru" else 1) * jitter(label, point, seed, sd)

    return steps


@pytest.mark.parametrize(("share", "word"), [(1.0, "equivalent"), (0.95, "equivalent"),
                                             (0.9, "cannot tell: the budget is too short"),
                                             (0.35, "cannot tell: the budget is too short")])  # fmt: skip
def test_equivalent_needs_solved_replicas(share, word):
    """Censoring on both sides draws the ratio to 1; below 95 % solved that is no likeness, and the budget is named."""
    plan = design(seeds=tuple(range(20)))
    found = summary_of(plan, censored(share, sd=0.05), ONE)
    assert found.verdicts[0].verdict == word
    if share == 0.35:
        assert "gru solved 35 % and lstm 35 % within 2000 steps" in found.verdicts[0].sentence
    # slightly is a claim of likeness too: without enough solved it is left out
    slight = summary_of(plan, censored(share, sd=0.02, gru=0.95), ONE).verdicts[0].verdict
    assert slight.startswith("slightly faster") if share == 1.0 else share == 0.95 or "slightly" not in slight


def test_all_of_the_seeds_is_said_of_a_setting():
    """Seen: "3 of 3 seeds solved" below a table that says 67 %: of one setting of three all seeds had solved."""

    def steps(label, point, rate, seed):
        return INF if point[0] == 32 else 100.0 + seed + len(label)

    found = summary_of(design(seeds=(0, 1, 2)), steps, ((8, 16, 32), (16,), ("hidden 4",)))
    assert found.overview["solved"].round(3).tolist() == [0.667, 0.667]
    assert "where all 3 seeds solved a setting, up to 63 % of seeds may still fail" in found.footnotes
    assert not re.search(r"\b3 of 3\b", terminal(found, found.design) + markdown(found, found.design))


def test_other_claims_need_no_share():
    """A cell that solves half as often, at half the steps, is still seen to differ."""

    def steps(label, point, rate, seed):
        return (100 if label == "gru" else 1500) * jitter(label, point, seed) if seed % 2 else INF

    assert verdict_of(steps).verdict == "faster"


@pytest.mark.parametrize("n", [3, 5, 6])
def test_few_seeds_are_named_in_the_verdict(n):
    """With 3 to 5 seeds each claim says itself that it rests on the t distribution."""
    for ratio in (0.5, 1.0):
        found = verdict_of(cells(ratio, sd=0.03), plan=design(seeds=tuple(range(n))))
        assert found.verdict in ("faster", "equivalent")
        assert ("This rests on the t distribution" in found.sentence) == (n <= 5)


def test_no_difference_shown():
    """The interval, the seeds that would tell, what these tell, and what it is not."""
    steps = cells(1.0, sd=0.9, base=300)
    ratio, low, high, p = oracle(steps)
    assert p > 0.05
    found = verdict_of(steps)
    assert found.verdict == "no difference shown"
    assert found.sentence.startswith(f"{ratio:.2f} times lstm's steps; {low:.2f} to {high:.2f} fit the data (95 %). ")
    assert re.search(r"\. 10 seeds can detect a factor of 1\.\d\d; for 1\.25 take \d+\. ", found.sentence)
    assert found.sentence.endswith("This does not show that they are equal.")


def test_hopeless_noise_says_over_1000_seeds():
    """The plan is capped."""

    def steps(label, point, rate, seed):
        return 5.0 if (seed % 2 == 0) == (label == "gru") else 1950.0

    assert "; for 1.05 take over 1000." in verdict_of(steps, plan=design(ratio_of_interest=1.05)).sentence


def test_depends_on_an_axis():
    """The order turns round with the size: the axis by the experiment's word, the ratio and interval at each value."""

    def steps(label, point, rate, seed):
        factor = {"hidden 4": 0.6, "hidden 20": 1.8}[point[2]] if label == "gru" else 1.0
        return 500 * factor * jitter(label, point, seed)

    found = verdict_of(steps)
    overall = oracle(steps)[0]
    at = [oracle(steps, ((8, 32), (16,), (size,))) for size in ("hidden 4", "hidden 20")]
    assert found.verdict == "depends on hidden_size"
    assert found.sentence == (
        f"The order turns round with hidden_size: gru needs {at[0][0]:.2f} times the steps of lstm at 4 (95 % interval "
        f"{at[0][1]:.2f} to {at[0][2]:.2f}), {at[1][0]:.2f} times at 20 ({at[1][1]:.2f} to {at[1][2]:.2f}). One ratio "
        f"over all points would hide this ({overall:.2f})."
    )


def test_the_word_of_an_axis_comes_from_the_data():
    """A parameter of the task, under whatever name, can be what a ratio depends on; budgets have their own word."""
    plan = design(axes=("gap", "batch_size", "size"))
    grid = ((2, 5), (16,), ("budget 150", "budget 2000"))

    def by_gap(label, point, rate, seed):
        return 500 * ({2: 0.6, 5: 1.8}[point[0]] if label == "gru" else 1.0) * jitter(label, point, seed)

    def by_size(label, point, rate, seed):
        return 500 * ({"150": 0.6, "2000": 1.8}[point[2][7:]] if label == "gru" else 1.0) * jitter(label, point, seed)

    assert verdict_of(by_gap, grid, plan=plan).verdict == "depends on gap"
    assert verdict_of(by_size, grid, plan=plan).verdict == "depends on parameter_budget"


def test_two_axes_that_turn_the_order_round():
    """The surer one is the verdict, the other a note."""

    def steps(label, point, rate, seed):
        size = {"hidden 4": -0.8, "hidden 20": 0.8}[point[2]]
        length = {8: -0.3, 32: 0.35}[point[0]]
        return 400 * math.exp(size + length if label == "gru" else 0) * jitter(label, point, seed, 0.2)

    found = verdict_of(steps, EIGHT)
    assert found.verdict.startswith("depends on ")
    assert any(note.startswith("the order turns round with") and "too" in note for note in found.notes)


def test_differing_without_crossing_is_a_note():
    """Faster everywhere, but not equally: the verdict stays, the note says where."""
    found = verdict_of(cells(lambda point: 0.45 if point[2] == "hidden 4" else 0.8))
    assert found.verdict == "faster"
    assert any(re.fullmatch(r"the ratio differs with hidden_size: 0\.4\d at 4, 0\.\d+ at 20", n) for n in found.notes)


def test_cannot_tell():
    """Neither solved anywhere."""
    found = verdict_of(lambda *_: INF)
    assert found.verdict == "cannot tell"
    assert found.sentence == (
        "Neither gru nor lstm solved the task within 2000 steps; their speeds cannot be compared."
    )
    assert found.notes == ()


@pytest.mark.parametrize(("n", "said"), [(1, "1 seed"), (2, "2 seeds")])
def test_too_few_seeds(n, said):
    """Fewer than three seeds."""
    found = verdict_of(cells(0.5), plan=design(seeds=tuple(range(n))))
    assert (found.verdict, found.sentence) == ("too few seeds", f"With {said} no uncertainty can be given.")


def test_identical():
    """Every seed the same at every point: the same cell, or all solved at the first evaluation."""
    for steps in (lambda label, point, rate, seed: 100.0 + 10 * seed, lambda *_: 5.0):
        found = verdict_of(steps)
        assert found.verdict == "identical"
        assert found.sentence == (
            "gru and lstm gave the same steps for every seed. (Same cell, same key? Or all solved at the first "
            "evaluation: evaluate more often.)"
        )


def test_no_spread_but_a_difference():
    """Exactly 0.7 for every seed: p is 2^(1-n), a claim at 6 seeds, none at 5."""

    def steps(label, point, rate, seed):
        return (70.0 if label == "gru" else 100.0) * (1 + seed)

    for n, word in ((6, "faster"), (5, "no difference shown")):
        found = summary_of(design(seeds=tuple(range(n))), steps)
        main = found.comparisons.query("metric == 'steps' and scope == 'all' and at == 'tuned'").iloc[0]
        assert main.p == 2.0 ** (1 - n)
        assert main.verdict == word
        assert math.isnan(main.seeds_needed)


def test_description_below_three_points():
    """Rows by axis value over one or two points, and single points, are no verdicts; over three they are."""
    found = summary_of(design(), cells(0.5)).comparisons
    steps = found[(found["metric"] == "steps") & (found["scope"] != "all")]
    assert set(steps["verdict"]) == {"description"}
    assert steps["p_holm"].notna().all()
    found = summary_of(design(), cells(0.5), EIGHT).comparisons
    steps = found[(found["metric"] == "steps") & (found["at"] == "tuned")]
    assert set(steps.loc[~steps["scope"].isin(["all", "point"]), "verdict"]) == {"faster"}
    assert set(steps.loc[steps["scope"] == "point", "verdict"]) == {"description"}


def edged(ends, grid):
    """The best rate is the largest at the first `ends` points, the middle one elsewhere."""
    points = [(a, b, c) for a in grid[0] for b in grid[1] for c in grid[2]]

    def steps(label, point, rate, seed):
        best = 0.03 if point in points[:ends] else 0.01
        factor = 0.6 if label == "gru" else 1.0
        return 500 * factor * (1.0 if rate == best else 2.0) * jitter(label, point, seed)

    return steps


@pytest.mark.parametrize(
    ("ends", "grid", "rates", "suffix"),
    [(2, EIGHT, RATES, ""), (3, EIGHT, RATES, " within the rates tried"), (1, ONE, RATES, " within the rates tried"),
     (1, ONE, (0.03,), "")],
    ids=["2 of 8", "3 of 8", "1 of 1", "a single rate"],
)  # fmt: skip
def test_ends_of_the_range(ends, grid, rates, suffix):
    """Picked at an end at more than a quarter of the points: the verdict is limited to the rates tried."""
    found = summary_of(design(learning_rates=rates), edged(ends, grid), grid)
    assert found.verdicts[0].verdict == "faster" + suffix
    main = found.comparisons.query("metric == 'steps' and scope == 'all' and at == 'tuned'").iloc[0]
    assert (main.ends, main.ends_baseline) == ((ends, ends) if len(rates) > 1 else (0, 0))
    points = "1 point" if grid is ONE else "8 points"
    edge = f"Both were fastest at the largest rate tried (0.03) at {ends} of {points}; a wider range may change this."
    assert found.verdicts[0].sentence.endswith(edge) == bool(suffix)
    assert found.wider_rates == ((0.003, 0.01, 0.03, 0.1) if suffix else ())
    count = f"gru at the end of the range at {ends} of {points} (0.03)"
    assert (count in found.verdicts[0].notes) == (not suffix and len(rates) > 1)
    described = found.comparisons.query("metric == 'steps' and scope == 'point' and at == 'tuned'")
    assert set(described["verdict"]) == {"description"}  # gets no suffix


def test_ends_of_one_cell_alone():
    """Only the cell whose rates end is named, with the end."""

    def steps(label, point, rate, seed):
        best = 0.003 if label == "gru" else 0.01
        return 500 * (1.0 if rate == best else 2.0) * jitter(label, point, seed)

    found = verdict_of(steps, plan=design(learning_rates=RATES))
    assert found.verdict.endswith(" within the rates tried")
    assert found.sentence.endswith(
        "gru was fastest at the smallest rate tried (0.003) at 4 of 4 points; a wider range may change this."
    )


def test_work_stands_beside_every_ratio():
    """Steps are not cost."""
    steps = cells(0.7)
    found = verdict_of(steps, multiply_adds={"lstm": 2000, "gru": 3200})
    assert found.notes[0] == f"in multiply-adds {oracle(steps)[0] * 1.6:.2f} times"


def test_an_interval_that_excludes_one_before_correction():
    """Said, but not claimed."""
    steps = cells(0.87, sd=0.25)
    _, _, high, p = oracle(steps)
    labels = ("lstm", "gru", *(f"other{i}" for i in range(20)))
    assert high < 1
    assert p > 0.05 / 21
    found = verdict_of(steps, plan=design(labels=labels))
    assert found.verdict == "no difference shown"
    assert "its own interval excludes 1, but not after correction for 21 comparisons" in found.notes


def test_a_verdict_that_rests_on_one_point():
    """Left out, the difference is gone; the point is named."""

    def steps(label, point, rate, seed):
        factor = 0.1 if label == "gru" and point == (32, 16, "hidden 20") else 1.0
        return 500 * factor * jitter(label, point, seed, 0.2)

    found = verdict_of(steps)
    assert found.verdict == "faster"
    assert "rests on length=32, batch 16, hidden 20 alone" in found.notes


def test_no_difference_that_rests_on_one_point_says_what_it_would_be():
    """One odd point hides what all others show; without it there is a verdict, and the note names it."""

    def steps(label, point, rate, seed):
        odd = point == (32, 16, "hidden 20")
        factor = 1.0 if label == "lstm" or odd else 0.8
        return 200 * factor * jitter(label, point, seed, 1.0 if odd else 0.1)

    found = verdict_of(steps)
    assert found.verdict == "no difference shown"
    assert "rests on length=32, batch 16, hidden 20 alone; without it: faster" in found.notes


def test_single_points_are_counted_after_holm():
    """How many points are clear of 1 on their own, as description."""
    found = verdict_of(cells(lambda point: 0.3 if point[2] == "hidden 4" else 0.98))
    assert any(
        note == "setting by setting (corrected): faster at 2 of 4, slower at 0, undecided at 2" for note in found.notes
    )


def test_tuned_and_across_disagree():
    """Faster at its best rate, not over the range: both are said."""

    def steps(label, point, rate, seed):
        factor = {0.003: 2.0, 0.01: 1.0, 0.03: 2.0}[rate]
        if label == "gru":
            factor = {0.003: 3.0, 0.01: 0.7, 0.03: 1.9}[rate]
        return 400 * factor * jitter(label, (point, rate), seed, 0.3)

    found = verdict_of(steps, plan=design(learning_rates=RATES))
    assert found.verdict == "faster"
    assert any(note.startswith("this holds at the tuned rate; averaged over all three rates, ") for note in found.notes)


def test_mean_steps_reverse_the_order():
    """Fails more often, but is faster when it solves: typical and mean steps disagree."""

    def steps(label, point, rate, seed):
        if label == "gru":
            return INF if seed == 0 else 200 * jitter(label, point, seed)
        return 300 * jitter(label, point, seed)

    found = verdict_of(steps)
    assert "by mean steps the order is reversed: gru fails more often, but is faster when it solves" in found.notes


@pytest.mark.parametrize(("never", "bound"), [("gru", "at least"), ("lstm", "at most")])
def test_a_cell_that_never_solves_gives_a_bound(never, bound):
    """Censoring draws ratios towards 1: the ratio is at least, or at most, what is shown."""

    def steps(label, point, rate, seed):
        return INF if label == never else 500 * jitter(label, point, seed)

    found = summary_of(design(), steps)
    assert f"gru needs {bound} " in found.verdicts[0].sentence
    assert f"{never} solved in no replica at 4 of 4 points" in "; ".join(found.verdicts[0].notes)
    rows = found.comparisons[found.comparisons["metric"] == "steps"]
    assert set(rows["bound"]) == {bound}


@pytest.mark.parametrize(
    ("never", "per_step", "claim"),
    [("gru", 100, ""), ("lstm", 10000, ""), ("lstm", 100, "cheaper"), ("gru", 10000, "costlier")],
)
def test_cheap_steps_that_never_solve_are_not_cheap(never, per_step, claim):
    """What never solves costs its whole budget at least: that may show that it is dear, never that it is cheap."""

    def steps(label, point, rate, seed):
        return INF if label == never else 500 * jitter(label, point, seed)

    found = verdict_of(steps, multiply_adds={"lstm": 1000, "gru": per_step})
    (cost,) = (finding for finding in found.findings if finding.about == "cost")
    assert cost.verdict.partition(" ")[0] == claim if claim else cost.verdict == TOO_SHORT


def test_points_that_neither_solved_are_counted_not_averaged():
    """Uninformative points dilute nothing."""

    def steps(label, point, rate, seed):
        return INF if point[2] == "hidden 4" and point[0] == 8 else cells(0.6)(label, point, rate, seed)

    found = summary_of(design(), steps)
    main = found.comparisons.query("metric == 'steps' and scope == 'all' and at == 'tuned'").iloc[0]
    assert (main.points, main.points_uninformative) == (3, 1)
    assert main.ratio == pytest.approx(0.6, rel=0.1)
    assert "1 of 4 points: neither solved" in found.verdicts[0].notes


@pytest.mark.parametrize(("n", "said"), [(5, "reach p = 0.05"), (10, "go below p = 0.002")])
def test_few_seeds(n, said):
    """A claim that no assumption-free test of its seeds could make says so."""
    found = summary_of(design(seeds=tuple(range(n))), cells(0.5))
    note = f"rests on the t distribution; no assumption-free test of {n} seeds can {said}"
    assert found.verdicts[0].verdict == "faster"
    # with 5 seeds or fewer the verdict itself says it
    assert (note in found.verdicts[0].sentence) == (n == 5)
    assert (note in found.verdicts[0].notes and note in found.footnotes) == (n == 10)


@pytest.mark.parametrize(("n", "unseen"), [(10, "26 %"), (5, "51 %"), (20, "7 %")])
def test_one_setting_keeps_its_verdict_with_a_footnote(n, unseen):
    """At a single point the interval is too narrow; the figure is for the seeds at hand."""
    found = summary_of(design(seeds=tuple(range(n))), cells(0.5), ONE)
    assert found.verdicts[0].verdict == "faster"
    note = (
        f"one setting: a learning rate that is late for 1 seed in 8 goes unseen in {unseen} of experiments with {n} "
        f"seeds; intervals at one setting then cover about 80 %, not 95 %"
    )
    assert note in found.verdicts[0].notes
    assert note in found.footnotes
    assert not any("one setting" in note for note in summary_of(design(), cells(0.5)).footnotes)


def test_all_solved_is_a_footnote():
    """Ten of ten exclude no rare failure."""
    found = summary_of(design(), cells(0.5))
    assert "where all 10 seeds solved a setting, up to 26 % of seeds may still fail" in found.footnotes
    assert not any("would not have been seen" in note for note in summary_of(design(), lambda *_: INF).footnotes)
