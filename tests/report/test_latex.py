"""summary.tex: a table that compiles, whatever names plugins gave."""

from __future__ import annotations

import re

from cellbench.report.latex import escape, latex
from cellbench.report.rows import BRIEF, overview
from cellbench.summary import summarise
from tests.helpers.frames import design, evaluations, lognormal, runs

UGLY = r"a\b{c}$d&e#f%g_h~i^j<k>|l"


def table(labels=("lstm", "gru")):
    plan = design(labels=tuple(labels))
    planned = runs(plan, lognormal({label: 500 if label == "lstm" else 350 for label in labels}))
    found = summarise(planned, evaluations(plan, planned), plan)
    return found, latex(found, plan)


def test_the_table_holds_the_rows_of_the_terminal():
    """Booktabs rules, a row for each cell, the same texts."""
    found, text = table()
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert text.index(r"\toprule") < text.index(r"\midrule") < text.index(r"\bottomrule")
    assert len(body) == 2
    for line, row in zip(body, overview(found, found.design), strict=True):
        assert line.endswith(r"\\")
        assert re.split(r"(?<!\\) & ", line.removesuffix(r" \\")) == [escape(cell) for cell in row[:BRIEF]]


def test_special_characters_are_literal():
    """Every character that LaTeX would act on is escaped; braces stay balanced and columns counted."""
    _, text = table(("lstm", UGLY))
    assert escape(UGLY) in text
    row = next(line for line in text.splitlines() if line.startswith("a"))
    assert len(re.findall(r"(?<!\\)&", row)) == BRIEF - 1
    unescaped = re.sub(r"\\[{}]", "", text)
    assert unescaped.count("{") == unescaped.count("}")
    assert not re.search(r"(?<!\\)[#%_]", row)
    assert "\n" not in escape("two\nlines")


def test_the_main_tables_are_there():
    """All points, four questions per pair, axis values, across the rates, single points; each row is whole."""
    found, text = table(("lstm", "gru", UGLY))
    tables = re.findall(r"\\begin\{tabular\}\{([lr]+)\}\n(.*?)\\end\{tabular\}", text, re.S)
    points, pairs = len(found.replicas.points), 2
    values = sum(len(set(axis)) for axis in zip(*found.replicas.points, strict=True) if len(set(axis)) > 1)
    rows = [body.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines() for _, body in tables]
    assert [len(r) for r in rows] == [3, 4 * pairs, values * pairs, pairs, 3 * points, pairs * points]
    for (columns, _), body in zip(tables, rows, strict=True):
        assert {len(re.findall(r"(?<!\\)&", row)) for row in body} == {len(columns) - 1}
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == text.count(r"\caption{") == 6
