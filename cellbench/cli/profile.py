"""`cellbench profile`: cells on several tasks, and the matrix of verdicts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cellbench.cli.training import train
from cellbench.terminal.output import show


def profile(
    file: Annotated[
        Path, typer.Argument(metavar="PROFILE", help="An experiment file with `tasks` in place of `task`.")
    ],
    cell: Annotated[list[str] | None, typer.Option(metavar="CELL", help="The same as for `run`.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="The same as for `run`.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="The same as for `run`.")] = None,
    results: Annotated[Path, typer.Option(metavar="DIR", help="The same as for `run`.")] = Path("results"),
    trust: Annotated[bool, typer.Option("--trust", help="The same as for `run`.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="The same as for `run`.")] = False,
) -> int:
    """Compare cells on several tasks.

    Runs an experiment on each, then prints a matrix of verdicts that are corrected over all. Each task has a results
    folder of its own, NAME.TASK; the matrix is in the folder NAME. After an interruption, the same command goes on
    where it stopped.
    """
    from cellbench.experiment.profile import load_profile
    from cellbench.plugins import discover
    from cellbench.results import matrix

    found = load_profile(file, discover(), overrides=set_ or [], extra_cells=cell or [])
    folders = {task: results / experiment.name for task, experiment in found.experiments.items()}
    worst = 0
    for number, (task, experiment) in enumerate(found.experiments.items(), 1):
        if not quiet:
            show(f"{task}: task {number} of {len(folders)}", file=sys.stderr)
        _, status = train(experiment, folders[task], quiet=quiet, workers=workers, trust=trust, silent=True)
        worst = max(worst, status)
    where = results / found.name
    compared = matrix.of_folders(folders)
    matrix.write(compared, found.name, where)
    show(matrix.text(compared))
    first = next(iter(folders))
    before, _, after = folders[first].name.partition(f".{first}")
    pages = results / f"{before}.TASK{after}" / "report.html"
    show(f"Matrix: {where / matrix.MARKDOWN}\nA page for each task: {pages}")
    return worst
