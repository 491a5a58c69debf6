"""Options that are tuned: from a file to the report, against an experiment that lists each choice by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cellbench
from cellbench.results import load, several
from cellbench.statistics.learning_rate import tuned
from cellbench.summary import Design, summarise
from tests.helpers.commands import TINY, Command
from tests.helpers.frames import design, evaluations, runs

Write = Callable[..., Path]

RATES = [0.02, 0.05]
EASY: dict[str, Any] = {
    "engine": "auto",
    "grid": {"bits": 2, "batch_size": 16, "hidden_size": 6},
    "seeds": 5,
    "train": {"max_steps": 300},
    "baseline": "lstm",
}
CELLS = [
    {"name": "lstm", "tune": {"options.forget_bias": [-2, 1]}},
    {"name": "gru", "tune": {"learning_rate": [0.01, 0.02, 0.05, 0.1]}},
]


@pytest.fixture
def folder(write: Write, command: Command) -> Path:
    path = write("a.yaml", name="a", cells=CELLS, learning_rate=RATES, **EASY)
    ended = command("run", path, "--quiet", "--workers", 1)
    assert ended.status == 0, ended.err
    return Path("results/a")


def test_the_numbers_are_those_of_choices_listed_by_hand(folder: Path, write: Write, command: Command) -> None:
    """One cell per choice, trained anew, laid side by side: the pick over both choices and rates gives our numbers."""
    by_hand = [{"name": "lstm", "label": f"by {bias}", "options": {"forget_bias": bias}} for bias in (-2, 1)]
    keys = {**EASY, "baseline": None}
    path = write("b.yaml", name="b", cells=by_hand, learning_rate=RATES, **keys)
    assert command("run", path, "--quiet", "--workers", 1, "--results", "other").status == 0
    table = load(Path("other/b")).runs
    order = [(f"by {bias}", rate) for bias in (-2, 1) for rate in RATES]
    wide = table.assign(steps=table["steps_to_solved"].astype("float64").fillna(np.inf).clip(upper=300))
    wide = wide.pivot(index="seed", columns=["label", "learning_rate"], values="steps")[order]
    hits = table.pivot(index="seed", columns=["label", "learning_rate"], values="final_sequence_accuracy")[order]
    y = np.log(wide.to_numpy())
    found = tuned(y, hits.to_numpy(), np.array(RATES * 2))
    assert found is not None
    ours = load(folder)
    (row,) = ours.summary[(ours.summary["cell"] == "lstm") & (ours.summary["at"] == "tuned")].to_dict("records")
    assert row["typical_steps"] == pytest.approx(float(np.exp(found.estimate(y).centre)), rel=1e-12)
    label, rate = order[found.picked]
    assert (row["picked_options"], row["picked"]) == (f"forget_bias={label.removeprefix('by ')}", rate)
    assert row["picked_share"] == pytest.approx(found.share)
    mine = ours.runs[ours.runs["label"] == "lstm"]
    assert sorted(mine["key"]) == sorted(table["key"])


def test_every_report_names_the_settings(folder: Path, command: Command) -> None:
    """How many were tried stands beside each cell, and which was picked: terminal, summary.md, CSV and LaTeX."""
    cells = pd.read_csv(folder / "summary.csv")
    picked = cells[cells["at"] == "tuned"].set_index("cell")
    words = f"{picked.loc['lstm', 'picked_options']} at {picked.loc['lstm', 'picked']:g}"
    shown = " ".join(command("report", folder).out.split())
    first = shown.partition(", gradients")[0]
    assert "2 cells, 1 point, 5 seeds; adam at learning rates" in first
    assert first.count("settings") == 1
    assert "each cell tried at 4 settings of options and learning rate" in first
    assert f"lstm 4 ({words}), gru 4 ({picked.loc['gru', 'picked']:g})" in shown
    text = (folder / "summary.md").read_text()
    table = [[cell.strip() for cell in line.split("|")][-3:-1] for line in text.splitlines() if line.startswith("| ")]
    assert table[0] == ["settings tried", "picked"]
    assert ["4", words] in table
    assert (cells["at"] == "rate").sum() == 2 * 4
    runs = pd.read_csv(folder / "runs.csv", keep_default_na=False)
    assert set(runs["label"]) == {"lstm", "gru"}
    assert set(runs.loc[runs["label"] == "lstm", "options"]) == {"forget_bias=-2", "forget_bias=1"}
    assert set(runs.loc[runs["label"] == "gru", "options"]) == {""}
    curves = pd.read_csv(folder / "curves.csv", keep_default_na=False)
    assert not curves.duplicated(["label", "options", "learning_rate", "seed", "step"]).any()


@pytest.mark.charts
def test_the_page_says_what_was_tried(folder: Path) -> None:
    """And draws what it can: one point per rate and cell, at the options that were picked."""
    found = load(folder)
    from cellbench.summary.figures import Figures

    figures = Figures(found.report.summary, found.report.runs, found.report.curves, {})
    rates = figures.rates[(figures.rates["kind"] == "rate") & (figures.rates["point"] != "all points")]
    assert rates.groupby("cell")["learning_rate"].apply(list).to_dict() == {
        "lstm": RATES,
        "gru": [0.01, 0.02, 0.05, 0.1],
    }
    assert figures.tuning["tried"].max() == 4
    page = (folder / "report.html").read_text()
    assert "4 settings tried: forget_bias=-2; forget_bias=1; rates 0.02, 0.05. Picked: forget_bias=" in page


def test_one_replica_can_be_shown(folder: Path, command: Command, write: Write) -> None:
    """Without a setting, at the one that was picked; `--only` takes the planned cell, as the report writes it."""
    cells = load(folder).summary
    (picked,) = cells[(cells["cell"] == "lstm") & (cells["at"] == "tuned")].to_dict("records")
    row = command("show", folder, "label=lstm,seed=3")
    assert row.status == 0, row.err
    assert picked["picked_options"] in row.out
    other = command("show", folder, "label=lstm,seed=3,options=forget_bias=-2,learning_rate=0.05")
    assert other.status == 0, other.err
    part = command("run", "a.yaml", "--only", "cell=lstm forget_bias=1,seed=3", "--dry-run")
    assert part.out.startswith("a: 2 replicas, 2 of them done")
    labelled = write(
        "l.yaml", name="l", cells=[{"name": "lstm", "label": "mine", "tune": {"options.bias": [True, False]}}]
    )
    assert command("run", labelled, "--only", "cell=mine", "--dry-run").out.startswith("l: 4 replicas")
    assert command("run", labelled, "--only", "cell=mine bias=false", "--dry-run").out.startswith("l: 2 replicas")


def test_what_was_trained_without_tune_is_not_trained_again(write: Write, command: Command) -> None:
    """Choices have the keys of cells with these options: a stored folder goes on when `tune` is added."""
    cells = [{"name": "lstm", "options": {"forget_bias": 1}}]
    assert command("run", write(name="b", cells=cells), "--quiet", "--workers", 1).status == 0
    path = write(name="b", cells=["lstm"], tune={"options.forget_bias": [1]})
    assert command("run", path, "--dry-run").out.startswith("b: 2 replicas, 2 of them done")


def test_several_folders_and_merge(folder: Path, write: Write, command: Command) -> None:
    """A tuned cell beside one of another folder; the same label tried at other settings is another cell."""
    other = write("c.yaml", name="c", cells=["gru", "rnn"], learning_rate=RATES, **{**EASY, "baseline": "rnn"})
    assert command("run", other, "--quiet", "--workers", 1).status == 0
    found = several.report([folder, Path("results/c")])
    assert found.design.labels == ("lstm", "gru", "gru (c)", "rnn")
    assert [len(found.design.tried(label)) for label in found.design.labels] == [4, 4, 2, 2]
    alone = load(folder).summary
    both = found.summary.cells
    for label in ("lstm", "gru"):
        one, two = (frame[(frame["cell"] == label) & (frame["at"] == "tuned")].iloc[0] for frame in (alone, both))
        assert one["typical_steps"] == two["typical_steps"]


def test_shards_are_merged(write: Write, command: Command) -> None:
    """Two machines train half each."""
    path = write(name="a", cells=CELLS, learning_rate=RATES, **{**EASY, "train": {"max_steps": 20}})
    for number in (1, 2):
        part = command("run", path, "--quiet", "--workers", 1, "--shard", f"{number}/2", "--results", f"part{number}")
        assert part.status == 0, part.err
    assert command("merge", "whole", "part1/a", "part2/a").status == 0
    assert len(load(Path("whole")).runs) == 40


def test_python_takes_it_too() -> None:
    """`cellbench.run(tune={...})`."""
    given = {**TINY, "cells": ["lstm"], "learning_rate": [0.05]}
    del given["name"]
    found = cellbench.run(tune={"options.forget_bias": [0, 1]}, name="note", **given)
    assert set(found.runs["options"]) == {"forget_bias=0", "forget_bias=1"}
    assert "each cell tried at 2 settings" in " ".join(str(found).split())


def invented(settings: dict[str, list[tuple[str, float]]], **changes: Any) -> tuple[Design, pd.DataFrame]:
    """Steps of each cell at each of its settings, 100 more for each place in the list."""
    plan = design(labels=tuple(settings), learning_rates=(0.01,), settings=settings, **changes)
    parts = []
    for label, tried in settings.items():
        for place, (options, rate) in enumerate(tried):
            one = design(labels=(label,), learning_rates=(rate,), **changes)
            table = runs(one, lambda label, point, rate, seed, place=place: 200.0 + 100 * place + 10 * (seed % 3))
            parts.append(table.assign(options=options, multiply_adds=1000 * (1 + place)))
    return plan, pd.concat(parts, ignore_index=True)


def test_cells_with_unequal_budgets_do_not_mix() -> None:
    """A cell with one setting beside one with three: each is complete over its own, and the best is picked."""
    plan, table = invented({"lstm": [("", 0.01)], "gru": [("a=1", 0.01), ("a=1", 0.1), ("a=2", 0.01)]})
    scores = evaluations(plan, table)
    scores["options"] = ""
    scores.loc[scores["label"] == "gru", "options"] = "a=1"
    found = summarise(
        table, scores.drop_duplicates(["label", *plan.axes, "options", "learning_rate", "seed", "by", "value"]), plan
    )
    tuned_rows = found.cells[found.cells["at"] == "tuned"].set_index("cell")
    assert (tuned_rows["seeds"] == 10).all()
    assert set(tuned_rows.loc["gru", "picked_options"]) == {"a=1"}
    assert tuned_rows.loc["lstm", "typical_steps"].tolist() == tuned_rows.loc["gru", "typical_steps"].tolist()
    assert found.verdicts[0].verdict == "identical"
    across = found.comparisons[(found.comparisons["at"] == "across") & (found.comparisons["scope"] == "all")]
    mean = np.mean(
        [[np.log(200.0 + 100 * place + 10 * (seed % 3)) for place in range(3)] for seed in range(10)], axis=1
    )
    one = np.log([200.0 + 10 * (seed % 3) for seed in range(10)])
    assert across["ratio"].item() == pytest.approx(float(np.exp((mean - one).mean())))


def test_the_cost_is_that_of_the_setting_that_is_picked() -> None:
    """Options may change what a step costs: the picked setting is the first, and costs half of the second."""
    settings = {"lstm": [("", 0.01)], "gru": [("wide=false", 0.01), ("wide=true", 0.01)]}
    plan, table = invented(settings)
    found = summarise(table, evaluations(plan, table.drop(columns="options")).assign(options="").iloc[:0], plan)
    row = found.comparisons[(found.comparisons["metric"] == "multiply_adds") & (found.comparisons["scope"] == "all")]
    assert row["ratio"].item() == pytest.approx(1.0)
    assert found.overview.set_index("cell").loc["gru", "multiply_adds"] == pytest.approx(1000)


def test_seeds_until_decided_go_with_it(write: Write, command: Command) -> None:
    """A tuned cell is trained, at all of its choices, as long as its comparison is open; the report has it once."""
    keys = {**EASY, "seeds": {"from": 5, "to": 8}}
    ended = command("run", write("s.yaml", name="s", cells=CELLS, learning_rate=RATES, **keys), "--workers", 1)
    assert ended.status == 0, ended.err
    assert "of 1 decided" in ended.err
    found = load(Path("results/s"))
    seeds = found.runs[found.runs["status"] != "missing"].groupby(["label", "options"])["seed"].nunique()
    assert seeds.loc["lstm"].nunique() == 1
    assert seeds.loc["lstm"].iloc[0] in (5, 8)
    assert [verdict.cell for verdict in found.report.summary.verdicts] == ["gru"]
    again = command("run", "s.yaml", "--workers", 1)
    assert "0 of them done" not in again.out
    assert again.status == 0


def test_seeds_added_by_hand_are_looks_of_tuned_cells_too(write: Write, command: Command) -> None:
    """The second look at more seeds is counted, as for cells without `tune`."""
    for seeds in (4, 5):
        path = write("h.yaml", name="h", cells=CELLS, learning_rate=RATES, **{**EASY, "seeds": seeds})
        assert command("run", path, "--quiet", "--workers", 1).status == 0
    (past,) = [past for past in load(Path("results/h")).report.design.past if len(past.seeds[0]) == 4]
    assert past.labels == {"lstm", "gru"}
