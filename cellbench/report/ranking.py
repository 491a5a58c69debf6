"""Lay out all cells of one or several experiments in one table, the fastest first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from tabulate import tabulate

from cellbench.report.rows import Grid, accuracy_of, at_longest, known, longest_length, ratio
from cellbench.summary import Design, Summary
from cellbench.summary.design import setting
from cellbench.summary.inventory import microseconds
from cellbench.wording import printable, wrapped

MANY = 6
"""With more cells than this summary.md has the table."""

TITLE = "All cells, ranked by steps"
_RANK, _CELL, _RATIO, _VERDICT = "rank [95 %]", "cell", "ratio of steps [95 %]", "verdict"
_NARROW = (11, 17, 18, 20)
"""Widths of the columns that a narrow terminal shows."""


def ranking(summary: Summary, design: Design, runs: pd.DataFrame, *, measured: bool) -> Grid:
    """Lay out the table.

    Args:
        summary, design: the numbers and the plan.
        runs: one row per planned replica.
        measured: whether to add microseconds per step, which differ between two runs of one experiment.
    """
    longest, by = at_longest(summary), longest_length(summary)
    found = {v.cell: {f.about: f for f in v.findings} for v in summary.verdicts if v.baseline == design.against}
    took = microseconds(runs).groupby(runs["label"]).median().to_dict() if measured else {}
    rows = []
    for row in summary.ranking.to_dict("records"):
        cell = row["cell"]
        texts = [rank(row), cell, "1 (baseline)" if cell == design.against else ratio(row), str(row["verdict"] or "")]
        if by:
            texts.append(accuracy_of(longest.get(cell, "–"), found.get(cell, {}).get("longest")))
        texts += [_whole(row["parameters"]), _whole(row["multiply_adds"])]
        if measured:
            texts.append(_whole(took.get(cell)))
        rows.append((*texts, _whole(row["seeds"])))
    heads = [_RANK, _CELL, _RATIO, _VERDICT, *([f"exact at {setting(*by)}"] if by else []), "parameters"]
    heads += ["multiply-adds per step", *(["microseconds per step"] if measured else []), "seeds"]
    return Grid(TITLE, tuple(heads), tuple(rows))


def shown(summary: Summary, design: Design, runs: pd.DataFrame) -> Grid | None:
    """Lay out the table for the page, if there are so many cells that it has one."""
    return ranking(summary, design, runs, measured=True) if len(design.labels) > MANY else None


def legend(design: Design) -> str:
    """Explain the table."""
    return (
        f"rank: by the ratio of steps to {design.against}; in brackets the ranks that comparisons of every two cells "
        "leave open, for all cells at once with 95 % confidence; parameters and multiply-adds are geometric means over "
        "points"
    )


def table(summary: Summary, design: Design, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the table as numbers, for a CSV file."""
    frame = summary.ranking.copy()
    took = microseconds(runs).groupby(runs["label"]).median()
    frame["microseconds"] = frame["cell"].map(took).astype("float64")
    by = longest_length(summary)
    if by:
        scores = summary.accuracy
        rows = scores[
            (scores["metric"] == "sequence_accuracy") & (scores["scope"] == "all") & (scores["at"] == "tuned")
        ]
        rows = rows[(rows["by"] == by[0]) & (rows["value"] == by[1])].set_index("cell")
        frame["longest"] = setting(*by)
        for name in ("mean", "low", "high"):
            frame[f"accuracy_{name}"] = frame["cell"].map(rows[name])
        words = {v.cell: f.verdict for v in summary.verdicts if v.baseline == design.against for f in v.findings
                 if f.about == "longest"}  # fmt: skip
        frame["accuracy_verdict"] = frame["cell"].map(words).fillna("")
    return frame


def terminal(grid: Grid, below: str, columns: int) -> str:
    """Lay the table out for a terminal: rank, cell, ratio and verdict, and as many of the other columns as fit."""
    heads = [re.sub(r" \[95 %\]$", "", head) for head in grid.heads]
    rows = [[printable(text) for text in row] for row in grid.rows]
    first = len(_NARROW)
    shown = list(range(first))
    # accuracy and seeds before what a cell is and takes, which other tables have too
    for more in sorted(range(first, len(heads)), key=lambda i: (heads[i] != "seeds", i)):
        wider = sorted([*shown, more])
        if max(map(len, _lines(heads, rows, wider))) <= columns:
            shown = wider
    lines = _lines(heads, rows, shown)
    if max(map(len, lines)) > columns:
        lines = _lines(heads, rows, shown, _NARROW)
    left = [heads[i] for i in range(len(heads)) if i not in shown]
    hidden = f"; a wider terminal, and --format csv, have more: {', '.join(left)}" if left else ""
    return "\n".join([*lines, *wrapped(f"({below}{hidden})", columns)])


def _lines(
    heads: Sequence[str], rows: Sequence[Sequence[str]], shown: Sequence[int], widths: Sequence[int] | None = None
) -> list[str]:
    """Lay out some of the columns as lines."""
    table = tabulate(
        [[row[i] for i in shown] for row in rows], [heads[i] for i in shown], tablefmt="simple", disable_numparse=True,
        maxcolwidths=list(widths) if widths else None,
    )  # fmt: skip
    return [line.rstrip() for line in table.splitlines()]


def rank(row: Mapping[Any, Any]) -> str:
    """Write a rank with its limits."""
    if not known(row["rank"]):
        return "–"
    low, high = row["rank_low"], row["rank_high"]
    return f"{row['rank']} [{low}, {high}]" if low != high else f"{row['rank']}"


def _whole(x: object) -> str:
    return f"{float(x):,.0f}" if known(x) else "–"  # type: ignore[arg-type]
