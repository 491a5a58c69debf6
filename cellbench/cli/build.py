"""`cellbench build`: compile cells for machines without a compiler."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cellbench.cli.arguments import load
from cellbench.terminal.output import show


def build(
    experiment: Annotated[Path | None, typer.Argument(metavar="EXPERIMENT", help="The same as for `run`.")] = None,
    cell: Annotated[list[str] | None, typer.Option(metavar="CELL", help="The same as for `run`.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="The same as for `run`.")] = None,
    isa: Annotated[
        str | None, typer.Option(metavar="NAME", help="Compile for other machines: avx512, avx2 or sse2.")
    ] = None,
) -> int:
    """Compile cells for machines without a compiler.

    The cells of an experiment are compiled into the cache. The exit status is 1 if one is refused.
    """
    from cellbench.running import build as build_experiment

    built = build_experiment(load(experiment, cell or [], set_ or []), isa)
    for line, _ in built:
        show(line)
    return 0 if all(done for _, done in built) else 1
