"""`cellbench rank`: all cells of results folders in one table, the fastest first."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated

import typer

from cellbench.errors import CellbenchError
from cellbench.terminal.output import show

FORMATS = ("text", "md", "csv")


def rank(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR", help="One or more results folders.")],
    form: Annotated[
        str, typer.Option("--format", metavar="text|md|csv", help="A table to read, in Markdown, or numbers as CSV.")
    ] = "text",
) -> None:
    """Rank the cells of results folders by their steps.

    The table has rank with its uncertainty, ratio of steps and verdict, accuracy at the longest length, parameters,
    microseconds per step and seeds. Nothing is written.
    """
    from cellbench.report import ranking, tables
    from cellbench.results import gather, several
    from cellbench.wording import width

    if form not in FORMATS:
        raise CellbenchError(f"--format {form}: must be text, md or csv")
    found = gather(folders[0], curves=False) if len(folders) == 1 else several.report(folders)
    summary, design, runs = found.summary, found.design, found.runs
    if form == "csv":
        text = io.StringIO()
        ranking.table(summary, design, runs).to_csv(text, index=False, lineterminator="\n")
        show(text.getvalue().rstrip("\n"))
        return
    grid = ranking.ranking(summary, design, runs, measured=True)
    if form == "md":
        show("\n\n".join([tables.grid_text(grid), tables.escape(ranking.legend(design)) + "."]))
        return
    show(ranking.terminal(grid, ranking.legend(design), width()))
