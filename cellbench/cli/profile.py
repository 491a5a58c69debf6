"""`cellbench profile`: cells on several tasks, and the matrix of verdicts."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cellbench.cli.training import begin_workers, train
from cellbench.cli.training import dry_run as dry_run_of
from cellbench.terminal.output import show

if TYPE_CHECKING:
    from cellbench.experiment.profile import Profile


def profile(
    file: Annotated[
        Path, typer.Argument(metavar="PROFILE", help="An experiment file with `tasks` in place of `task`.")
    ],
    cell: Annotated[list[str] | None, typer.Option(metavar="CELL", help="The same as for `run`.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="The same as for `run`.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK|KEY=VALUE,...", help="Train only some tasks, or a part of each: dyck2,cell=gru or seed=0."
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="The same as for `run`.")] = None,
    results: Annotated[Path, typer.Option(metavar="DIR", help="The same as for `run`.")] = Path("results"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="The same as for `run`.")] = False,
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

    found = load_profile(file, discover(), overrides=set_ or [], extra_cells=cell or [])
    if not dry_run:  # from here on torch is imported, here too
        begin_workers(workers)
    from cellbench import planning
    from cellbench.results import matrix

    parts = planning.only_tasks(found.experiments, only or [])
    folders = {task: results / experiment.name for task, experiment in found.experiments.items()}
    if dry_run:
        _forecast(found, folders, parts, trust)
        return 0
    worst = 0
    for number, (task, part) in enumerate(parts.items(), 1):
        if not quiet:
            show(f"{task}: task {number} of {len(parts)}", file=sys.stderr)
        experiment = found.experiments[task]
        _, status = train(experiment, folders[task], quiet=quiet, workers=workers, only=part, trust=trust, silent=True)
        worst = max(worst, status)
    where = results / found.name
    compared = matrix.of_folders(folders)
    matrix.write(compared, found.name, where, folders)
    show(matrix.text(compared))
    first = next(iter(folders))
    before, _, after = folders[first].name.partition(f".{first}")
    pages = results / f"{before}.TASK{after}" / "report.html"
    show(f"Matrix: {where / matrix.MARKDOWN}\nRanks: cellbench rank {where}\nA page for each task: {pages}")
    return worst


def _forecast(
    found: Profile, folders: Mapping[str, Path], parts: Mapping[str, Mapping[str, Sequence[str]]], trust: bool
) -> None:
    """Print what each task would train as soon as it is known, then how long all of them may take."""
    from cellbench.running import plan
    from cellbench.wording import duration

    whole, replicas = 0.0, 0
    for task, part in parts.items():
        planned = plan(found.experiments[task], folders[task], only=part, trust=trust)
        text, seconds = dry_run_of(planned)
        show(f"{text}\n")
        whole += seconds
        replicas += sum(len(chunk.replicas) for chunk in planned.todo)
    if replicas:
        show(f"All tasks: {replicas:,} replicas to train, about {duration(whole)} on one core.")
