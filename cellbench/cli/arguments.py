"""The arguments that several commands share, and the experiment that they name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cellbench.experiment import Experiment


Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A results folder, such as results/default.")]


def load(
    experiment: Path | None,
    cells: Sequence[str],
    overrides: Sequence[str],
    versus: Sequence[str] = (),
    until_decided: bool = False,
) -> Experiment:
    """Load an experiment file, or the default one, with the cells and keys that the command line gives.

    Args:
        experiment: the file.
        cells: added to it.
        overrides: as `--set` takes them.
        versus: two cells in place of its own.
        until_decided: whether its number of seeds becomes the first look of seeds until decided.

    Raises:
        ExperimentError: with every fault.
    """
    from cellbench import experiment as experiments
    from cellbench.plugins import discover

    source = experiments.default_file() if experiment is None else experiment
    return experiments.load(
        source, discover(), overrides=overrides, extra_cells=cells, versus=versus, until_decided=until_decided
    )
