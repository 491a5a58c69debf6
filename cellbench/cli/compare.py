"""`cellbench compare`: one cell against another, with nothing else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cellbench.cli.arguments import load
from cellbench.cli.training import begin_workers, train
from cellbench.errors import CellbenchError
from cellbench.terminal.output import show

FAIL_IF = ("slower", "not-faster")


def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A", help="The baseline: a name, a label of the experiment, or FILE:CLASS, perhaps with options."
        ),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The cell that is compared with it, given alike.")],
    experiment: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="An experiment file; without one, the default experiment."),
    ] = None,
    fail_if: Annotated[
        str | None,
        typer.Option(metavar="slower|not-faster", help="Exit with status 1 if B has that verdict against A, for CI."),
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="The same as for `run`.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="The same as for `run`.")] = None,
    results: Annotated[Path, typer.Option(metavar="DIR", help="The same as for `run`.")] = Path("results"),
    fresh: Annotated[bool, typer.Option("--fresh", help="The same as for `run`.")] = False,
    until_decided: Annotated[bool, typer.Option("--until-decided", help="The same as for `run`.")] = False,
    trust: Annotated[bool, typer.Option("--trust", help="The same as for `run`.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="The same as for `run`.")] = False,
) -> int:
    """Compare one cell with another: a version with the one before it.

    The experiment is run with these two alone, A as the baseline, and with the same statistics. What its other folders
    hold of them is not trained again.
    """
    if fail_if is not None and fail_if not in FAIL_IF:
        raise CellbenchError(f"--fail-if {fail_if}: must be {' or '.join(FAIL_IF)}")
    loaded = load(experiment, [], set_ or [], versus=(a, b), until_decided=until_decided)
    begin_workers(workers)
    folder = results / loaded.name
    found, status = train(loaded, folder, quiet=quiet, workers=workers, fresh=fresh, trust=trust, suggest=True)
    if fail_if is not None:
        verdict = found.report.summary.verdicts[0]
        word = verdict.verdict
        if word.startswith("slower") or (fail_if == "not-faster" and not word.startswith("faster")):
            show(f"--fail-if {fail_if}: {verdict.cell} against {verdict.baseline}: {word}", file=sys.stderr)
            return 1
    return status
