"""`cellbench rank`: all cells of results folders in one table, the fastest first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from cellbench.errors import CellbenchError
from cellbench.terminal.output import show

FORMATS = ("text", "md", "csv")


def rank(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR", help="One or more results folders, or that of a profile.")
    ],
    form: Annotated[
        str, typer.Option("--format", metavar="text|md|csv", help="A table to read, in Markdown, or numbers as CSV.")
    ] = "text",
) -> None:
    """Rank the cells of results folders by their steps.

    The table has rank with its uncertainty, ratio of steps and verdict, accuracy at the longest length, parameters,
    microseconds per step and seeds. The folder of a profile (results/profile) gives the cells that are among the
    fastest at each task, and on how many tasks each cell is. Nothing is written.
    """
    from cellbench.report import csv, ranking, tables
    from cellbench.results import gather, matrix, several
    from cellbench.wording import width

    if form not in FORMATS:
        raise CellbenchError(f"--format {form}: must be text, md or csv")
    tasks = [(folder, listed) for folder in folders if (listed := matrix.folders_of(folder)) is not None]
    if tasks:
        if len(folders) > 1:
            raise CellbenchError(f"{tasks[0][0]}: is the folder of a profile, which is ranked alone")
        show(_of_profile(tasks[0][1], form))
        return
    found = gather(folders[0], curves=False) if len(folders) == 1 else several.report(folders)
    summary, design, runs = found.summary, found.design, found.runs
    if form == "csv":
        show(csv.text(ranking.table(summary, design, runs)))
        return
    grid = ranking.ranking(summary, design, runs, measured=True)
    if form == "md":
        show("\n\n".join([tables.grid_text(grid), tables.escape(ranking.legend(design)) + "."]))
        return
    show(ranking.terminal(grid, ranking.legend(design), width()))


def _of_profile(folders: Mapping[str, Path], form: str) -> str:
    """Write the ranks on each task of a profile."""
    from cellbench.report import by_task, csv
    from cellbench.results import matrix
    from cellbench.wording import width

    frame = matrix.ranks_of(folders)
    if form == "csv":
        return csv.text(frame)
    return by_task.markdown(frame) if form == "md" else by_task.terminal(frame, width())
