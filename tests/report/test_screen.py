"""The text on a terminal: as wide as it is, one screen high, with the answer last."""

from __future__ import annotations

import math
import re

import pytest

from cellbench.report.screen import terminal, wider
from cellbench.summary import summarise
from cellbench.wording import NARROWEST, printable, width
from tests.helpers.frames import design, evaluations, runs, summary_of


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 200])
def test_fits_its_width(columns):
    """With long names, long numbers and many cells; the command to go on is whole, however wide it is."""
    labels = ["lstm", "a-very-long-name-of-a-cell-" * 4, *(f"cell-number-{i}" for i in range(20))]
    plan = design(labels=tuple(labels), max_steps=20_000_000, learning_rates=(0.001, 0.01))

    def steps(label, point, rate, seed):
        return 1_234_567.0 * (1 + seed) * (1 + labels.index(label) / 9) * (2 if rate == 0.001 else 1)

    table = runs(plan, steps)
    lines = terminal(summarise(table, evaluations(plan, table), plan), plan, columns).splitlines()
    assert max(len(line) for line in lines if not line.startswith("  cellbench ")) <= columns


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 50)])
def test_one_screen_with_the_own_cell_last(columns, rows):
    """Four cells, one of them the user's: what was run, the table, and that cell's verdict last."""
    found = summary_of(labels=("lstm", "rnn", "gru", "Mine"), own=("Mine",))
    lines = terminal(found, found.design, columns).splitlines()
    (verdict,) = [v for v in found.verdicts if v.cell == "Mine"]
    assert len(lines) + 2 <= rows, "with the page's line and the prompt"
    assert " ".join(" ".join(lines).split()).endswith(f"Mine: {verdict.headline}. {verdict.sentence}")
    assert "rnn: " not in "\n".join(lines), "the others are in the table"
    table = [i for i, line in enumerate(lines) if line.startswith("Mine")]
    assert table[0] > len(lines) / 4


def test_says_the_verdicts():
    """A row for each cell; of few cells every verdict in words, and that there are notes elsewhere."""
    found = summary_of()
    text = terminal(found, found.design)
    flat = " ".join(text.split())
    for verdict in found.verdicts:
        assert f"{verdict.cell}: {verdict.headline}. {verdict.sentence}" in flat
    assert re.search(r"^lstm\s+100 %.*1 \(baseline\)", text, re.MULTILINE)
    assert "notes on how sure this is: on the page, and in summary.md." in flat


@pytest.mark.parametrize(("said", "expected"), [("132", 132), ("7", NARROWEST), ("", 80), ("no", 80)])
def test_the_width_is_that_of_columns(said, expected, monkeypatch):
    """COLUMNS counts without a terminal too; without both it is 80."""
    monkeypatch.setenv("COLUMNS", said)
    assert width() == expected


def test_missing_is_said():
    """How many points of single cells, and the first of them."""
    plan = design()
    table = runs(plan, lambda label, point, rate, seed: math.nan if seed > 7 else 300.0 + seed)
    found = summarise(table, evaluations(plan, table), plan)
    flat = " ".join(terminal(found, plan).split())
    assert re.search(
        r"Missing at \d+ points of single cells, first lstm at length=8, batch 16, hidden 4: 2 not run", flat
    )


def test_control_characters_never_reach_it():
    """A name cannot move the cursor or colour the text."""
    assert "\x1b" not in printable("\x1b[2Jevil\r\n")
    evil = "x\x1b[31mred"
    found = summary_of(labels=("lstm", evil), factors={evil: 350})
    text = terminal(found, found.design)
    assert "\x1b" not in text
    assert "[31mred" in text


def test_a_wider_range_is_offered():
    """Where a verdict is limited by the rates tried, what was typed is offered again with more rates."""
    rates = (0.003, 0.01, 0.03)
    plan = design(command="cellbench run 'my runs.yaml'", learning_rates=rates)
    table = runs(
        plan, lambda label, point, rate, seed: (300 + 10 * seed + (90 if label == "gru" else 0)) * (0.03 / rate)
    )
    found = summarise(table, evaluations(plan, table), plan)
    line = "cellbench run 'my runs.yaml' --set learning_rate='[0.003, 0.01, 0.03, 0.1]'"
    assert wider(found, plan) == line
    assert line in terminal(found, plan)
