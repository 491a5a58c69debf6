"""A matrix of cells by tasks as text: Markdown for a file, plain lines for a terminal, a frame for CSV."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import pandas as pd
from tabulate import tabulate

from cellbench.report.rows import bounded, number, p_value, span
from cellbench.report.tables import escape
from cellbench.summary import words
from cellbench.summary.matrix import Entry, Matrix
from cellbench.wording import printable, width, wrapped

COLUMNS = ("task", "cell", "baseline", "steps", "ratio", "low", "high", "bound", "p", "solved", "exact")
"""Of the frame, before the verdicts on accuracy."""

_LONGEST_TASK, _RATIO, _EXACT, _WORD = 20, 20, 5, 10
"""Widths of columns on a narrow terminal: the most of a task's name, the others, and the least of a verdict."""


def frame(found: Matrix) -> pd.DataFrame:
    """Lay out all entries with their numbers in full, one row each."""
    rows = []
    for entry in found.entries:
        row = {name: value for name, value in asdict(entry).items() if name in COLUMNS}
        for about in ("trained", "longest"):
            finding = entry.finding(about)
            row |= {
                f"{about}_verdict": finding.verdict if finding else "",
                f"{about}_difference": finding.estimate if finding else None,
                f"{about}_low": finding.low if finding else None,
                f"{about}_high": finding.high if finding else None,
                f"{about}_p": finding.p if finding else None,
            }
        rows.append(row)
    return pd.DataFrame(rows)


def text(found: Matrix, columns: int | None = None) -> str:
    """Write the matrix for a terminal: per cell, one line per task, or several where it is narrow.

    Args:
        found: the matrix.
        columns: the width; default: the terminal's.
    """
    columns = width() if columns is None else columns
    parts = []
    for cell in found.cells:
        rows = [
            [printable(entry.task), entry.steps, _ratio(entry), number(entry.exact), _accuracy(entry, "longest")]
            for task in found.tasks
            if (entry := found.at(task, cell)) is not None
        ]
        head = f"{printable(cell)} against {printable(found.baseline)}: {_counted(found, cell)}"
        parts.append("\n".join([*wrapped(head, columns), *_fitted(rows, columns)]))
    return "\n\n".join([*parts, "\n".join(wrapped(reading(found), columns))])


def _fitted(rows: list[list[str]], columns: int) -> list[str]:
    """Lay out one cell's table; where it is too wide, the verdicts go on below."""
    heads = ["task", "steps", "ratio", "exact", "longest"]
    widths: list[int | None] | None = None
    for most in (None, _LONGEST_TASK):
        if most:
            task = min(most, max(4, *(len(row[0]) for row in rows)))
            rest = columns - task - _RATIO - _EXACT - 2 * (len(heads) - 1)
            word = max(_WORD, rest // 2)
            widths = [task, max(word, rest - word), _RATIO, _EXACT, word]
        table = tabulate(rows, heads, tablefmt="simple", disable_numparse=True, maxcolwidths=widths)
        lines = [line.rstrip() for line in table.splitlines()]
        if max(map(len, lines)) <= columns:
            break
    return lines


def markdown(found: Matrix, name: str) -> str:
    """Write the matrix as Markdown: verdicts on steps, on accuracy at the longest length, then all numbers."""

    def grid(of: Callable[[Entry], str]) -> str:
        rows = [
            [escape(task), *(escape(of(entry)) if (entry := found.at(task, cell)) else "–" for cell in found.cells)]
            for task in found.tasks
        ]
        return tabulate(rows, ["task", *map(escape, found.cells)], tablefmt="github", disable_numparse=True)

    numbers = [
        [
            escape(entry.task), escape(entry.cell), entry.steps, _ratio(entry), p_value(entry.p),
            words.percent(entry.solved), number(entry.exact), _accuracy(entry, "trained"), _accuracy(entry, "longest"),
        ]
        for entry in found.entries
    ]  # fmt: skip
    heads = ["task", "cell", "steps", "ratio", "p", "solved", "exact", "accuracy", "longest"]
    cells, tasks = words.count(len(found.cells), "cells"), words.count(len(found.tasks), "tasks")
    parts = [
        f"# {escape(name)}: {cells} against {escape(found.baseline)} on {tasks}",
        "\n".join(f"- {escape(cell)}: {_counted(found, cell)}" for cell in found.cells),
        "## Steps to solve",
        grid(lambda entry: f"{entry.steps}, {_ratio(entry)}" if entry.ratio == entry.ratio else entry.steps),
        "## Sequence accuracy at the longest length",
        grid(lambda entry: _accuracy(entry, "longest")),
        "## All numbers",
        tabulate(numbers, heads, tablefmt="github", disable_numparse=True),
        reading(found),
    ]
    return "\n\n".join(parts) + "\n"


def reading(found: Matrix) -> str:
    """Say what the numbers are, what the verdicts are corrected over, and why there is no average."""
    if found.comparisons:
        over = words.count(found.comparisons, "comparisons")
        corrected = (
            f"Verdicts are corrected over {over} (Holm), all cells and tasks together; an interval is that of one "
            "comparison alone (95 %)."
        )
    else:
        corrected = "No ratio of steps could be tested, so no verdict on steps is corrected."
    later = (
        f" No results yet: {', '.join(map(printable, found.missing))}; with them, verdicts are corrected over more "
        "comparisons."
        if found.missing
        else ""
    )
    return (
        f"{corrected} A ratio below 1: the cell needs fewer steps than the baseline; ≥ and ≤ mark bounds: a cell that "
        "never solved counts as the whole budget; exact: mean sequence accuracy at the trained length; longest: the "
        "difference in it at the longest length. Nothing is averaged over tasks: their steps have no common measure."
        f"{later}"
    )


def _counted(found: Matrix, cell: str) -> str:
    counts = found.counts(cell)
    return (
        ", ".join(f"{verdict} on {count}" for verdict, count in counts.most_common()) + f" of {len(found.tasks)} tasks"
    )


def _ratio(entry: Entry) -> str:
    known = entry.ratio == entry.ratio
    return f"{bounded(entry.ratio, entry.bound)}{span(entry.low, entry.high, words.limit)}" if known else "–"


def _accuracy(entry: Entry, about: str) -> str:
    found = entry.finding(about)
    if found is None:
        return "–"
    if found.estimate is None:
        return found.verdict
    return f"{found.verdict} ({words.points(found.estimate)} points)"
