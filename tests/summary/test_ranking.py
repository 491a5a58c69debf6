"""All cells ranked: the order, the limits of each rank, and the cells that have none."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from cellbench.summary import summarise
from tests.helpers.frames import design, evaluations, lognormal, runs, summary_of

LABELS = ("lstm", "gru", "rnn", "slow")
FACTORS = {"lstm": 500.0, "gru": 500.0, "rnn": 250.0, "slow": 1200.0}


def test_cells_that_differ_are_told_apart() -> None:
    """rnn is the first and slow the last for sure; lstm and gru are alike, and share the middle."""
    table = summary_of(LABELS, FACTORS).ranking.set_index("cell")
    assert table.loc["rnn", ["rank", "rank_low", "rank_high"]].tolist() == [1, 1, 1]
    assert table.loc["slow", ["rank", "rank_low", "rank_high"]].tolist() == [4, 4, 4]
    for label in ("lstm", "gru"):
        assert table.loc[label, ["rank_low", "rank_high"]].tolist() == [2, 3]
    assert table.index.tolist()[0] == "rnn"
    assert table["ratio"].is_monotonic_increasing


def test_a_cell_with_fewer_seeds_is_compared_over_those_in_common() -> None:
    """slow ran 4 of 10 seeds: what can be said of it rests on these, and the others keep all."""
    plan = design(labels=LABELS)
    table = runs(plan, lognormal(FACTORS, sd=0.1))
    late = (table["label"] == "slow") & (table["seed"] >= 4)
    table.loc[late, ["status", "steps_to_solved"]] = ["missing", math.nan]
    found = summarise(table, evaluations(plan, table), plan).ranking.set_index("cell")
    assert found["seeds"].to_dict() == {"lstm": 10, "gru": 10, "rnn": 10, "slow": 4}
    assert found.loc["rnn", ["rank_low", "rank_high"]].tolist() == [1, 1]
    assert found.loc["slow", "rank_high"] == 4


def test_the_baseline_does_not_matter() -> None:
    """Another baseline shifts the ratios and no rank."""
    one, two = (summary_of(LABELS, FACTORS, baseline=label).ranking.set_index("cell") for label in ("lstm", "slow"))
    ranks = ["rank_low", "rank_high"]
    pd.testing.assert_frame_equal(one[ranks].loc[list(LABELS)], two[ranks].loc[list(LABELS)])


@pytest.mark.parametrize("how", ["failed", "diverged"])
def test_a_cell_without_a_speed_has_no_rank(how: str) -> None:
    """It is listed last, and the others are ranked among themselves, also where it is the baseline."""
    for gone in ("gru", "lstm"):
        plan = design(labels=LABELS)
        table = runs(plan, lognormal(FACTORS))
        of_it = table["label"] == gone
        table.loc[of_it, ["status", "steps_to_solved", "cause"]] = [how, math.nan, "cell" if how == "failed" else ""]
        table["traceback"] = "Traceback\nValueError: no"
        found = summarise(table, evaluations(plan, table), plan).ranking
        assert found["cell"].tolist()[-1] == gone
        assert found["rank"].isna().tolist() == [False] * 3 + [True]
        assert found["rank"].tolist()[:3] == [1, 2, 3]
        assert found["rank_high"].max() == 3
