"""`cellbench new`: a plugin package for a new cell, a task of one's own, or an experiment file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cellbench.errors import CellbenchError
from cellbench.terminal.output import show


def new(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="The name of the new cell; its package will be ./cellbench-NAME."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="FILE:CLASS", help="Package this cell; options become its defaults."),
    ] = None,
    task: Annotated[
        str | None, typer.Option(metavar="NAME", help="Write a task, ./NAME.py, and an experiment on it instead.")
    ] = None,
    experiment: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a commented experiment file instead.")
    ] = None,
) -> None:
    """Write a plugin package, a task, or an experiment file."""
    from cellbench.experiment.argument import read
    from cellbench.scaffold import class_of, new_experiment, new_package, new_task

    if source is not None and name is None:
        raise CellbenchError(f"--from {source}: goes with a name, `cellbench new mycell --from {source}`")
    if sum(given is not None for given in (name, task, experiment)) != 1:
        raise CellbenchError(
            "give one of: a cell's name, `cellbench new mycell`; a task's, `cellbench new --task mytask`; a file, "
            "`cellbench new --experiment mine.yaml`"
        )
    if name is not None:
        cell = read(source, "--from") if source is not None else None
        if cell is not None and cell.file is None:
            raise CellbenchError(f"--from {source}: must be FILE:CLASS, for example ./mycell.py:MyCell")
        folder = new_package(name, Path(), *((cell.file, cell.name, cell.options) if cell else ()))
        show(f"Wrote {folder}. Next:\n  pip install -e {folder} && cellbench check {name}")
    elif task is not None:
        file, runs = new_task(task, Path())
        check = f"cellbench check ./{file}:{class_of(task)}"
        show(f"Wrote {file} and {runs}. Next:\n  {check} && cellbench run {runs}")
    elif experiment is not None:
        show(f"Wrote {new_experiment(experiment)}. Next:\n  cellbench run {experiment} --dry-run")
