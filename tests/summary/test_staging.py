"""Seeds until decided: what each look says, in which words, and what is trained next."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cellbench.report.screen import terminal
from cellbench.report.tables import markdown
from cellbench.summary import Summary, summarise
from cellbench.summary.plans import Past, Stages
from tests.helpers.frames import design, evaluations, runs

INF, NAN = math.inf, math.nan
ONE = ((8,), (16,), ("hidden 4",))
FOUR = ((8, 32), (16,), ("hidden 4", "hidden 20"))
PLAN = Stages(10, 80, (80,))


def staged(stages: Stages = PLAN, **changes: Any) -> Any:
    return design(seeds=tuple(range(stages.looks[-1].seeds)), stages=stages, **changes)


def luck(label: str, point: tuple[Any, ...], seed: int, sd: float) -> float:
    """The same for the same names."""
    return math.exp(sd * np.random.default_rng([seed, *f"{label}{point}".encode()]).standard_normal())


def steps(
    ratios: dict[str, float], sd: float = 0.1, there: dict[str, int] | None = None, base: float = 500.0
) -> Callable[..., float]:
    """Each cell about `base` times its ratio; of a cell in `there` only so many seeds are stored."""

    def of(label: str, point: tuple[Any, ...], rate: float, seed: int) -> float:
        if seed >= (there or {}).get(label, 10**6):
            return NAN
        t = base * ratios.get(label, 1.0) * luck(label, point, seed, sd)
        return INF if t >= 2000 else t

    return of


def summary_of(plan: Any, of: Callable[..., float], grid: Any = FOUR, keys: Any = (), **more: Any) -> Summary:
    table = runs(plan, of, grid)
    return summarise(table, evaluations(plan, table, keys, **more), plan)


def verdict(found: Summary, cell: str = "gru") -> Any:
    return next(v for v in found.verdicts if v.cell == cell)


def main_row(found: Summary, cell: str = "gru", metric: str = "steps") -> dict[str, Any]:
    frame = found.comparisons
    rows = frame[(frame["metric"] == metric) & (frame["scope"] == "all") & (frame["at"] == "tuned")]
    return rows[rows["cell"] == cell].iloc[0].to_dict()


def worked(label: str, point: Any, rate: float, seed: int) -> float:
    """The worked example of the method's page."""
    rng = np.random.default_rng(0)
    base = rng.normal(6, 0.2, 80)
    more = [rng.normal(0, sd, 80) for sd in (0.3, 0.3, 0.6)]
    y = {"base": base, "a": base - 0.5 + more[0], "c": base + more[1], "d": base + 0.1 + more[2]}
    return math.exp(y[label][seed])


def test_the_worked_example_in_full():
    """Numbers, words and sentences of three cells, one decided at 10 seeds, one at 40, one not by 80."""
    plan = staged(labels=("base", "a", "c", "d"), baseline="base", max_steps=10**6)
    found = summary_of(plan, worked, ONE)
    said = {cell: verdict(found, cell).sentence for cell in "acd"}
    assert said["a"].startswith(
        "a needs 0.61 times the steps of base (95 % over all looks 0.45 to 0.84; decided at 10 of at most 80 seeds, "
        "look 1 of 4; 1 point; p 0.009 after correction for looks and 3 comparisons)."
    )
    assert said["c"].startswith(
        "c and base need the same steps to within 0.80 to 1.25 (ratio 1.00, 90 % over all looks 0.90 to 1.12; decided "
        "at 40 of at most 80 seeds, look 3 of 4)."
    )
    assert said["d"].startswith(
        "No difference was shown in 80 seeds: the ratio lies between 0.87 and 1.26 (95 % over all looks). "
    )
    assert said["d"].endswith("This is not evidence that they are equal.")
    rows = {cell: main_row(found, cell) for cell in "acd"}
    limits = {c: [round(r[name], 4) for name in ("ratio", "ratio_low", "ratio_high")] for c, r in rows.items()}
    assert limits == {
        "a": [0.6111, 0.4472, 0.8350], "c": [1.0004, 0.8845, 1.1315], "d": [1.0444, 0.8653, 1.2605],
    }  # fmt: skip
    assert [(r["look"], r["looks"], r["share"], r["seeds"]) for r in rows.values()] == [
        (1, 4, 0.2, 10), (3, 4, 0.2, 40), (4, 4, 0.2, 80),
    ]  # fmt: skip
    assert round(rows["a"]["p_holm"], 4) == 0.0093
    assert round(rows["d"]["p_equivalent_holm"], 4) == 0.0683
    assert all(math.isnan(r["seeds_needed"]) for r in rows.values())
    assert math.isnan(rows["a"]["settles_at"])
    assert rows["d"]["settles_at"] > 80
    # p is of its look alone
    d = [math.log(worked("a", None, 0.01, s) / worked("base", None, 0.01, s)) for s in range(10)]
    assert rows["a"]["p"] == pytest.approx(stats.ttest_1samp(d, 0).pvalue)


def test_what_is_trained_next_is_what_is_open():
    """After the first look the decided cell keeps its ten seeds; the baseline and the open one go on."""
    of = steps({"gru": 0.6, "rnn": 1.0}, sd=0.5, there=dict.fromkeys(("lstm", "gru", "rnn"), 10))
    found = summary_of(staged(labels=("lstm", "gru", "rnn")), of)
    assert [v.verdict for v in found.verdicts] == ["faster", "open"]
    standing = found.standing
    assert standing is not None
    assert standing.stage is not None
    assert standing.stage.number == 2
    assert standing.targets == {"lstm": 20, "gru": 10, "rnn": 20}
    assert standing.in_stage == ["lstm", "rnn"]
    assert standing.complete == 10
    # the decided cell misses nothing; of the others ten seeds are still to come
    assert {missing.cell for missing in found.missing} == {"lstm", "rnn"}
    sentence = verdict(found, "rnn").sentence
    row = main_row(found, "rnn")
    low, high = (f"{row[name]:.2f}" for name in ("ratio_low", "ratio_high"))
    assert sentence == (
        f"Open at 10 of at most 80 seeds: the ratio lies between {low} and {high} (95 % over all looks). "
        "`cellbench run` goes on."
    )
    assert found.seeds == "10 seeds"


def test_everything_decided_ends_the_plan():
    """Nothing is open: no stage is next, and each cell keeps the seeds of its look."""
    of = steps({"gru": 0.5}, sd=0.3, there={"lstm": 10, "gru": 10})
    found = summary_of(staged(), of)
    assert found.standing is not None
    assert found.standing.stage is None
    assert found.standing.targets == {"lstm": 10, "gru": 10}
    assert not found.missing


def test_a_report_in_the_middle_of_a_stage_shows_the_last_complete_look():
    """7 of 10 seeds of the second stage are in: the numbers are those of the first look, byte for byte."""
    ratios = {"gru": 1.0}
    first = summary_of(staged(), steps(ratios, 0.5, there={"lstm": 10, "gru": 10}))
    middle = summary_of(staged(), steps(ratios, 0.5, there={"lstm": 20, "gru": 17}))
    assert verdict(first).verdict == "open"
    pd.testing.assert_frame_equal(first.comparisons, middle.comparisons)
    assert middle.standing is not None
    assert middle.standing.complete == 17
    assert middle.standing.targets == {"lstm": 20, "gru": 20}


def test_before_the_first_look_nothing_is_said():
    """Seven of the first ten seeds: no ratio, no p, no accuracy is compared."""
    of = steps({"gru": 0.3}, 0.1, there={"lstm": 10, "gru": 7})
    found = summary_of(staged(), of, keys=(("", NAN),))
    assert verdict(found).verdict == "open"
    assert verdict(found).sentence == "Not looked at yet: the first look is at 10 seeds. `cellbench run` goes on."
    frame = found.comparisons
    assert frame[["ratio", "p", "difference"]].isna().all().all()
    assert found.standing is not None
    assert found.standing.looked == 0
    assert "gru" in terminal(found, found.design)
    assert "open" in markdown(found, found.design)


def test_a_cell_that_is_behind_counts_as_a_comparison_all_the_same():
    """Three comparisons, one not yet there: Holm is over three, and what is decided so is decided with it too."""
    ratios = {"gru": 0.7, "rnn": 1.5, "new": 1.0}
    labels = ("lstm", "gru", "rnn", "new")
    middle = summary_of(staged(labels=labels), steps(ratios, 0.3, there={"new": 3}))
    whole = summary_of(staged(labels=labels), steps(ratios, 0.3))
    for found in (middle, whole):
        assert [verdict(found, cell).verdict for cell in ("gru", "rnn")] == ["faster", "slower"]
    assert "after correction for looks and 3 comparisons" in verdict(middle, "gru").sentence
    # the new cell alone is trained next, with the baseline, whose seeds are all there
    assert middle.standing is not None
    assert middle.standing.stage is not None
    assert middle.standing.stage.seeds == 10
    assert middle.standing.targets["new"] == 10


def test_seeds_beyond_a_look_change_nothing_of_it():
    """A comparison decided at 10 seeds reads the same whether 10 or 80 are stored."""
    ten = summary_of(staged(), steps({"gru": 0.6}, 0.3, there={"lstm": 10, "gru": 10}), keys=(("", NAN),))
    eighty = summary_of(staged(), steps({"gru": 0.6}, 0.3), keys=(("", NAN),))
    assert verdict(ten).verdict == "faster"
    pd.testing.assert_frame_equal(ten.comparisons, eighty.comparisons)
    # one cell's own numbers use all that is stored
    assert set(eighty.cells.loc[eighty.cells["at"] == "tuned", "seeds"]) == {80}


def test_all_seeds_at_once_say_what_stages_said():
    """The replay knows no history: 80 stored seeds give the verdict of the run that stopped at its look."""
    for ratio, sd in ((0.75, 0.4), (1.0, 0.2), (1.1, 0.6)):
        whole = summary_of(staged(), steps({"gru": ratio}, sd))
        seeds = int(main_row(whole)["seeds"])
        stopped = summary_of(staged(), steps({"gru": ratio}, sd, there={"lstm": seeds, "gru": seeds}))
        pd.testing.assert_frame_equal(whole.comparisons, stopped.comparisons)
        assert [v.sentence for v in whole.verdicts] == [v.sentence for v in stopped.verdicts]


def test_raising_the_cap_keeps_what_was_decided():
    """`to: 160` after 80: the decided comparison is as it was, the undecided one is open."""
    of = steps({"gru": 0.6, "rnn": 1.04}, 0.9, there=dict.fromkeys(("lstm", "gru", "rnn"), 80))
    labels = ("lstm", "gru", "rnn")
    before = summary_of(staged(labels=labels), of)
    after = summary_of(staged(Stages(10, 160, (80, 160)), labels=labels), of)
    assert [v.verdict for v in before.verdicts] == ["faster", "no difference shown"]
    assert [v.verdict for v in after.verdicts] == ["faster", "open"]
    names = ["ratio", "ratio_low", "ratio_high", "p", "p_holm", "look", "share"]
    assert [main_row(before)[n] for n in names] == [main_row(after)[n] for n in names]
    assert after.standing is not None
    assert after.standing.stage is not None
    assert (after.standing.stage.seeds, after.standing.stage.share) == (160, pytest.approx(0.1))


def test_a_lowered_cap_makes_no_looks_above_it():
    """`to: 40` after 80: the looks at 10, 20 and 40 keep the shares of the plan to 80."""
    lowered = Stages(10, 40, (80, 40))
    assert [(look.seeds, look.share) for look in lowered.looks] == [(10, 0.2), (20, 0.2), (40, 0.2)]
    found = summary_of(staged(lowered), steps({"gru": 1.05}, 0.9, there={"lstm": 40, "gru": 40}, base=200.0))
    assert verdict(found).verdict == "no difference shown"
    assert found.standing.stage is None


def test_a_cell_added_can_open_what_was_decided_by_little():
    """All looks are replayed with the larger family: the one way back, as with fixed seeds."""
    rng = np.random.default_rng(5)
    base = rng.normal(6, 0.05, 80)
    for shift in np.linspace(-0.25, -0.5, 60):
        y = {"lstm": base, "gru": base + shift + np.random.default_rng(1).normal(0, 0.3, 80)}
        d = (y["gru"] - y["lstm"])[:10]
        if 0.03 < stats.ttest_1samp(d, 0).pvalue / 0.2 <= 0.05:
            break
    else:
        pytest.fail("no shift is decided by little")

    def of(label, point, rate, seed):
        if label == "new":
            return NAN
        return math.exp(y[label][seed]) if seed < 10 else NAN

    plan = {"max_steps": 10**6}
    assert verdict(summary_of(staged(**plan), of, ONE)).verdict.startswith("faster")
    assert verdict(summary_of(staged(labels=("lstm", "gru", "new"), **plan), of, ONE)).verdict == "open"


def frames(plan: Any, of: Callable[..., float], grid: Any = FOUR, **columns: Callable[[dict], Any]) -> pd.DataFrame:
    table = runs(plan, of, grid)
    for name, value in columns.items():
        table[name] = [value(row) for row in table.to_dict("records")]
    return table


@pytest.mark.parametrize(("status", "cause", "word"), [("failed", "cell", "failed"), ("diverged", "", "diverged")])
def test_a_cell_that_could_not_learn_closes_at_its_first_look(status, cause, word):
    """It gets no more seeds and leaves the family: the other is corrected for looks alone."""
    plan = staged(labels=("lstm", "gru", "bad"))
    there = dict.fromkeys(("lstm", "gru", "bad"), 10)
    table = frames(
        plan, steps({"gru": 0.5}, 0.3, there=there),
        status=lambda r: status if r["label"] == "bad" and r["status"] != "missing" else r["status"],
        cause=lambda r: cause if r["label"] == "bad" and r["status"] == "failed" else "",
    )  # fmt: skip
    table.loc[table["status"].isin(["failed", "diverged"]), "steps_to_solved"] = NAN
    found = summarise(table, evaluations(plan, table, ()), plan)
    assert [v.verdict for v in found.verdicts] == ["faster", word]
    assert "after correction for looks)" in verdict(found).sentence
    assert found.standing is not None
    assert found.standing.stage is None


def test_a_broken_law_closes_at_the_first_look():
    """The cell is not trained on to 80 seeds for a description."""
    there = {"lstm": 10, "gru": 10}
    plan = staged(broken_laws={"gru": ("it keeps a state between batches",)})
    found = summary_of(plan, steps({"gru": 1.0}, 0.5, there=there))
    assert verdict(found).verdict == "broken law"
    assert found.standing.stage is None


def test_two_cells_that_never_solve_close_as_cannot_tell():
    """More of the dearest replicas would say no more."""
    found = summary_of(staged(), lambda *_: INF)
    assert verdict(found).verdict == "cannot tell"
    assert found.standing.targets == {"lstm": 10, "gru": 10}


def test_a_cell_that_never_solves_is_slower_at_the_first_look():
    """y is the budget throughout: decided at once, as a bound."""
    of = steps({"gru": 1.0}, 0.3, there={"lstm": 10, "gru": 10})
    never = lambda label, point, rate, seed: INF if label == "gru" and seed < 10 else of(label, point, rate, seed)  # noqa: E731
    found = summary_of(staged(), never)
    assert verdict(found).verdict == "slower"
    assert "at least" in verdict(found).sentence


def test_the_same_steps_close_as_identical():
    """Two labels of one cell."""
    found = summary_of(staged(), lambda label, point, rate, seed: NAN if seed >= 10 else 100.0 + seed)
    assert verdict(found).verdict == "identical"
    assert found.standing.stage is None


def test_a_budget_that_is_too_short_is_open_before_the_cap():
    """More seeds may show a difference; at the cap it is the word."""
    of = steps({"gru": 1.0}, 1.2, base=1500.0)

    def stored(seeds):
        return summary_of(staged(), lambda *x: NAN if x[-1] >= seeds else of(*x))

    assert verdict(stored(10)).verdict == "open"
    assert verdict(stored(80)).verdict == "cannot tell: the budget is too short"


def test_what_a_machine_lost_counts_as_stored():
    """The look is made with the seeds that both have, and says how many."""
    plan = staged()
    table = frames(plan, steps({"gru": 0.5}, 0.3, there={"lstm": 10, "gru": 10}))
    lost = (table["label"] == "gru") & (table["seed"] == 3)
    table.loc[lost, ["status", "cause", "steps_to_solved"]] = ["failed", "machine", NAN]
    found = summarise(table, evaluations(plan, table, ()), plan)
    assert verdict(found).verdict == "faster"
    assert main_row(found)["seeds"] == 9
    assert "9 of 10 seeds complete for both" in verdict(found).notes


def test_depends_on_is_decided_with_differ_by_share():
    """The order turns round with the size: decided at the first look, with intervals over all looks."""

    def of(label, point, rate, seed):
        if seed >= 10:
            return NAN
        factor = (0.5 if point[2] == "hidden 4" else 2.0) if label == "gru" else 1.0
        return 500 * factor * luck(label, point, seed, 0.2)

    found = summary_of(staged(), of)
    assert verdict(found).verdict == "depends on hidden_size"
    assert "95 % over all looks" in verdict(found).sentence
    assert "look 1 of 4" in verdict(found).sentence


def test_a_ratio_that_stopped_when_clear_of_one_says_so():
    """Its near limit is within the ratio of interest: likely nearer 1."""
    for seed in range(40):
        y = np.random.default_rng(seed).normal(-0.35, 0.35, 80)
        found = summary_of(
            staged(max_steps=10**6),
            lambda label, point, rate, s, y=y: math.exp(6 + (y[s] if label == "gru" else 0)), ONE,
        )  # fmt: skip
        row = main_row(found)
        if row["verdict"] == "faster" and row["ratio_high"] > 0.8:
            assert (
                f"stopped when clear of 1: likely nearer 1 than {row['ratio']:.2f}; what is shown is "
                f"{row['ratio_high']:.2f}"
            ) in " ".join(verdict(found).notes)
            return
    pytest.fail("none was decided by little")


def test_accuracies_are_read_at_the_look_of_steps():
    """Seeds and share are those of the comparison: the other 70 stored seeds change nothing, and p is divided."""
    keys = (("", NAN), ("length", 64))

    def accuracy(row, by, value):
        rng = np.random.default_rng([row["seed"], *row["label"].encode(), 7])
        return float(np.clip((0.7 if row["label"] == "gru" else 0.8) + 0.05 * rng.standard_normal(), 0, 1))

    plan = staged()
    found = summary_of(plan, steps({"gru": 0.6}, 0.3), keys=keys, accuracy=accuracy)
    assert main_row(found)["seeds"] == 10
    row = found.comparisons[
        (found.comparisons["metric"] == "sequence_accuracy") & (found.comparisons["scope"] == "all")
        & (found.comparisons["by"] == "")
    ].iloc[0]  # fmt: skip
    d = [
        100 * (accuracy({"seed": s, "label": "gru"}, "", 0) - accuracy({"seed": s, "label": "lstm"}, "", 0))
        for s in range(10)
    ]
    test = stats.ttest_1samp(d, 0)
    limits = test.confidence_interval(1 - 0.05 * 0.2)
    assert row["seeds"] == 10
    assert row["p"] == pytest.approx(test.pvalue)
    assert row["p_holm"] == pytest.approx(min(1, test.pvalue / 0.2))
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((limits.low, limits.high))


def by_hand(seeds: int, before: tuple[int, ...], ratio: float, sd: float) -> Summary:
    past = tuple(Past(frozenset(("lstm", "gru")), (frozenset(range(n)),), True) for n in before)
    plan = design(seeds=tuple(range(seeds)), past=past, max_steps=10**6)
    y = np.random.default_rng(3).normal(math.log(ratio), sd, seeds)
    return summary_of(plan, lambda label, p, r, s: math.exp(6 + (y[s] if label == "gru" else 0)), ONE)


def test_a_claim_that_holds_for_one_look_says_so():
    """Two looks came before: p counts eight times, and the word gets a suffix with the sentence that explains it."""
    for ratio in np.linspace(0.97, 0.8, 60):
        found, plain = by_hand(40, (10, 20), ratio, 0.3), by_hand(40, (), ratio, 0.3)
        p = main_row(plain)["p"]
        if 0.01 < p < 0.03:
            break
    word = verdict(plain).verdict
    assert verdict(found).verdict == f"{word} if looked at once"
    assert (
        f"10 and 20 seeds were looked at before these 40; as a third look this p counts as {8 * p:.2f}. "
        "`seeds: {from: 10, to: 80}` keeps the 5 %."
    ) in verdict(found).sentence
    # the numbers stay those of one look
    names = ["ratio", "ratio_low", "ratio_high", "p", "p_holm"]
    assert [main_row(found)[n] for n in names] == [main_row(plain)[n] for n in names]


def test_a_claim_that_survives_is_noted():
    """Far from 1 it holds as a third look too."""
    found = by_hand(40, (10, 20), 0.5, 0.3)
    assert verdict(found).verdict == "faster"
    assert "also as look 3" in verdict(found).notes


def test_an_earlier_look_whose_replicas_are_not_all_stored_was_none():
    """It was interrupted: nothing was looked at."""
    past = (Past(frozenset(("lstm", "gru")), (frozenset(range(20)),), True),)
    plan = design(seeds=tuple(range(40)), past=past)
    of = steps({"gru": 0.5}, 0.3, there={"gru": 15})
    assert "look" not in verdict(summary_of(plan, of)).sentence + " ".join(verdict(summary_of(plan, of)).notes)


def test_accuracies_of_a_cell_that_is_behind_count_too():
    """Its comparison has no row yet: the other's p after Holm is as if it had p = 1."""

    def accuracy(row, by, value):
        rng = np.random.default_rng([row["seed"], *row["label"].encode(), 7])
        return float(np.clip((0.68 if row["label"] == "gru" else 0.8) + 0.05 * rng.standard_normal(), 0, 1))

    def p_holm(labels):
        of = steps({"gru": 0.6}, 0.3, there={"new": 3})
        found = summary_of(staged(labels=labels), of, keys=(("", NAN),), accuracy=accuracy).comparisons
        found = found[(found["metric"] == "sequence_accuracy") & (found["scope"] == "all")]
        assert list(found["cell"]) == ["gru"]
        return found["p_holm"].iloc[0], found["p"].iloc[0]

    alone, p = p_holm(("lstm", "gru"))
    assert alone == pytest.approx(p / 0.2)
    assert p_holm(("lstm", "gru", "new")) == pytest.approx((min(1, 2 * p / 0.2), p))
