"""`cellbench show`: what a trained model answers."""

from __future__ import annotations

from typing import Annotated

import typer

from cellbench.cli.arguments import Folder
from cellbench.terminal.output import show as show_text


def show(
    folder: Folder,
    which: Annotated[
        list[str],
        typer.Argument(metavar="KEY=VALUE,...", help="The replica, such as label=gru,seed=3; also bits=8 and so on."),
    ],
    examples: Annotated[int, typer.Option(min=1, metavar="N", help="How many examples to show.")] = 3,
    wrong: Annotated[bool, typer.Option("--wrong", help="Show examples with a wrong step alone.")] = False,
    run_code: Annotated[
        bool, typer.Option("--run-code", help="Run the code of a cell from a file, as DIR holds it.")
    ] = False,
) -> None:
    """Show what a trained model answers to some examples.

    Each has its inputs, targets and outputs, and the first wrong step. They are those of its final evaluation. If its
    weights were not kept, it is trained again first.
    """
    from cellbench.results import load
    from cellbench.results.pick import parse

    found = load(folder).examples(run_code=run_code, **parse(which))
    show_text(found.text(examples, wrong=wrong))
