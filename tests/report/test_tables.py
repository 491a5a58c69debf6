"""summary.md and the terminal's text: layout, escaping, width; every number comes from the summary."""

from __future__ import annotations

import math
import re

import pytest

from cellbench.report.tables import escape, markdown
from cellbench.summary import summarise
from tests.helpers.frames import design, evaluations, runs, summary_of

UGLY = "a|b<script>alert(1)</script>\n# _x_ [link](http://x) `c`"


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
    """By cell and point, with the count."""
    plan = design()
    table = runs(plan, lambda label, point, rate, seed: math.nan if seed > 7 else 300.0 + seed)
    found = summarise(table, evaluations(plan, table), plan)
    assert "- gru at length=32, batch 16, hidden 20: 2 not run, of 10 replicas" in markdown(found, plan)


def test_no_sentence_twice():
    """A footnote below the table is not printed beside the verdict too; what a verdict says itself is no footnote."""
    found = summary_of(seeds=(0, 1, 2, 3, 4, 5))
    note = "where all 6 seeds solved a setting, up to 39 % of seeds may still fail"
    assert markdown(found, found.design).count(note) == 1
    few = summary_of(seeds=(0, 1, 2, 3, 4))
    note = "rests on the t distribution; no assumption-free test of 5 seeds can reach p = 0.05"
    assert markdown(few, few.design).count(note) == len(few.verdicts) == 2


@pytest.mark.parametrize("stop", [False, True])
def test_accuracies_are_headed_by_what_they_are(stop):
    """Models that stopped when solved are not those trained to the end."""
    found = summary_of(stop_when_solved=stop)
    head = "at the step where each solved" if stop else "of the models trained to the end"
    assert f"## Accuracies, {head}, at the tuned learning rate" in markdown(found, found.design)
    assert "Sequence accuracy by chain: mean over seeds [95 %]" in markdown(found, found.design)
