"""summary.md and the terminal's text: layout, escaping, width; every number comes from the summary."""

from __future__ import annotations

import math
import re

import pytest

from cellbench.report.tables import WIDTH, escape, markdown, printable, terminal, wider
from cellbench.summary import Summary, summarise
from tests.helpers.frames import design, evaluations, lognormal, runs

UGLY = "a|b<script>alert(1)</script>\n# _x_ [link](http://x) `c`"


def summary_of(labels=("lstm", "gru", "rnn"), factors=None, **changes) -> Summary:
    plan = design(labels=tuple(labels), **changes)
    medians = dict.fromkeys(labels, 500) | (factors or {"gru": 350, "rnn": 700})
    table = runs(plan, lognormal({label: medians[label] for label in labels}))
    return summarise(table, evaluations(plan, table), plan)


def tables_of(text: str) -> list[list[list[str]]]:
    """The Markdown tables as rows of cells, split as a renderer splits them."""
    found, rows = [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif rows:
            found.append(rows)
            rows = []
    return found


def test_terminal_fits_its_width():
    """At most 100 columns, with long names, long numbers and many cells."""
    labels = ["lstm", "a-very-long-name-of-a-cell-" * 4, *(f"cell-number-{i}" for i in range(20))]
    plan = design(labels=tuple(labels), max_steps=20_000_000, learning_rates=(0.001, 0.01))

    def steps(label, point, rate, seed):
        return 1_234_567.0 * (1 + seed) * (1 + labels.index(label) / 9) * (2 if rate == 0.001 else 1)

    table = runs(plan, steps)
    text = terminal(summarise(table, evaluations(plan, table), plan), plan)
    assert max(map(len, text.splitlines())) <= WIDTH


def test_terminal_says_the_verdicts():
    """A row for each cell, the verdict in its exact words, every sentence and note."""
    found = summary_of()
    text = terminal(found, found.design)
    flat = " ".join(text.split())
    for verdict in found.verdicts:
        assert f"{verdict.cell}: {verdict.headline}. {verdict.sentence}" in flat
        assert all(finding.clause in flat for finding in verdict.findings)
        assert all(" ".join(note.split()) in flat for note in verdict.notes)
    assert re.search(r"^lstm\s+100 %.*1 \(baseline\)", text, re.MULTILINE)


def test_markdown_leads_with_the_verdicts():
    """Sentences on top, then tables, then what is missing and how to read this."""
    found = summary_of()
    text = markdown(found, found.design)
    assert text.startswith(
        "# invented\n\ninvented_task, adam at learning rate 0.01, gradients clipped to norm 1.\n\n- **gru: "
    )
    order = [
        text.index(part)
        for part in (
            "**gru: faster in steps; cost to solve: cheaper, 0.",
            "## All points",
            "## Each point",
            "## How to read this",
        )
    ]
    assert order == sorted(order)
    assert found.how_to_read in text
    assert all(note in text for note in found.footnotes)


def test_tables_hold_the_summarys_numbers_rounded():
    """Ratios to two decimals, steps to whole numbers, shares in percent."""
    found = summary_of()
    first = tables_of(markdown(found, found.design))[0]
    row = dict(zip(first[0], next(r for r in first if r[0] == "gru"), strict=True))
    main = found.comparisons.query("metric == 'steps' and scope == 'all' and at == 'tuned' and cell == 'gru'").iloc[0]
    whole = found.overview.set_index("cell").loc["gru"]
    assert row["ratio of steps"] == f"{main.ratio:.2f} [{main.ratio_low:.2f}, {main.ratio_high:.2f}]"
    assert row["typical steps"] == f"{whole.typical_steps:.0f} [{whole.typical_low:.0f}, {whole.typical_high:.0f}]"
    assert row["solved"] == "100 %"
    assert row["verdict"] == "faster"


def test_names_from_plugins_are_escaped_in_markdown():
    """No name opens a tag, a link, a heading or a cell of a table; every row keeps its columns."""
    found = summary_of(labels=("lstm", UGLY), factors={UGLY: 350})
    text = markdown(found, found.design)
    assert "<script" not in text
    assert not re.search(r"^# _x_", text, re.MULTILINE)
    assert not re.search(r"(?<!\\)\[link(?<!\\)\]\(", text)
    for table in tables_of(text):
        assert {len(row) for row in table} == {len(table[0])}
    assert r"a\|b&lt;script>" in text


def test_escape_keeps_words_readable():
    """Verdicts and axes stay as they are: a reader of the raw file sees the exact words."""
    for plain in (
        "depends on hidden_size",
        "p < 0.001 after correction for 5 comparisons",
        "95 % interval 0.66 to 0.91",
    ):
        assert escape(plain) == plain
    assert escape("&amp;") == "&amp;amp;"
    assert escape("*a*") == r"\*a\*"


def test_control_characters_never_reach_the_terminal():
    """A name cannot move the cursor or colour the text."""
    assert "\x1b" not in printable("\x1b[2Jevil\r\n")
    evil = "x\x1b[31mred"
    found = summary_of(labels=("lstm", evil), factors={evil: 350})
    text = terminal(found, found.design)
    assert "\x1b" not in text
    assert "[31mred" in text


def test_not_reached_and_not_known_are_told_apart():
    """`not reached` and `> 2000` for what the budget cut, a dash for what is not known, and why no interval."""
    plan = design(labels=("lstm", "gru"))

    def steps(label, point, rate, seed):
        return math.inf if label == "gru" or seed > 6 else 300.0 + seed

    table = runs(plan, steps)
    text = markdown(summarise(table, evaluations(plan, table), plan), plan)
    assert "not reached [> 2000, > 2000]" in text
    assert re.search(r"30\d \[301, > 2000\]", text)
    assert re.search(r"\| gru +\| 0 % +\| > 2000", text)
    assert "≥ " in text
    few = design(labels=("lstm",), seeds=(0, 1, 2))
    table = runs(few, steps)
    assert "(interval needs 6 seeds)" in markdown(summarise(table, evaluations(few, table), few), few)


def test_missing_is_listed():
    """By cell and point, with the count; the terminal stops after ten."""
    plan = design()
    table = runs(plan, lambda label, point, rate, seed: math.nan if seed > 7 else 300.0 + seed)
    found = summarise(table, evaluations(plan, table), plan)
    assert "- gru at length=32, batch 16, hidden 20: 2 not run, of 10 replicas" in markdown(found, plan)
    assert "- lstm at length=8, batch 16, hidden 4: 2 not run, of 10 replicas" in terminal(found, plan)
    many = design(labels=tuple("abcdef"))
    table = runs(many, lambda label, point, rate, seed: math.nan if seed > 7 else 300.0 + seed)
    assert "and 14 more (summary.md)" in terminal(summarise(table, evaluations(many, table), many), many)


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


def test_no_sentence_twice():
    """A footnote below the table is not printed beside the verdict too; what a verdict says itself is no footnote."""
    found = summary_of(seeds=(0, 1, 2, 3, 4, 5))
    note = "where all 6 seeds solved a setting, up to 39 % of seeds may still fail"
    assert " ".join(terminal(found, found.design).split()).count(note) == 1
    assert markdown(found, found.design).count(note) == 1
    few = summary_of(seeds=(0, 1, 2, 3, 4))
    note = "rests on the t distribution; no assumption-free test of 5 seeds can reach p = 0.05"
    for text in (" ".join(terminal(few, few.design).split()), markdown(few, few.design)):
        assert text.count(note) == len(few.verdicts) == 2


@pytest.mark.parametrize("stop", [False, True])
def test_accuracies_are_headed_by_what_they_are(stop):
    """Models that stopped when solved are not those trained to the end."""
    found = summary_of(stop_when_solved=stop)
    head = "at the step where each solved" if stop else "of the models trained to the end"
    assert f"## Accuracies, {head}, at the tuned learning rate" in markdown(found, found.design)
    assert "Sequence accuracy by chain: mean over seeds [95 %]" in markdown(found, found.design)
