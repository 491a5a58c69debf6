"""`cellbench check`: is a cell sound?"""

from __future__ import annotations

import shutil
import sys
from typing import Annotated

import typer


def check(
    cell: Annotated[
        str,
        typer.Argument(
            metavar="CELL", help="A registered name or FILE:CLASS, perhaps with options: mycell.py:MyCell,size=3."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Check that a cell is sound.

    Prints one line per check, and as a last line which laws are broken. The exit status is 1 if one is.
    """
    from cellbench.conformance.report import check_cell
    from cellbench.experiment.argument import read

    given = read(cell, "check")
    columns = shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else None
    sound = check_cell(given.cell, options=given.options, label=given.label, as_json=as_json, columns=columns)
    return 0 if sound else 1
