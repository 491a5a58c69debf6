"""The summary's frames: which replica counts as what, the numbers of each row, partial data, the same bytes twice."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cellbench.summary import summarise
from cellbench.summary.selection import select
from tests.helpers.frames import design, evaluations, lognormal, runs

INF, NAN = math.inf, math.nan
WORKED = {"gru": [400, 500, 650, 300, 900, 550], "lstm": [600, 550, 1000, 450, INF, 700]}
ONE_POINT = ((8,), (16,), ("hidden 4",))


def summary_of(plan, steps, grid=((8, 32), (16,), ("hidden 4", "hidden 20")), **more):
    table = runs(plan, steps, grid, **more)
    return summarise(table, evaluations(plan, table), plan)


def row(frame: pd.DataFrame, **wanted) -> pd.Series:
    """The one row with these values."""
    mask = np.ones(len(frame), dtype=bool)
    for column, value in wanted.items():
        mask &= (frame[column] == value).fillna(False).to_numpy(dtype=bool)
    assert mask.sum() == 1, frame[mask]
    return frame[mask].iloc[0]


@pytest.mark.parametrize(
    ("status", "cause", "reached", "steps", "state"),
    [
        ("solved", "", 300.0, 300.0, 0),
        ("censored", "", NAN, INF, 1),
        ("diverged", "", NAN, INF, 2),
        ("failed", "cell", NAN, INF, 3),
        ("failed", "machine", NAN, NAN, 4),
        ("failed", "timeout", NAN, NAN, 4),
        ("missing", "", NAN, NAN, 5),
    ],
)
def test_what_a_status_counts_as(status, cause, reached, steps, state):
    """Never solved is `inf`; lost by a machine or not run is missing, never `inf`."""
    plan = design(labels=("lstm",), seeds=(0,))
    table = runs(plan, lambda *_: 500.0, ONE_POINT)
    table.loc[0, ["status", "cause", "steps_to_solved"]] = [status, cause, reached]
    found = select(table, evaluations(plan, table), plan)
    assert found.state.item() == state
    assert found.steps.item() == steps or (math.isnan(steps) and math.isnan(found.steps.item()))


def test_diverged_after_it_solved():
    """Solved and later not finite: its steps count, its accuracies are 0."""
    plan = design(labels=("lstm",))
    table = runs(plan, lambda *_: 500.0, ONE_POINT)
    trained = evaluations(plan, table)
    table["diverged_at"] = table["diverged_at"].where(table["seed"] != 3, 900.0)
    trained = trained[trained["seed"] != 3]
    found = summarise(table, trained, plan)
    assert row(found.cells, at="tuned")["solved"] == 1.0
    assert row(found.accuracy, metric="sequence_accuracy", scope="all", by="length")["least"] == 0.0
    assert row(found.accuracy, metric="sequence_accuracy", scope="all", by="length")["mean"] == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 77}, "seed: found 77"),
        ({"label": "other"}, "label: found 'other'"),
        ({"learning_rate": 0.5}, "learning_rate: found 0.5"),
        ({"status": "strange"}, "status: found strange"),
        ({"seed": 1}, "two rows"),
        ({"steps_to_solved": NAN}, "no steps_to_solved"),
    ],
)
def test_rows_that_fit_no_plan_are_refused(change, message):
    """Nothing is dropped in silence: a row that was not planned is an error that names it."""
    plan = design(labels=("lstm",))
    table = runs(plan, lambda *_: 500.0, ONE_POINT)
    trained = evaluations(plan, table)
    table = table.astype({"seed": object, "label": object})
    for column, value in change.items():
        table.loc[0, column] = value
    with pytest.raises(ValueError, match=message):
        summarise(table, trained, plan)


PUBLISHED = {
    "cells": """
        cell AXES at learning_rate seeds solved solved_low solved_high median_steps median_low median_high
        typical_steps typical_low typical_high mean_steps mean_low mean_high sd picked picked_share notes""",
    "comparisons": """
        metric scope AXES by value cell baseline at seeds points points_uninformative ratio ratio_low ratio_high bound
        work_ratio difference difference_low difference_high p p_holm p_equivalent_holm corrected_low corrected_high
        sooner sooner_low sooner_high without_one_point_low without_one_point_high sd detectable seeds_needed
        look looks share settles_at differ_axis differ_p_holm crossing_p
        ends ends_baseline verdict notes""",
    "accuracy": """
        metric scope AXES cell at learning_rate by value seeds mean low high least share_99 share_99_low
        share_99_high""",
}


@pytest.mark.parametrize("frame", PUBLISHED)
def test_columns_of_the_csv_files(frame):
    """The three frames have the published columns, the task's own among them."""
    found = summary_of(design(), lognormal({"lstm": 500, "gru": 400}))
    expected = PUBLISHED[frame].replace("AXES", "length batch_size size")
    assert list(getattr(found, frame)) == expected.split()


def test_a_cell_at_one_rate_by_hand():
    """The worked sample: solved share, median, typical and mean steps, each against scipy."""
    plan = design(seeds=tuple(range(6)))
    found = summary_of(plan, lambda label, *rest: WORKED[label][rest[-1]], ONE_POINT).cells
    slow = row(found, cell="lstm", at="rate")
    assert (slow.solved, round(slow.solved_low, 4), round(slow.solved_high, 4)) == (5 / 6, 0.4365, 0.9699)
    assert (slow.median_steps, slow.median_low) == (600, 450)
    assert math.isnan(slow.median_high)  # beyond the budget
    kept = np.minimum(WORKED["lstm"], 2000)
    logs = stats.ttest_1samp(np.log(kept), 0).confidence_interval()
    assert (slow.typical_low, slow.typical_high) == pytest.approx((math.exp(logs.low), math.exp(logs.high)))
    assert slow.typical_steps == pytest.approx(stats.gmean(kept))
    assert slow.mean_steps == pytest.approx(883.333, abs=1e-3)
    raw = stats.ttest_1samp(kept, 0).confidence_interval()
    assert (slow.mean_low, slow.mean_high) == pytest.approx((raw.low, raw.high))
    tuned = row(found, cell="lstm", at="tuned")
    assert (
        tuned[4:]
        .drop(["at", "learning_rate", "picked", "picked_share"])
        .equals(slow[4:].drop(["at", "learning_rate", "picked", "picked_share"]))
    )


def test_limits_of_mean_steps_stay_possible():
    """No mean below the first evaluation or beyond the budget."""
    steps = [5, 5, 5, INF, INF, INF, INF, INF]
    found = summary_of(design(labels=("lstm",), seeds=tuple(range(8))), lambda *at: steps[at[-1]], ONE_POINT).cells
    assert row(found, at="rate").mean_high <= 2000
    steps[3:7] = [5, 5, 5, 5]
    found = summary_of(design(labels=("lstm",), seeds=tuple(range(8))), lambda *at: steps[at[-1]], ONE_POINT).cells
    assert row(found, at="rate").mean_low == 5


def test_the_tuned_row_by_hand():
    """The worked weights: solved share, median and accuracy are averages with the same w."""
    t = [[300, 200, 250], [450, 250, 200], [350, 150, INF], [500, 300, 250]]
    rates = (0.003, 0.01, 0.03)
    plan = design(labels=("lstm",), seeds=(0, 1, 2, 3), learning_rates=rates)
    found = summary_of(plan, lambda label, point, rate, seed: t[seed][rates.index(rate)], ONE_POINT)
    tuned = row(found.cells, at="tuned")
    assert tuned.typical_steps == pytest.approx(275.338, abs=5e-4)
    assert tuned.solved == pytest.approx((3 + 2 / 3) / 4)
    assert (tuned.picked, tuned.picked_share) == (0.01, pytest.approx(5 / 6))
    assert tuned.median_steps == 250  # masses: 150 and 200 hold 1/3, 250 brings it past 1/2
    assert math.isnan(tuned.median_low)  # needs 6 seeds
    exact = row(found.accuracy, metric="sequence_accuracy", scope="all", by="length")
    assert exact["mean"] == pytest.approx((3 + 2 / 3 + 0.2 / 3) / 4)
    across = row(found.cells, at="across")
    assert across.typical_steps == pytest.approx(stats.gmean(np.minimum(t, 2000).ravel()))
    assert math.isnan(across.solved)


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_than_three_seeds(n):
    """Estimates without interval or p; with one seed no rate can be picked, and it says so."""
    plan = design(seeds=tuple(range(n)), learning_rates=(0.01, 0.03))
    found = summary_of(plan, lognormal({"lstm": 500, "gru": 300}))
    tuned = found.cells[found.cells["at"] == "tuned"]
    assert tuned["typical_low"].isna().all()
    assert tuned["typical_steps"].isna().all() == (n == 1)
    assert ("needs 2 seeds" in tuned["notes"].iloc[0]) == (n == 1)
    at_rate = found.cells[found.cells["at"] == "rate"]
    assert at_rate["typical_steps"].notna().all()
    assert at_rate[["typical_low", "solved_low", "mean_low", "median_low", "sd"]].isna().all(axis=None)
    steps = found.comparisons[found.comparisons["metric"] == "steps"]
    assert steps[["ratio_low", "p", "p_holm", "sooner_low", "detectable", "seeds_needed"]].isna().all(axis=None)
    assert set(steps["verdict"]) == {"too few seeds"}


def test_notes_of_a_cell():
    """A coarse median, a rate at the edge, a picked rate less sure than its neighbour: each is said."""
    rates = (0.003, 0.01, 0.03)

    def steps(label, point, rate, seed):
        if label == "lstm":  # fastest at the largest rate, solved at the 6th evaluation
            return {0.003: 200, 0.01: 100, 0.03: 30}[rate]
        if rate == 0.01:  # a little faster mostly, and never for one seed
            return INF if seed == 0 else 300
        return {0.003: 900, 0.03: 400 + seed}[rate]

    found = summary_of(design(learning_rates=rates), steps, ONE_POINT).cells
    lstm, gru = (row(found, cell=label, at="tuned") for label in ("lstm", "gru"))
    assert "at the edge of the range; widen it" in lstm.notes
    assert "coarse: steps are known to within 5; ratios are drawn towards 1" in lstm.notes
    assert gru.picked == 0.01
    assert "unreliable: 0.03 is within 25 %" in gru.notes
    assert "edge" not in gru.notes


def test_a_comparison_by_hand():
    """All points: averaged within a seed, then scipy's t; work, sooner and the leave-one-out range."""
    plan = design()
    steps = lognormal({"lstm": 500, "gru": 400})
    found = summary_of(plan, steps, multiply_adds={"lstm": 2000, "gru": 1500})
    points = [(length, 16, size) for length in (8, 32) for size in ("hidden 4", "hidden 20")]
    logs = np.array(
        [[math.log(min(2000, steps("gru", p, 0.01, s) / steps("lstm", p, 0.01, s))) for s in range(10)] for p in points]
    )
    by_seed = logs.mean(axis=0)
    oracle = stats.ttest_1samp(by_seed, 0)
    limits = oracle.confidence_interval()
    got = row(found.comparisons, metric="steps", scope="all", at="tuned")
    assert (got.ratio, got.ratio_low, got.ratio_high) == pytest.approx(
        np.exp([by_seed.mean(), limits.low, limits.high])
    )
    assert (got.p, got.p_holm) == pytest.approx((oracle.pvalue, oracle.pvalue))
    assert got.work_ratio == pytest.approx(0.75 * got.ratio)
    assert (got.seeds, got.points, got.points_uninformative) == (10, 4, 0)
    assert got.sooner == pytest.approx((by_seed < 0).mean())
    left = [math.exp(np.delete(logs, g, axis=0).mean()) for g in range(4)]
    assert (got.without_one_point_low, got.without_one_point_high) == pytest.approx((min(left), max(left)))
    at_8 = row(found.comparisons, metric="steps", scope="length=8", at="tuned")
    assert at_8.ratio == pytest.approx(math.exp(logs[:2].mean()))
    assert at_8.length == 8
    assert pd.isna(at_8["size"])


def test_scopes():
    """All points, each value of each axis with two or more, each point; tuned and across."""
    found = summary_of(design(), lognormal({"lstm": 500, "gru": 400})).comparisons
    steps = found[(found["metric"] == "steps") & (found["at"] == "across")]
    expected = ["all", "length=8", "length=32", "size=hidden 4", "size=hidden 20", *["point"] * 4]
    assert steps["scope"].tolist() == expected


def test_families_are_corrected_apart():
    """Primary, axis values of all axes together, points, and across: each Holm by itself."""
    plan = design(labels=("lstm", "gru", "rnn", "mgu"))
    found = summary_of(plan, lognormal({"lstm": 500, "gru": 440, "rnn": 560, "mgu": 500})).comparisons
    steps = found[found["metric"] == "steps"]
    kind = steps["scope"].where(steps["scope"].isin(["all", "point"]), "axis")
    for _, family in steps.groupby([kind, "at"]):
        p = family["p"].to_numpy()
        order = np.argsort(p, kind="stable")
        expected = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
        assert family["p_holm"].to_numpy()[order] == pytest.approx(expected)


def test_a_cell_added_changes_no_other_cells_numbers():
    """Ratios, intervals and p of a pair are the same bytes whoever else is there; only Holm's family grows."""
    rates = (0.003, 0.01, 0.03)
    small, large = design(learning_rates=rates), design(labels=("lstm", "rnn", "gru"), learning_rates=rates)
    steps = lognormal({"lstm": 500, "gru": 400, "rnn": 700})
    one, two = summary_of(small, steps), summary_of(large, steps)
    columns = ["ratio", "ratio_low", "ratio_high", "p", "sooner", "sd", "difference", "difference_low"]
    order = ["metric", "scope", "by", "at", *small.axes]
    both = two.comparisons[two.comparisons["cell"] == "gru"].sort_values(order, ignore_index=True)
    alone = one.comparisons.sort_values(order, ignore_index=True)
    pd.testing.assert_frame_equal(alone[columns], both[columns], check_exact=True)
    for frame in ("cells", "accuracy"):
        mine, theirs = getattr(one, frame), getattr(two, frame)
        theirs = theirs[theirs["cell"] != "rnn"].reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True)


def test_the_order_of_rows_does_not_matter_and_twice_is_the_same():
    """Shuffled frames give the same bytes."""
    plan = design(learning_rates=(0.003, 0.01, 0.03))
    table = runs(plan, lognormal({"lstm": 500, "gru": 400}))
    trained = evaluations(plan, table)
    first = summarise(table, trained, plan)
    second = summarise(table.sample(frac=1, random_state=1), trained.sample(frac=1, random_state=2), plan)
    for frame in ("cells", "comparisons", "accuracy", "outcomes", "overview"):
        assert getattr(first, frame).to_csv() == getattr(second, frame).to_csv()
    assert first.verdicts == second.verdicts


def test_the_baseline():
    """The label asked for, else lstm, else the first cell."""
    labels = ("gru", "lstm", "rnn")
    steps = lognormal({"gru": 400, "lstm": 500, "rnn": 700})
    assert {v.baseline for v in summary_of(design(labels=labels), steps).verdicts} == {"lstm"}
    assert {v.baseline for v in summary_of(design(labels=labels, baseline="rnn"), steps).verdicts} == {"rnn"}
    assert {v.baseline for v in summary_of(design(labels=("gru", "rnn")), steps).verdicts} == {"gru"}
    with pytest.raises(ValueError, match="nobody"):
        design(baseline="nobody")


def test_all_pairs_on_request():
    """Every pair once, each cell against the baseline first, one family of all."""
    labels = ("rnn", "lstm", "gru", "mgu")
    steps = lognormal(dict.fromkeys(labels, 500))
    found = summary_of(design(labels=labels, pairs="all"), steps)
    expected = [("rnn", "lstm"), ("gru", "lstm"), ("mgu", "lstm"), ("gru", "rnn"), ("mgu", "rnn"), ("mgu", "gru")]
    assert [(v.cell, v.baseline) for v in found.verdicts] == expected
    main = found.comparisons.query("metric == 'steps' and scope == 'all' and at == 'tuned'")
    assert main["p_holm"].min() == pytest.approx(min(1, 6 * main["p"].min()))


def test_one_cell_alone():
    """Nothing to compare: tables of one cell, no verdict."""
    found = summary_of(design(labels=("lstm",)), lognormal({"lstm": 500}))
    assert found.verdicts == ()
    assert found.comparisons.empty
    assert "nothing is compared" in found.how_to_read


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "adam at learning rate 0.01, gradients clipped to norm 1"),
        (
            {"optimizer_options": (("betas", (0.9, 0.99)), ("weight_decay", 0.1)), "clip_norm": None},
            "adam (betas 0.9 and 0.99, weight_decay 0.1) at learning rate 0.01, gradients not clipped",
        ),
        (
            {"schedule": "cosine", "warmup_steps": 1000, "learning_rates": (0.1, 0.01), "end_factor": 0.05},
            "adam at learning rates 0.01, 0.1, warmed up over 1,000 steps and lowered by a cosine to 0.05 of them, ",
        ),
        ({"schedule": "linear"}, "at learning rate 0.01, lowered linearly to 0, gradients"),
        ({"warmup_steps": 1}, "at learning rate 0.01, warmed up over 1 step, gradients"),
        (
            {"optimizer": "torch.optim.Adafactor", "optimizer_options": (("eps", (None, 1e-3)), ("foreach", False))},
            "torch.optim.Adafactor (eps null and 0.001, foreach false) at learning rate",
        ),
        ({"clip_norm": None, "clip_value": 0.5}, "gradients clipped by value to 0.5"),
    ],
)
def test_the_setup_names_what_is_not_at_its_default(changes, said):
    plan = design(**changes)
    assert said in plan.setup
    steps = summary_of(plan, lognormal({"lstm": 500, "gru": 400})).how_to_read
    assert plan.by in steps
    assert plan.scheduled in steps
    assert "not clipped" not in steps
    assert plan.clipped in steps or plan.clipped == "gradients not clipped"


def test_how_to_read_tells_what_was_done():
    """Numbers of seeds, points, rates and comparisons, the rule, the versions: from the run, not from a template."""
    plan = design(labels=("lstm", "gru", "rnn"), seeds=(0, 1, 2, 3, 4), learning_rates=(0.01, 0.03), hold=3)
    text = summary_of(plan, lognormal({"lstm": 500, "gru": 400, "rnn": 600})).how_to_read
    for part in (
        "3 cells learned invented_task at 4 points (length 8, 32; batch_size 16; hidden_size 4, 20)",
        "5 seeds at 2 learning rates (0.01, 0.03)",
        "2000 steps (adam, gradients clipped to norm 1)",
        "first of 3 consecutive evaluations with sequence_accuracy at least 0.99",
        "Holm for 2 comparisons",
        "within 0.80 to 1.25",
        "cellbench 0.1.0",
    ):
        assert part in text


def test_charts_are_computed_when_asked_for():
    """summarise leaves them alone; asked for, they agree with the tables."""
    plan = design(learning_rates=(0.003, 0.01, 0.03))
    found = summary_of(plan, lognormal({"lstm": 500, "gru": 400}))
    assert not {"tuning_curve", "performance_profile", "solved_over_steps"} & set(vars(found))
    curve = found.tuning_curve
    ends = curve[(curve["cell"] == "gru") & (curve["length"] == 8) & (curve["size"] == "hidden 4")]
    table = found.cells.query("cell == 'gru' and length == 8 and size == 'hidden 4'").set_index("at")
    assert ends["typical_steps"].iloc[0] == pytest.approx(table.loc["across", "typical_steps"])
    assert ends["typical_steps"].iloc[-1] == pytest.approx(table.loc["tuned", "typical_steps"])
    solved = found.solved_over_steps
    last = solved[(solved["step"] == 2000) & (solved["at"] == "tuned")]
    assert last["share"].to_numpy() == pytest.approx(found.cells.query("at == 'tuned'")["solved"].to_numpy())
    profile = found.performance_profile
    assert profile.groupby("cell")["share"].apply(lambda s: s.is_monotonic_increasing).all()
    assert profile["factor"].min() == pytest.approx(0.25)
    assert len(found.rate_profile) == 2 * 4 * 3


def test_the_docs_name_every_column():
    """docs/statistics.md explains each published column; one that is added must be explained."""
    text = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text()
    for frame, file in (("cells", "summary.csv"), ("comparisons", "comparisons.csv"), ("accuracy", "accuracy.csv")):
        part = text.split(f"**{file}**")[1].split("\n\n")[0]
        told = set(re.findall(r"`([a-z_0-9]+)`", part))
        missing = set(PUBLISHED[frame].split()) - told - {"AXES", "cell"}
        assert not missing, f"{file}: {sorted(missing)}"


def test_what_trained_the_replicas_is_counted_where_it_differs_within_a_cell() -> None:
    """One footnote counts replicas by version and instruction set; two engines in two cells are no mixture."""
    plan = design()
    table = runs(plan, lognormal({"lstm": 500, "gru": 400}), ONE_POINT)
    table["compiler"] = "g++ 12"

    def said(changed: pd.DataFrame) -> list[str]:
        notes = summarise(changed, evaluations(plan, changed), plan).footnotes
        return [note for note in notes if "trained differently" in note]

    table.loc[table["label"] == "gru", ["engine", "isa"]] = ["stack", "AVX2"]
    assert said(table) == []
    table.loc[(table["label"] == "lstm") & (table["seed"] < 3), "engine_version"] = 2
    assert [note.split(": ")[1] for note in said(table)] == ["7 by lanes 1, 3 by lanes 2"]
    table.loc[(table["label"] == "lstm") & (table["seed"] == 0), "isa"] = "sse2"
    table.loc[(table["label"] == "lstm") & (table["seed"] == 9), "engine"] = ""  # not trained
    (note,) = said(table)
    assert note.endswith(": 6 by lanes 1 on avx2, 2 by lanes 2 on avx2, 1 by lanes 2 on sse2")
    table = runs(plan, lognormal({"lstm": 500, "gru": 400}), ONE_POINT)
    table["compiler"] = "torch 2.13.0"
    table.loc[(table["label"] == "gru") & (table["seed"] < 4), "device"] = "NVIDIA H100"
    (note,) = said(table)
    assert note.endswith(": 4 by lanes 1 computed by NVIDIA H100, 6 by lanes 1 computed by cpu")
