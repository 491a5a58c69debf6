"""`cellbench report`: the tables, charts and page of results folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cellbench.environment import usable_cores
from cellbench.errors import CellbenchError
from cellbench.terminal.output import show


def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR", help="One or more results folders.")],
    to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where to write the report of several folders; default: a folder named A+B."),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", metavar="png|svg|pdf", help="The format of the files in charts/.")
    ] = "png",
    open_page: Annotated[bool, typer.Option("--open", help="Open report.html in a browser.")] = False,
) -> None:
    """Write the tables, charts and page of results folders.

    Several folders make one report. A run that is still going on can be reported too.
    """
    from cellbench.report.report import publish
    from cellbench.results import Results, write

    if form not in ("png", "svg", "pdf"):
        raise CellbenchError(f"--format {form}: must be png, svg or pdf")
    if len(folders) == 1 and to is None:
        folder = folders[0]
        found = write(folder, form=form)
    else:
        from cellbench.results import several

        folder = to if to is not None else folders[0].resolve().parent / several.name_of(folders)
        found = publish(lambda: several.report(folders), folder, processes=usable_cores(), form=form)
    show(str(Results(folder, found)).rstrip())
    page = folder / "report.html"
    show(f"Page: {page}")
    if open_page:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
