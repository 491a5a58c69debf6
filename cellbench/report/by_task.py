"""Lay out the ranks of all cells on several tasks."""

from __future__ import annotations

import pandas as pd
from tabulate import tabulate

from cellbench.report.ranking import rank
from cellbench.report.rows import Grid
from cellbench.report.tables import grid_text
from cellbench.summary.by_task import AMONG, counted
from cellbench.wording import printable, wrapped

SETS, CELLS, RANKS = "Among the fastest at each task", "Cells", "Ranks"
_LEAST = 20
"""The least width of a list of cells on a narrow terminal."""

LEGEND = (
    "Solved: by some replica at the tuned rate. Among the fastest: it solved the task, and no cell is shown to need "
    "fewer steps, for all cells and tasks at once with 95 % confidence; with more seeds a list may shrink. Nothing is "
    "averaged over tasks: a task counts once, however large its differences are"
)


def sets(frame: pd.DataFrame) -> Grid:
    """Lay out, per task, how many cells solved it and which are among the fastest, the fastest first."""
    rows = []
    for task, part in frame.groupby("task", sort=False):
        solved = int((part["solved"].astype(float) > 0).sum())
        among = part.loc[part[AMONG].astype(bool), "cell"]
        rows.append((str(task), f"{solved} of {len(part)}", ", ".join(among) or "–"))
    return Grid(SETS, ("task", "solved by", "among the fastest"), tuple(rows), frozenset({"task", "among the fastest"}))


def cells(frame: pd.DataFrame) -> Grid:
    """Lay out, per cell, on how many tasks it is among the fastest, and how many it solved in some replica."""
    rows = [(row["cell"], f"{row[AMONG]} of {row['tasks']}", f"{row['solved']} of {row['tasks']}")
            for row in counted(frame).to_dict("records")]  # fmt: skip
    return Grid(CELLS, ("cell", "among the fastest on", "solved"), tuple(rows))


def ranks(frame: pd.DataFrame) -> Grid:
    """Lay out the rank of each cell on each task, with the limits that hold for all of them at once."""
    tasks = list(dict.fromkeys(frame["task"]))
    found = {(row["task"], row["cell"]): rank(row) for row in frame.to_dict("records")}
    rows = [(cell, *(found.get((task, cell), "–") for task in tasks)) for cell in counted(frame)["cell"]]
    return Grid(RANKS, ("cell", *tasks), tuple(rows))


def markdown(frame: pd.DataFrame) -> str:
    """Write all three tables in Markdown."""
    tables = [f"## {grid.title}\n\n{grid_text(grid)}" for grid in (sets(frame), cells(frame), ranks(frame))]
    return "\n\n".join([*tables, f"{LEGEND}. {_among_ranks()}."])


def _among_ranks() -> str:
    return "A rank is the place by the ratio of steps; in brackets those that comparisons of every two cells leave open"


def terminal(frame: pd.DataFrame, columns: int) -> str:
    """Write the two short tables for a terminal; ranks are in the other formats.

    Args:
        frame: of `summary.by_task.ranked_by_task`.
        columns: the width.
    """
    parts = []
    for grid in (sets(frame), cells(frame)):
        rows = [[printable(text) for text in row] for row in grid.rows]
        used = [max(len(row[i]) for row in [grid.heads, *rows]) for i in range(len(grid.heads) - 1)]
        widths = [*used, max(_LEAST, columns - sum(used) - 2 * len(used))]
        table = tabulate(rows, grid.heads, tablefmt="simple", disable_numparse=True, maxcolwidths=widths)
        parts.append("\n".join(line.rstrip() for line in table.splitlines()))
    below = f"({LEGEND}; --format md and csv have all ranks)"
    return "\n\n".join([*parts, "\n".join(wrapped(below, columns))])
