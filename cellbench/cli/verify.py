"""`cellbench verify`: train some replicas again and compare every number."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cellbench.cli.arguments import Folder
from cellbench.terminal.output import show


def verify(
    folder: Folder,
    sample: Annotated[int, typer.Option(min=1, help="How many replicas to train again.")] = 20,
    choice: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Choose the same replicas as an earlier run with this number; default: others each time."
        ),
    ] = None,
) -> int:
    """Train some replicas again and compare every number.

    They are chosen at random. The first difference ends the command with exit status 1. Cells from files are run from
    their text, as it is stored in DIR.
    """
    import secrets

    from cellbench.running.verify import verify as verify_folder

    choice = choice if choice is not None else secrets.randbelow(10**6)
    print(f"Choosing {sample} replicas at random; --choice {choice} chooses the same ones again.", file=sys.stderr)
    found = verify_folder(folder, sample, choice, on_line=lambda line: show(f"differs: {line}"))
    if not found.environment:
        print("The environment is the same as that of the results.")
    show(found.text())
    return 1 if found.difference else 0
