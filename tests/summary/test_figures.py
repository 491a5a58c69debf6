"""The frames of the figures: they say what the tables say, and the learning curves what was measured."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from cellbench.report.charts import all_figures
from cellbench.summary.curves import learning_curves, quartiles, thinned
from cellbench.summary.figures import ALL_POINTS, PICKED, Figures
from cellbench.summary.selection import select
from tests.helpers.frames import design, evaluations, lognormal, runs
from tests.helpers.reports import REFERENCES, curves, report

ONE_POINT = ((8,), (16,), ("hidden 4",))


@pytest.fixture(scope="module")
def figures() -> Figures:
    found = report()
    return Figures(found.summary, found.runs, found.curves, REFERENCES)


def of(frame: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    for column, value in wanted.items():
        frame = frame[frame[column] == value]
    return frame


@pytest.mark.parametrize("most", [2, 5, 10, 100])
def test_thinned_keeps_both_ends(most: int) -> None:
    """At most so many evaluations are drawn, the first and the last among them, in order."""
    steps = list(range(5, 2001, 5))
    found = thinned(steps, most)
    assert len(found) <= most
    assert found[0] == 0
    assert found[-1] == len(steps) - 1
    assert found == sorted(set(found))


def test_quartiles_are_numpys() -> None:
    """Where all is known they are numpy's quantiles; what is missing is left out."""
    values = np.random.default_rng(1).random((7, 10))
    low, middle, high, count = quartiles(values)
    assert np.stack([low, middle, high]) == pytest.approx(np.quantile(values, [0.25, 0.5, 0.75], axis=-1))
    assert (count == 10).all()
    values[:, 3] = math.nan
    known = np.delete(values, 3, axis=1)
    assert quartiles(values)[1] == pytest.approx(np.median(known, axis=-1))


def one(stop: bool = False, **status: object) -> tuple[object, pd.DataFrame, pd.DataFrame]:
    """Ten replicas of one cell at one point; five of them end at step 100, as `status` says."""
    plan = design(labels=("lstm",), stop_when_solved=stop)
    table = runs(plan, lambda label, point, rate, seed: 100.0, ONE_POINT)
    for name, value in status.items():
        table.loc[table["seed"] < 5, name] = value
    rows = curves(plan, table.assign(status="solved"))
    rows = rows[(rows["seed"] >= 5) | (rows["step"] <= 100)]
    rows["sequence_accuracy"] = np.where(rows["seed"] < 5, 0.3, 0.8)
    return select(table, evaluations(plan, table), plan), table, rows


@pytest.mark.parametrize(
    ("status", "stop", "seeds", "least"),
    [
        ({"status": "diverged", "steps_to_solved": math.nan}, False, 10, 0.0),
        ({"status": "solved", "diverged_at": 101.0}, False, 10, 0.0),
        ({"status": "failed", "cause": "cell", "steps_to_solved": math.nan}, False, 10, 0.0),
        ({"status": "failed", "cause": "machine", "steps_to_solved": math.nan}, False, 5, 0.8),
        ({"status": "missing", "steps_to_solved": math.nan}, False, 5, 0.8),
        ({"status": "solved"}, True, 10, 0.3),
    ],
    ids=["diverged", "solved, then diverged", "failed in its code", "machine", "missing", "stopped when solved"],
)
def test_what_a_curve_that_ends_counts_as(status: dict[str, object], stop: bool, seeds: int, least: float) -> None:
    """Diverged: accuracy 0 from there on; stopped when solved: its last value; missing: left out."""
    replicas, _, rows = one(stop, **status)
    found = of(learning_curves(replicas, rows), metric="sequence_accuracy", step=2000).iloc[0]
    assert found["seeds"] == seeds
    expected = np.quantile([0.8] * 5 + [least] * (seeds - 5), [0.25, 0.5, 0.75])
    assert list(found[["low", "middle", "high"]]) == pytest.approx(list(expected))


def test_a_lost_loss_is_not_drawn() -> None:
    """Once half of the replicas diverged the median loss is infinite, and no number."""
    plan = design(labels=("lstm",))
    table = runs(plan, lambda label, point, rate, seed: math.inf, ONE_POINT)
    rows = curves(plan, table)
    table.loc[table["seed"] < 6, "status"] = "diverged"
    rows = rows[(rows["seed"] >= 6) | (rows["step"] <= 100)]
    found = learning_curves(select(table, evaluations(plan, table), plan), rows)
    late = of(found, metric="loss", step=2000).iloc[0]
    assert math.isnan(late["middle"])
    assert late["seeds"] == 10
    assert of(found, metric="sequence_accuracy", step=2000)["middle"].iloc[0] == 0


def test_curves_are_what_was_measured(figures: Figures) -> None:
    """A drawn median is the median of curves.csv; the picked rate is the one of summary.csv."""
    picked = figures.summary.cells.query("at == 'tuned' and cell == 'gru' and length == 8 and size == 'hidden 4'")
    rate = picked["picked"].iloc[0]
    drawn = of(figures.curves, kind="curve", cell="gru", point="length=8, batch 16, hidden 4", rate="picked",
               metric="loss")  # fmt: skip
    assert set(drawn["learning_rate"]) == {rate}
    raw = figures.raw_curves.query(f"label == 'gru' and length == 8 and size == 'hidden 4' and learning_rate == {rate}")
    for row in drawn.iloc[::5].to_dict("records"):
        expected = raw[raw["step"] == row["step"]]["loss"].quantile([0.25, 0.5, 0.75])
        assert [row["low"], row["middle"], row["high"]] == pytest.approx(list(expected))


def test_reference_lines_stand_at_their_points(figures: Figures) -> None:
    """The window predictors of a point are those of its own length, on bit accuracy."""
    lines = of(figures.curves, kind="reference", point="length=8, batch 16, hidden 20")
    assert dict(zip(lines["name"], lines["middle"], strict=True)) == REFERENCES["length=8"]
    assert set(lines["metric"]) == {"bit_accuracy"}


def test_forest_and_heat_say_what_comparisons_say(figures: Figures) -> None:
    """The same ratios and limits, each scope once."""
    steps = figures.summary.comparisons
    steps = steps[steps["metric"] == "steps"]
    forest = of(figures.forest, row=ALL_POINTS, at="tuned").set_index("cell")
    main = of(steps, scope="all", at="tuned").set_index("cell")
    pd.testing.assert_frame_equal(
        forest[["ratio", "low", "high"]],
        main[["ratio", "ratio_low", "ratio_high"]].set_axis(["ratio", "low", "high"], axis=1),
    )
    assert len(figures.forest) == len(steps[steps["scope"] != "point"])
    assert figures.heat["ratio"].tolist() == of(steps, scope="point")["ratio"].tolist()


def test_solved_ends_at_the_tables_share(figures: Figures) -> None:
    """A point's last share is the table's; that of all points their mean; only changes are kept."""
    tuned = of(figures.solved, kind="curve", rate="tuned")
    last = tuned[tuned["step"] == 2000].set_index(["cell", "point"])["share"]
    cells = figures.summary.cells.query("at == 'tuned'")
    for label in figures.design.labels:
        shares = cells[cells["cell"] == label]["solved"].to_numpy()
        assert last.loc[label].drop(ALL_POINTS).to_numpy() == pytest.approx(shares)
        assert last.loc[label, ALL_POINTS] == pytest.approx(shares.mean())
    inner = tuned[(tuned["step"] > 5) & (tuned["step"] < 2000)]
    assert (inner.groupby(["cell", "point"])["share"].diff().dropna() > 0).all()


def test_censoring_is_marked_where_not_all_solved() -> None:
    """A tick where the budget cut some off, and none where all solved."""
    found = report(("lstm", "gru"), lambda label, point, rate, seed: math.inf if label == "gru" and seed < 2 else 90.0)
    figures = Figures(found.summary, found.runs, found.curves, {})
    ticks = of(figures.solved, kind="censored", rate="tuned", point=ALL_POINTS)
    assert ticks["cell"].tolist() == ["gru"]
    assert ticks["share"].iloc[0] == pytest.approx(0.8)


def test_rates_show_what_sometimes_fails() -> None:
    """A rate at which a seed never solved is not sure, however fast; its seeds are there one by one."""
    found = report(("lstm",), lambda label, point, rate, seed: math.inf if rate == 0.1 and seed == 3 else 40.0)
    figures = Figures(found.summary, found.runs, found.curves, {})
    here = of(figures.rates, point="length=8, batch 16, hidden 4")
    sure = of(here, kind="rate").set_index("learning_rate")["sure"]
    assert dict(sure) == {0.01: "yes", 0.03: "yes", 0.1: "no"}
    never = of(here, kind="never")
    assert never[["learning_rate", "seed", "steps"]].to_numpy().tolist() == [[0.1, 3, 2000]]
    assert len(of(here, kind="solved")) == 29


def test_rates_over_all_points_average_within_seeds(figures: Figures) -> None:
    """The pooled number is the geometric mean of the points' typical steps; its limits hold it."""
    pooled = of(figures.rates, kind="rate", point=ALL_POINTS, cell="lstm", learning_rate=0.03).iloc[0]
    each = figures.summary.cells.query("at == 'rate' and cell == 'lstm' and learning_rate == 0.03")
    assert pooled["steps"] == pytest.approx(float(np.exp(np.log(each["typical_steps"]).mean())))
    assert pooled["low"] < pooled["steps"] < pooled["high"]
    assert pooled["share"] == pytest.approx(each["solved"].mean())


def test_cost_of_a_step(figures: Figures) -> None:
    """Microseconds are the median of seconds a step; work is typical steps times multiply-adds."""
    here = of(figures.cost, cell="gru", point="length=8, batch 16, hidden 4").set_index("measure")
    assert here.loc["microseconds", "value"] == pytest.approx(figures.runs["seconds"].iloc[0] / 2000 * 1e6)
    assert here.loc["work", "value"] == pytest.approx(here.loc["work", "typical_steps"] * 1000)
    # over all points: one row per size that the cell has, and the geometric mean of its points
    pooled = of(figures.cost, cell="gru", point=ALL_POINTS, measure="parameters").set_index("size")
    assert list(pooled.index) == ["hidden 4", "hidden 20"]
    for size, row in pooled.iterrows():
        points = of(figures.cost, cell="gru", size=size, measure="parameters")
        points = points[points["point"] != ALL_POINTS]
        assert row["typical_steps"] == pytest.approx(math.exp(np.log(points["typical_steps"]).mean()))
        assert points["value"].tolist() == pytest.approx([row["value"]] * len(points))


def test_hidden_size_is_drawn_where_there_are_several() -> None:
    """A curve over hidden sizes needs more than one; the invented experiment has one."""
    found = report(("lstm", "gru"), lognormal({"lstm": 500, "gru": 400}), learning_rates=(0.01,))
    wider = found.runs.assign(hidden_size=[int(size.split()[1]) for size in found.runs["size"]])
    for table, there in ((found.runs, False), (wider, True)):
        drawn = {f.name: f for f in all_figures(Figures(found.summary, table, found.curves, {}))}
        assert ("size" in drawn) == there
    assert sorted(set(drawn["size"].frame["value"])) == [4, 20]


def test_differences_are_what_was_tested(figures: Figures) -> None:
    """The mean and limits of comparisons.csv, and dots whose mean it is where one rate was tried."""
    found = report(("lstm", "gru"), lognormal({"lstm": 500, "gru": 1900}, sd=0.6), learning_rates=(0.01,))
    drawn = Figures(found.summary, found.runs, found.curves, {}).differences("length")
    table = found.summary.comparisons
    table = table[(table["metric"] == "sequence_accuracy") & (table["by"] == "length") & (table["scope"] == "all")]
    here = of(drawn, point=ALL_POINTS, metric="sequence_accuracy")
    means = of(here, kind="mean")
    assert means["low"].tolist() == table["difference_low"].tolist()
    assert means["corrected_high"].tolist() == table["corrected_high"].tolist()
    for value, mean in zip(means["value"], means["difference"], strict=True):
        dots = of(here, kind="seed", value=value)
        assert len(dots) == 10
        assert mean == pytest.approx(dots["difference"].mean())


def test_single_seeds_are_drawn_at_the_picked_rate(figures: Figures) -> None:
    """Each seed's own curve, as it was measured."""
    singles = of(figures.curves, kind="seed", cell="gru", metric="sequence_accuracy")
    assert set(singles["rate"]) == {PICKED}
    assert singles["seed"].nunique() == 10
    row = singles.iloc[-1]
    raw = figures.raw_curves
    (length, batch, hidden) = row["point"].split(", ")
    same = raw[(raw["label"] == "gru") & (raw["seed"] == row["seed"]) & (raw["step"] == row["step"])
               & (raw["learning_rate"] == row["learning_rate"]) & (raw["size"] == hidden)
               & (raw["length"] == int(length.split("=")[1]))]  # fmt: skip
    assert batch == "batch 16"
    assert same["sequence_accuracy"].tolist() == [row["middle"]]


def test_order_is_by_ratio_with_the_baseline_first() -> None:
    """What is drawn when there are too many cells: the baseline, then the fastest."""
    found = report(("slow", "lstm", "fast"), lognormal({"slow": 900, "lstm": 400, "fast": 200}))
    assert Figures(found.summary, found.runs, found.curves, {}).order == ("lstm", "fast", "slow")
