"""`cellbench new`: a plugin package for a new cell, or an experiment file."""

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
    experiment: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a commented experiment file instead.")
    ] = None,
) -> None:
    """Write a plugin package for a new cell, or an experiment file."""
    from cellbench.experiment.argument import read
    from cellbench.scaffold import new_experiment, new_package

    if source is not None and name is None:
        raise CellbenchError(f"--from {source}: goes with a name, `cellbench new mycell --from {source}`")
    if (name is None) == (experiment is None):
        raise CellbenchError("give a name, `cellbench new mycell`, or a file, `cellbench new --experiment mine.yaml`")
    if name is not None:
        cell = read(source, "--from") if source is not None else None
        if cell is not None and cell.file is None:
            raise CellbenchError(f"--from {source}: must be FILE:CLASS, for example ./mycell.py:MyCell")
        folder = new_package(name, Path(), *((cell.file, cell.name, cell.options) if cell else ()))
        show(f"Wrote {folder}. Next:\n  pip install -e {folder} && cellbench check {name}")
    elif experiment is not None:
        show(f"Wrote {new_experiment(experiment)}. Next:\n  cellbench run {experiment} --dry-run")
