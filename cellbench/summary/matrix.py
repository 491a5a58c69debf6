"""Cells on several tasks: each verdict against the baseline, corrected over all cells and tasks together.

Nothing is averaged over tasks: what a ratio of steps on one task and one on another have in common is not known.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cellbench.statistics.comparison import holm
from cellbench.summary import accuracies
from cellbench.summary.comparisons import ALL, Row, corrected, measure, scopes
from cellbench.summary.design import plain
from cellbench.summary.summary import Summary
from cellbench.summary.verdicts import Context, Finding, word

OPEN = ("higher", "lower", "no difference shown")
"""Verdicts on accuracy that depend on the correction; others are of cells or seeds too few to have one."""


@dataclass(frozen=True)
class Entry:
    """One cell on one task, against the baseline.

    Attributes:
        task, cell, baseline: which.
        steps: the verdict on the steps to a solved task, over all points at the tuned rate.
        ratio, low, high, p: the ratio of typical steps with its 95 % interval, and its p after Holm over all entries;
            NaN where it is not known.
        bound: `at least` or `at most` where one of the two never solved at some point, and counts as the whole budget.
        solved, exact: the shares of replicas that solved, and the mean sequence accuracy at the trained length, at the
            tuned rate.
        accuracies: the verdicts on sequence accuracy at the trained length and at the longest, corrected alike.
    """

    task: str
    cell: str
    baseline: str
    steps: str
    ratio: float
    low: float
    high: float
    p: float
    bound: str
    solved: float
    exact: float
    accuracies: tuple[Finding, ...]

    def finding(self, about: str) -> Finding | None:
        """Return the verdict on `trained` or `longest`, if it was measured."""
        return next((found for found in self.accuracies if found.about == about), None)


@dataclass(frozen=True)
class Matrix:
    """All entries, task by task.

    Attributes:
        entries: in the order of tasks, then cells.
        tasks, cells: in order; the baseline is none of the cells.
        baseline: the cell that the others are compared with.
        comparisons: how many ratios the correction is over.
        missing: the tasks that have no results yet.
    """

    entries: tuple[Entry, ...]
    tasks: tuple[str, ...]
    cells: tuple[str, ...]
    baseline: str
    comparisons: int
    missing: tuple[str, ...] = ()

    def at(self, task: str, cell: str) -> Entry | None:
        """Return one entry; None if the cell was not compared on the task."""
        return next((entry for entry in self.entries if (entry.task, entry.cell) == (task, cell)), None)

    def counts(self, cell: str) -> Counter[str]:
        """Count how often a cell got each verdict on its steps."""
        return Counter(entry.steps for entry in self.entries if entry.cell == cell)


def matrix(parts: Mapping[str, Summary]) -> Matrix:
    """Compare all cells with the baseline on each task.

    Args:
        parts: the summary of each task's experiment, by the name of the task; all have the same baseline.

    Raises:
        ValueError: the baselines differ, or there is nothing to compare.
    """
    rows: list[tuple[str, Row]] = []
    for task, part in parts.items():
        whole = scopes(part.replicas)[0]
        rows += [(task, measure(part.replicas, *pair, "tuned", whole)) for pair in part.design.pairings()]
    baselines = {row.baseline for _, row in rows}
    if len(baselines) != 1:
        raise ValueError(f"the tasks have {len(baselines)} baselines: {', '.join(sorted(baselines)) or 'none'}")
    bound = math.log(min(part.design.ratio_of_interest for part in parts.values()))
    of_steps = corrected([row for _, row in rows], bound)
    of_accuracy = _accuracies(parts)
    entries = []
    for (task, _), row in zip(rows, of_steps, strict=True):
        part, numbers = parts[task], row.numbers
        found = of_accuracy.get((task, row.cell), ())
        entries.append(
            Entry(
                task, row.cell, row.baseline, word(row, Context(part.replicas)),
                *((numbers.ratio, numbers.low, numbers.high) if numbers else (math.nan, math.nan, math.nan)),
                row.p_holm, row.bound, _solved(part, row.cell), _exact(part, row.cell), tuple(found),
            )
        )  # fmt: skip
    cells = tuple(dict.fromkeys(row.cell for _, row in rows))
    return Matrix(
        tuple(entries), tuple(parts), cells, baselines.pop(), max((r.comparisons for r in of_steps), default=0)
    )


def _solved(part: Summary, cell: str) -> float:
    """Look up the share of replicas that solved, at the tuned rate, over all points."""
    table = part.overview
    found = table[table["cell"] == cell]
    return float(found["solved"].iloc[0]) if len(found) else math.nan


def _exact(part: Summary, cell: str) -> float:
    """Look up the mean sequence accuracy at the trained length, over all points."""
    table = part.accuracy
    whole = table[(table["metric"] == "sequence_accuracy") & (table["scope"] == ALL) & (table["cell"] == cell)]
    found = whole[(whole["at"] == "tuned") & (whole["by"] == "")]["mean"]
    return float(found.iloc[0]) if len(found) else math.nan


def _accuracies(parts: Mapping[str, Summary]) -> dict[tuple[str, str], Sequence[Finding]]:
    """Give each cell on each task its verdicts on accuracy.

    They are corrected over all cells and tasks: one family at the trained length, one at each task's longest.
    """
    rows = {task: _rows(part) for task, part in parts.items()}
    for family in (False, True):
        of_family = [row for each in rows.values() for row in each if (row["by"] != "") == family]
        asked = [row for row in of_family if row["verdict"] in OPEN and not math.isnan(row["p"])]
        for row, p in zip(asked, holm([row["p"] for row in asked]), strict=True):
            word = "higher" if row["difference"] > 0 else "lower"
            row |= {"p_holm": float(p), "verdict": word if p <= 0.05 else "no difference shown"}
    return {
        (task, cell): found
        for task, each in rows.items()
        for (cell, _), found in accuracies.findings(each, parts[task].design).items()
    }


def _rows(part: Summary) -> list[dict[str, Any]]:
    """List the comparisons of sequence accuracy over all points: at the trained length, and at the longest."""
    table = part.comparisons
    whole = table[(table["metric"] == "sequence_accuracy") & (table["scope"] == ALL)]
    rows = [{str(name): plain(value) for name, value in row.items()} for row in whole.to_dict("records")]
    return accuracies.main_rows(rows, part.design.axes)
