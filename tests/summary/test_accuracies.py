"""Accuracies of one cell and of two: at the trained length, by what the task calls its parameters and difficulty."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cellbench.statistics.looks import looks
from cellbench.summary import summarise
from cellbench.summary.accuracies import ByCell, comparisons
from cellbench.summary.comparisons import scopes
from cellbench.summary.selection import METRICS, select
from tests.helpers.frames import design, evaluations, lognormal, runs

STEPS = lognormal({"lstm": 500, "gru": 400})
ONE = ((8,), (16,), ("hidden 4",))
ALL = "metric == 'sequence_accuracy' and scope == 'all' and by == 'chain'"


def luck(row, by) -> float:
    return float(np.random.default_rng([row["seed"], len(row["label"]), row["length"], len(by)]).uniform(0.5, 0.9))


def summary_of(accuracy, plan=None, grid=((8, 32), (16,), ("hidden 4", "hidden 20")), **more):
    plan = plan or design()
    table = runs(plan, STEPS, grid)
    return summarise(table, evaluations(plan, table, accuracy=accuracy, **more), plan)


def test_ten_perfect_seeds():
    """Ten of ten at 1.0 read 1.000 [0.69, 1.00], and a share of 100 % at 0.99 with Wilson's limits."""
    found = summary_of(lambda *_: 1.0, grid=ONE).accuracy.query(ALL).iloc[0]
    assert (found["mean"], found.high, found.least, found.share_99) == (1, 1, 1, 1)
    assert found.low == pytest.approx(0.69, abs=0.005)
    wilson = stats.binomtest(10, 10).proportion_ci(method="wilson")
    assert (found.share_99_low, found.share_99_high) == pytest.approx((wilson.low, wilson.high))


def test_means_are_over_points_within_a_seed():
    """All points: each seed's mean over points first, then mean, least and share over seeds."""
    found = summary_of(lambda row, by, value: luck(row, by))
    got = found.accuracy.query(f"{ALL} and cell == 'gru'").iloc[0]
    # the size does not enter the luck, so the mean over points is that over the two lengths
    x = [np.mean([luck({"seed": s, "label": "gru", "length": b}, "chain") for b in (8, 32)]) for s in range(10)]
    assert got["mean"] == pytest.approx(np.mean(x))
    assert got.least == pytest.approx(min(x))
    assert got.share_99 == 0
    draws = np.random.default_rng(0).dirichlet(np.ones(11), 9999)
    low = np.quantile(draws @ np.array([0, *sorted(x)]), 0.025)
    assert got.low == pytest.approx(low, abs=1e-8)


def test_every_evaluation_has_its_rows():
    """By what the evaluations are called, values in order, the trained length first; a rate's rows at points alone."""
    keys = [("chain", 16), ("length", 64), ("", math.nan), ("length", 8)]
    found = summary_of(lambda *_: 0.5, keys=keys).accuracy
    at_all = found.query("metric == 'bit_accuracy' and scope == 'all' and cell == 'lstm'")
    assert at_all["by"].tolist() == ["", "length", "length", "chain"]
    assert at_all["value"].tolist()[1:] == [8, 64, 16]
    assert pd.isna(at_all["value"].iloc[0])
    assert set(found.loc[found["at"] == "rate", "scope"]) == {"point"}
    assert (found["mean"].isin([0.5, 0.75])).all()


def test_two_cells_differ_in_percentage_points():
    """The paired t of scipy on each seed's mean over points."""

    def accuracy(row, by, value):
        return luck(row, by) - (0.1 if row["label"] == "gru" else 0.0)

    found = summary_of(accuracy).comparisons.query(f"{ALL}").iloc[0]
    x = {
        label: np.array(
            [
                np.mean([accuracy({"seed": s, "label": label, "length": b}, "chain", 16) for b in (8, 32)])
                for s in range(10)
            ]
        )
        for label in ("lstm", "gru")
    }
    test = stats.ttest_rel(100 * x["gru"], 100 * x["lstm"])
    limits = test.confidence_interval()
    assert (found.difference, found.difference_low, found.difference_high) == pytest.approx(
        (100 * (x["gru"] - x["lstm"]).mean(), limits.low, limits.high)
    )
    assert found.p == pytest.approx(test.pvalue)
    assert found.verdict == ("lower" if found.p_holm <= 0.05 else "no difference shown")
    assert math.isnan(found.ratio)


def test_fewer_than_six_seeds_that_differ():
    """At a ceiling most differences are 0: no interval and no p, in these words."""

    def accuracy(row, by, value):
        return 0.9 if row["label"] == "gru" and row["seed"] < 2 else 1.0

    found = summary_of(accuracy).comparisons.query(ALL).iloc[0]
    assert found.verdict == "no difference shown"
    assert found.notes == "no difference was shown: only 2 of 10 seeds differ"
    assert math.isnan(found.difference_low)
    assert math.isnan(found.p)
    assert found.difference == pytest.approx(-2.0)


def test_each_accuracy_table_is_a_family():
    """Holm over the cells and values of one table, not over tables."""
    plan = design(labels=("lstm", "gru", "other"))
    keys = [("length", 8), ("length", 64), ("chain", 4)]
    table = runs(plan, lognormal({"lstm": 500, "gru": 400, "other": 600}), ONE)
    trained = evaluations(plan, table, keys, lambda row, by, value: luck(row, by + "x" * int(value)))
    found = summarise(table, trained, plan).comparisons
    rows = found.query("metric == 'sequence_accuracy' and scope == 'all' and by == 'length'")
    assert len(rows) == 4
    assert rows["p_holm"].min() == pytest.approx(min(1, 4 * rows["p"].min()))


def test_accuracies_use_the_weights_picked_by_speed():
    """The rate is picked by steps; the tuned accuracy is that rate's, not the best accuracy's."""
    plan = design(learning_rates=(0.003, 0.01, 0.03))

    def steps(label, point, rate, seed):
        return {0.003: 900, 0.01: 300, 0.03: 600}[rate] + seed

    table = runs(plan, steps, ONE)
    trained = evaluations(plan, table, accuracy=lambda row, by, value: 0.5 if row["learning_rate"] == 0.01 else 1.0)
    found = summarise(table, trained, plan).accuracy
    assert (found.query(f"{ALL} and at == 'tuned'")["mean"] == 0.5).all()
    at_rate = found.query("metric == 'sequence_accuracy' and by == 'chain' and at == 'rate' and cell == 'gru'")
    assert at_rate["mean"].tolist() == [1.0, 0.5, 1.0]


def test_stopping_when_solved_is_said():
    """Models that stop at different steps are not compared in silence."""
    found = summary_of(lambda row, by, value: luck(row, by), plan=design(stop_when_solved=True))
    accuracies = found.comparisons[found.comparisons["metric"].str.endswith("accuracy")]
    assert accuracies["notes"].str.contains("at the step where each solved").all()
    assert any("at the step where each solved" in note for note in found.footnotes)


def test_outputs_that_are_not_finite_have_nothing_right():
    """A NaN accuracy of a replica that ran counts as 0."""

    def accuracy(row, by, value):
        return math.nan if row["seed"] == 0 and by == "length" else 1.0

    found = summary_of(accuracy, grid=ONE).accuracy.query("metric == 'sequence_accuracy' and scope == 'all'")
    assert found.query("by == 'length'")["mean"].tolist() == pytest.approx([0.9, 0.9])
    assert found.query("by == 'chain'")["mean"].tolist() == [1.0, 1.0]


def test_an_evaluation_of_some_points_alone():
    """A value that exists at one length only is averaged over the points that have it."""
    plan = design()
    table = runs(plan, STEPS)
    trained = evaluations(plan, table)
    trained = trained[(trained["by"] != "chain") | (trained["length"] == 32)]
    found = summarise(table, trained, plan)
    assert set(found.accuracy.query("by == 'chain'")["scope"]) == {
        "all",
        "length=32",
        "size=hidden 4",
        "size=hidden 20",
        "point",
    }
    assert found.comparisons.query(ALL)["points"].item() == 2


@pytest.mark.slow
@pytest.mark.parametrize("ceiling", [0.0, 0.4])
def test_staged_accuracies_of_cells_alike_are_seldom_told_apart(ceiling, record_property):
    """Two cells alike, looked at at 10, 20, 40 and 80 seeds: any claim at any look in at most 5 % of experiments."""
    labels = tuple(f"{name}{i}" for i in range(60) for name in ("a", "b"))
    plan = design(labels=labels, seeds=tuple(range(80)))
    grid = ((8,), (16,), ("hidden 4",))
    claims, pairs_tried = 0, 0
    for sample in range(10):
        rng = np.random.default_rng([sample, int(10 * ceiling)])

        def accuracy(row, by, value, rng=rng):
            return 1.0 if rng.random() < ceiling else float(rng.beta(6, 2))

        table = runs(plan, lambda *_: 500.0, grid)
        replicas = select(table, evaluations(plan, table, (("", math.nan),), accuracy), plan)
        scores, scope = ByCell(replicas), [s for s in scopes(replicas) if s.kind == "all"]
        for i in range(60):
            pair = (f"a{i}", f"b{i}")
            told = False
            for look in looks(10, [80]):
                rows = comparisons(scores, scope, [pair], {pair: look})
                told |= any(row["verdict"] in ("higher", "lower") for row in rows if row["metric"] == METRICS[0])
            claims, pairs_tried = claims + told, pairs_tried + 1
    share = claims / pairs_tried
    record_property("claims", round(share, 4))
    print(f"\naccuracies alike, {ceiling:.0%} at the ceiling, any claim at any look: {share:.4f}", end="")
    assert share <= 0.05
