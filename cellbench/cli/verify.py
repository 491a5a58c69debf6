"""`cellbench verify`: train some replicas again and compare every number."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cellbench.cli.arguments import Folder
from cellbench.terminal.output import show

if TYPE_CHECKING:
    from cellbench.running.code import Code


def verify(
    folder: Folder,
    sample: Annotated[int, typer.Option(min=1, help="How many replicas to train again.")] = 20,
    choice: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Choose the same replicas as an earlier run with this number; default: others each time."
        ),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the code that it may run, and run nothing.")] = False,
    texts: Annotated[
        Path | None,
        typer.Option("--sources", metavar="OUT", help="Write the texts that it may run to OUT, and run nothing."),
    ] = None,
    run_code: Annotated[
        bool, typer.Option("--run-code", help="Run the code of cells from files, as DIR holds it, without asking.")
    ] = False,
) -> int:
    """Train some replicas again and compare every number.

    They are chosen at random. The first difference ends the command with exit status 1. Cells from files are run from
    their text, as it is stored in DIR: verify says so first, and asks unless --run-code is given.
    """
    import secrets

    from cellbench.running import code
    from cellbench.running.verify import verify as verify_folder

    if list_ or texts is not None:
        found = code.of_folder(folder)
        show(_listed(found))
        for path in code.write_texts(found, texts) if texts is not None else ():
            show(f"Wrote {path}")
        return 0
    choice = choice if choice is not None else secrets.randbelow(10**6)
    show(f"Choosing {sample} replicas at random; --choice {choice} chooses the same ones again.", file=sys.stderr)

    def allow(of_sample: Sequence[Code]) -> bool:
        show(_listed(of_sample), file=sys.stderr)
        return run_code or (any(one.texts for one in of_sample) and _asked(folder))

    verified = verify_folder(folder, sample, choice, on_line=lambda line: show(f"differs: {line}"), allow=allow)
    if not verified.environment:
        show("The environment is the same as that of the results.")
    show(verified.text())
    return 1 if verified.difference else 0


def _listed(found: Sequence[Code]) -> str:
    return "\n  ".join(["verify runs this code:", *map(str, found)])


def _asked(folder: Path) -> bool:
    """Ask on a terminal whether to run the code that the folder holds; without a terminal the answer is no."""
    if sys.stdin is None or not sys.stdin.isatty():
        return False
    show(f"Run the code that {folder} holds, as yourself? Type yes, or anything else to stop:", file=sys.stderr)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
