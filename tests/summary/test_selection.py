"""In the middle of a run: what is missing is said, nothing is imputed, no replica leaves a denominator."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from cellbench.report.tables import markdown, terminal
from cellbench.summary import summarise
from tests.helpers.frames import design, evaluations, lognormal, runs

INF, NAN = math.inf, math.nan
STEPS = lognormal({"lstm": 500, "gru": 350, "rnn": 700})
MAIN = "metric == 'steps' and scope == 'all' and at == 'tuned'"


def reported(plan, table, trained=None):
    """The summary; its texts must come out whatever is missing."""
    found = summarise(table, evaluations(plan, table) if trained is None else trained, plan)
    assert terminal(found, plan)
    assert markdown(found, plan)
    return found


def lose(table: pd.DataFrame, mask: pd.Series, status: str = "missing", cause: str = "") -> pd.DataFrame:
    table = table.copy()
    table.loc[mask, ["status", "cause"]] = [status, cause]
    table.loc[mask, ["steps_to_solved", "final_sequence_accuracy"]] = NAN
    return table


def test_seeds_that_one_cell_lacks_leave_its_pair_alone():
    """gru lacks two seeds: its comparison has eight, rnn's ten; the note says so."""
    plan = design(labels=("lstm", "gru", "rnn"))
    whole = runs(plan, STEPS)
    found = reported(plan, lose(whole, (whole["label"] == "gru") & (whole["seed"] >= 8)))
    main = found.comparisons.query(MAIN).set_index("cell")
    assert main.loc["gru", "seeds"] == 8
    assert main.loc["rnn", "seeds"] == 10
    assert "8 of 10 seeds complete for both" in main.loc["gru", "notes"]
    eight = reported(design(labels=("lstm", "gru"), seeds=tuple(range(8))), whole.query("seed < 8 and label != 'rnn'"))
    assert main.loc["gru", "ratio"] == eight.comparisons.query(MAIN)["ratio"].item()
    assert {lost.text.split(" at ")[0] for lost in found.missing} == {"gru"}
    assert found.missing[0].text == "gru at length=8, batch 16, hidden 4: 2 not run, of 10 replicas"


def test_seeds_complete_at_all_points_are_used_and_the_dropped_counted():
    """Seed 0 lost at one point leaves the pooled row, but not the other points' rows."""
    plan = design()
    whole = runs(plan, STEPS)
    lost = (whole["label"] == "gru") & (whole["seed"] == 0) & (whole["length"] == 8) & (whole["size"] == "hidden 4")
    found = reported(plan, lose(whole, lost, "failed", "machine"))
    main = found.comparisons.query(MAIN).iloc[0]
    assert (main.seeds, main.points) == (9, 4)
    assert "1 seed left out, not complete at all points" in main.notes
    points = found.comparisons.query("metric == 'steps' and scope == 'point' and at == 'tuned'")
    assert sorted(points["seeds"]) == [9, 10, 10, 10]
    assert found.missing[0].text.endswith("1 failed on a machine, of 10 replicas")
    assert found.outcomes.set_index("cell").loc["gru", "machine"] == 1


def test_a_point_that_one_cell_lacks_is_left_out_for_that_pair():
    """No rows at all for gru at one point; lstm keeps its own rows there."""
    plan = design(labels=("lstm", "gru", "rnn"))
    table = runs(plan, STEPS)
    absent = (table["label"] == "gru") & (table["length"] == 8) & (table["size"] == "hidden 4")
    found = reported(plan, table[~absent])
    main = found.comparisons.query(MAIN).set_index("cell")
    assert main.loc["gru", "points"] == 3
    assert main.loc["rnn", "points"] == 4
    assert "1 of 4 points left out, not complete for both: length=8, batch 16, hidden 4" in main.loc["gru", "notes"]
    assert "gru at length=8, batch 16, hidden 4: nothing was planned" in [lost.text for lost in found.missing]
    here = found.cells.query("cell == 'gru' and length == 8 and size == 'hidden 4'")
    assert (here["seeds"] == 0).all()
    assert here["typical_steps"].isna().all()


def test_a_point_barely_begun_does_not_take_the_others_seeds():
    """One seed done at the last point: the point is left out, the ten seeds of the others stay."""
    plan = design()
    table = runs(plan, STEPS)
    late = (table["length"] == 32) & (table["size"] == "hidden 20") & (table["seed"] > 0)
    main = reported(plan, lose(table, late)).comparisons.query(MAIN).iloc[0]
    assert (main.seeds, main.points) == (10, 3)
    assert "left out, not complete for both: length=32, batch 16, hidden 20" in main.notes


def test_a_learning_rate_not_yet_run_leaves_no_tuned_row():
    """A rate that nobody ran yet cannot be compared with the others: the tuned row waits, the rate rows stand."""
    plan = design(learning_rates=(0.01, 0.03))
    table = runs(plan, STEPS)
    found = reported(plan, lose(table, table["learning_rate"] == 0.03))
    rows = found.cells.query("cell == 'lstm' and length == 8 and size == 'hidden 4'").set_index("at")
    assert rows.loc["tuned", "seeds"] == 0
    assert rows.loc["tuned", "notes"] == "10 of 10 seeds missing"
    assert rows.loc["rate", "seeds"].tolist() == [10, 0]
    assert found.verdicts[0].verdict == "too few seeds"
    assert found.verdicts[0].sentence == "With 0 seeds no uncertainty can be given."


def test_nothing_has_run_yet():
    """All planned, none run: a report that says just that."""
    plan = design(learning_rates=(0.01, 0.03))
    table = runs(plan, lambda *_: NAN)
    found = reported(plan, table)
    assert found.verdicts[0].verdict == "too few seeds"
    assert sum(lost.not_run for lost in found.missing) == len(table)
    assert found.accuracy.empty


@pytest.mark.parametrize(("status", "cause", "state"), [("failed", "cell", "failed"), ("diverged", "", "diverged")])
def test_all_replicas_of_a_cell_failed(status, cause, state):
    """They never solved: they stay in every denominator, with 0 accuracy; the verdict says what became of them."""
    plan = design()
    whole = runs(plan, STEPS)
    mask = whole["label"] == "gru"
    found = reported(plan, lose(whole, mask, status, cause))
    rows = found.cells[found.cells["cell"] == "gru"]
    assert (rows.loc[rows["at"] != "across", "seeds"] == 10).all()
    assert (rows.loc[rows["at"] != "across", "solved"] == 0).all()
    assert rows["typical_steps"].to_numpy() == pytest.approx(2000)
    assert found.outcomes.set_index("cell").loc["gru", state] == 40
    assert found.verdicts[0].verdict == state
    exact = found.accuracy.query("cell == 'gru' and metric == 'sequence_accuracy'")
    assert len(exact) == len(found.accuracy.query("cell == 'lstm' and metric == 'sequence_accuracy'"))
    assert (exact["mean"] == 0).all()
    assert any("count as accuracy 0" in note for note in found.footnotes)
    assert found.missing == ()


def test_failures_and_censoring_stay_in_the_denominator():
    """Of ten seeds, two diverged, one failed in the cell, one was censored: six tenths solved."""
    plan = design(labels=("lstm",))
    table = runs(plan, lambda label, point, rate, seed: INF if seed == 9 else 300.0, ((8,), (16,), ("hidden 4",)))
    table = lose(table, table["seed"].isin([0, 1]), "diverged")
    table = lose(table, table["seed"] == 2, "failed", "cell")
    tuned = reported(plan, table).cells.query("at == 'tuned'").iloc[0]
    assert (tuned.seeds, tuned.solved) == (10, pytest.approx(0.6))
    assert tuned.mean_steps == pytest.approx((6 * 300 + 4 * 2000) / 10)


def test_a_size_unknown_for_missing_replicas():
    """Selection that never started have no measured size; the others' is used."""
    plan = design()
    table = runs(plan, STEPS, multiply_adds={"lstm": 2000, "gru": 1000})
    table = lose(table, table["seed"] == 9)
    table["multiply_adds"] = table["multiply_adds"].astype(float)
    table.loc[table["seed"] == 9, "multiply_adds"] = NAN
    main = reported(plan, table).comparisons.query(MAIN).iloc[0]
    assert main.work_ratio == pytest.approx(main.ratio / 2)


def test_a_cell_that_could_never_be_made_has_no_size():
    """All failed before anything could be measured: a bound on the ratio, and no word about multiply-adds."""
    plan = design()
    whole = runs(plan, STEPS)
    table = lose(whole, whole["label"] == "gru", "failed", "cell").astype({"multiply_adds": float, "parameters": float})
    table.loc[table["label"] == "gru", ["multiply_adds", "parameters", "state", "hidden_size"]] = NAN
    found = reported(plan, table)
    assert math.isnan(found.comparisons.query(MAIN)["work_ratio"].item())
    assert not any("multiply-adds" in note for note in found.verdicts[0].notes)


def test_an_evaluation_not_made_is_not_zero():
    """A replica that solved but whose final evaluation is missing leaves that table's seeds; it is no 0."""
    plan = design()
    table = runs(plan, STEPS)
    trained = evaluations(plan, table)
    lost = (trained["label"] == "gru") & (trained["seed"] == 4) & (trained["by"] == "chain")
    found = reported(plan, table, trained[~lost])
    exact = found.accuracy.query("metric == 'sequence_accuracy' and scope == 'all' and cell == 'gru'").set_index("by")
    assert exact.loc["chain", "seeds"] == 9
    assert exact.loc["length", "seeds"] == 10
    assert exact.loc["chain", "least"] > 0


def test_unequal_learning_rates_within_a_seed():
    """A seed with one rate missing is not complete: it leaves the tuned row, its other rates keep their rows."""
    plan = design(learning_rates=(0.01, 0.03))
    table = runs(plan, STEPS)
    lost = (table["seed"] == 5) & (table["learning_rate"] == 0.03) & (table["label"] == "lstm")
    rows = reported(plan, lose(table, lost)).cells.query("cell == 'lstm' and length == 8 and size == 'hidden 4'")
    assert rows["seeds"].tolist() == [10, 9, 9, 9]
    assert rows["notes"].str.contains("1 of 10 seeds missing").tolist() == [False, True, True, True]


def test_more_points_for_one_cell_than_the_baseline():
    """An axis value where the baseline is missing has no ratio, and says so."""
    plan = design()
    table = runs(plan, STEPS)
    found = reported(plan, table[~((table["label"] == "lstm") & (table["length"] == 32))])
    row = found.comparisons.query("metric == 'steps' and scope == 'length=32' and at == 'tuned'").iloc[0]
    assert np.isnan(row.ratio)
    assert (row.seeds, row.points) == (0, 0)
    assert row.verdict == "too few seeds"
    assert "2 of 2 points left out" in row.notes
