"""`cellbench run`: train what is missing, then write the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cellbench.cli.arguments import load
from cellbench.cli.training import begin_workers, train
from cellbench.cli.training import dry_run as described
from cellbench.errors import CellbenchError
from cellbench.terminal.output import show


def run(
    experiment: Annotated[
        Path | None,
        typer.Argument(metavar="EXPERIMENT", help="An experiment file (YAML); without one, the default experiment."),
    ] = None,
    cell: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CELL",
            help="Add a cell: a name or FILE:CLASS, perhaps with label and options: mycell.py:MyCell,label=v2,size=3.",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override a key of the experiment, such as train.max_steps=500."
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE,...", help="Train only a part, such as cell=gru,seed=0,bits=8."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="How many worker processes train; default: the cores this process may use."),
    ] = None,
    executor: Annotated[
        str, typer.Option(metavar="local|dask", help="Train on this machine or on a Dask cluster.")
    ] = "local",
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="A Dask scheduler: its address, such as tcp://node1:8786, or its file; default: one started here.",
        ),
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Train the I-th of N parts of the experiment.")
    ] = None,
    results: Annotated[Path, typer.Option(metavar="DIR", help="The folder that holds the results folders.")] = Path(
        "results"
    ),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be trained and how long it may take, and stop.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Set the stored results aside and start again from nothing.")
    ] = False,
    until_decided: Annotated[
        bool,
        typer.Option(
            "--until-decided",
            help="Add seeds in stages until each comparison is decided: up to eight times the experiment's.",
        ),
    ] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Train cells that break a law all the same, and give them verdicts.")
    ] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Train, but write no report.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> int:
    """Train what is missing, then write the report.

    After an interruption, the same command goes on where it stopped.
    """
    if executor not in ("local", "dask"):
        raise CellbenchError(f"--executor {executor}: must be local or dask")
    if scheduler is not None and executor != "dask":
        raise CellbenchError(f"--scheduler {scheduler}: goes with --executor dask")
    loaded = load(experiment, cell or [], set_ or [], until_decided=until_decided)
    if executor == "local" and not dry_run:  # from here on torch is imported, here too
        begin_workers(workers)
    from cellbench import planning

    part, number = planning.only(loaded, only or []), planning.shard(shard)
    folder = results / loaded.name
    if dry_run:
        from cellbench.running import plan as plan_experiment

        text, _ = described(plan_experiment(loaded, folder, only=part, shard=number, fresh=fresh, trust=trust))
        show(text)
        return 0
    _, status = train(
        loaded,
        folder,
        quiet=quiet,
        executor=executor,
        scheduler=scheduler,
        workers=workers,
        only=part,
        shard=number,
        fresh=fresh,
        trust=trust,
        report=not no_report,
        suggest=True,
    )
    return status
