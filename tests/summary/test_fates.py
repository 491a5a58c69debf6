"""Cells that failed, diverged or broke a law: a word of their own, and no ratio that misleads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cellbench.summary import Design, Summary, summarise
from tests.helpers.frames import design, evaluations, lognormal, runs

TRACEBACK = """mine (from /home/me/mine.py)
Traceback (most recent call last):
  File "/site-packages/cellbench/model/model.py", line 70, in step
    output, state = self.cell(x, state)
  File "<mine.py 0123456789ab>", line 12, in forward
    h = self.linear(both)
  File "/site-packages/torch/nn/modules/linear.py", line 125, in forward
    return F.linear(input, self.weight, self.bias)
RuntimeError: mat1 and mat2 shapes cannot be multiplied (5x8 and 6x4)

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/site-packages/cellbench/model/sizes.py", line 90, in measured
    return measure(model)
cellbench.errors.CellError: mine: one step raised
"""
SAID = "RuntimeError: mat1 and mat2 shapes cannot be multiplied (5x8 and 6x4) (mine.py, line 12)"
THREE = ("lstm", "gru", "mine")


def ended(plan: Design, label: str, status: str, share: float = 1.0, **more: Any) -> Summary:
    """An invented run in which a share of one cell's replicas ended so."""
    table = runs(plan, lognormal({"lstm": 400, "gru": 250, "mine": 400}))
    mine = table["label"] == label
    gone = mine & (np.arange(len(table)) % 20 < 20 * share)
    table["traceback"] = ""
    table["status"] = table["status"].mask(gone, status)
    table["cause"] = table["cause"].mask(gone & (status == "failed"), "cell")
    table["traceback"] = table["traceback"].mask(gone & (status == "failed"), TRACEBACK)
    table["steps_to_solved"] = table["steps_to_solved"].mask(gone, math.nan)
    table["diverged_at"] = table["diverged_at"].mask(gone & (status == "diverged"), 30.0 + table["seed"])
    return summarise(table, evaluations(plan, table), plan)


def main(found: Summary, metric: str = "steps") -> pd.DataFrame:
    rows = found.comparisons
    rows = rows[(rows["metric"] == metric) & (rows["scope"] == "all") & (rows["at"] == "tuned")]
    return rows[rows["by"] == ""].set_index("cell")


def test_failed() -> None:
    """The error, its line and place, and no ratio; the other cell's p is corrected for itself alone."""
    found = ended(design(labels=THREE), "mine", "failed")
    by_cell = {v.cell: v for v in found.verdicts}
    assert by_cell["mine"].verdict == "failed"
    assert by_cell["mine"].sentence == f"All 40 replicas of mine failed in its own code: {SAID}."
    rows = main(found)
    assert math.isnan(rows.loc["mine", "ratio"])
    assert math.isnan(rows.loc["mine", "p_holm"])
    assert rows.loc["gru", "p_holm"] == rows.loc["gru", "p"]
    assert by_cell["gru"].verdict == "faster"
    accuracies = found.comparisons[(found.comparisons["metric"] != "steps") & (found.comparisons["cell"] == "mine")]
    assert set(accuracies["verdict"]) == {"failed"}
    assert accuracies["p_holm"].isna().all()


def test_diverged() -> None:
    """The share and the first step."""
    found = ended(design(labels=THREE), "mine", "diverged")
    (mine,) = [v for v in found.verdicts if v.cell == "mine"]
    assert (mine.verdict, mine.sentence) == ("diverged", "All 40 replicas of mine diverged, the first at step 30.")
    assert math.isnan(main(found).loc["mine", "ratio"])


def test_in_part() -> None:
    """Where a part failed or diverged, the usual verdict says how many and why."""
    for status, said in (("failed", f"20 failed ({SAID})"), ("diverged", "20 diverged, the first at step 30")):
        found = ended(design(labels=THREE), "mine", status, share=0.5)
        (mine,) = [v for v in found.verdicts if v.cell == "mine"]
        assert mine.verdict == "slower"
        assert f"Of the 40 replicas of mine, {said}; they count as the whole budget." in mine.sentence


@pytest.mark.parametrize(("status", "word"), [("failed", "failed in its own code"), ("diverged", "diverged")])
def test_a_baseline_that_never_learned(status: str, word: str) -> None:
    """Nothing is faster than a baseline that failed or diverged throughout."""
    found = ended(design(labels=THREE), "lstm", status)
    assert {v.verdict for v in found.verdicts} == {"cannot tell"}
    assert all(f"All 40 replicas of lstm {word}" in v.sentence for v in found.verdicts)
    assert all(v.sentence.endswith("Nothing can be compared with it.") for v in found.verdicts)
    assert not set(found.comparisons["verdict"]) & {"faster", "slower", "higher", "lower", "equivalent"}


LAW = ("nothing is remembered outside the state (two answers)",)


def test_a_broken_law() -> None:
    """The ratio only describes, and is in no family; told to trust the cell, the usual verdict has a suffix."""
    steps = lognormal({"lstm": 400, "gru": 250, "mine": 250})

    def verdict(label: str = "mine", **changes: Any) -> tuple[Summary, Any]:
        plan = design(labels=THREE, broken_laws={label: LAW}, **changes)
        table = runs(plan, steps)
        found = summarise(table, evaluations(plan, table), plan)
        return found, next(v for v in found.verdicts if v.cell == "mine")

    found, mine = verdict()
    row = main(found).loc["mine"]
    assert mine.verdict == row["verdict"] == "broken law"
    assert mine.sentence.startswith(f"mine breaks 1 law of cells: {LAW[0]}. As a description: 0.6")
    assert mine.sentence.endswith("`--trust` makes it a verdict.")
    assert row["ratio"] < 0.7
    assert math.isnan(row["p_holm"])
    assert main(found).loc["gru", "p_holm"] == main(found).loc["gru", "p"]
    found, mine = verdict(trusted=True)
    assert mine.verdict == "faster despite a broken law"
    assert main(found).loc["mine", "p_holm"] > main(found).loc["mine", "p"]
    # a baseline that breaks one
    _, mine = verdict("lstm")
    assert mine.verdict == "cannot tell"
    assert mine.sentence == f"lstm breaks 1 law of cells: {LAW[0]}. Nothing can be compared with it."
    _, mine = verdict("lstm", trusted=True)
    assert mine.verdict == "faster despite a broken law"


def test_the_words_in_their_order() -> None:
    """A cell that failed and breaks a law too is `failed`."""
    plan = design(labels=THREE, broken_laws={"mine": LAW})
    for status in ("failed", "diverged"):
        (mine,) = [v for v in ended(plan, "mine", status).verdicts if v.cell == "mine"]
        assert mine.verdict == status
