"""`cellbench check`: is a cell or a task sound?"""

from __future__ import annotations

import shutil
import sys
from typing import Annotated

import typer


def check(
    cell: Annotated[
        str,
        typer.Argument(
            metavar="CELL|TASK",
            help="A registered name or FILE:CLASS, perhaps with options (of a task: grid parameters): "
            "mycell.py:MyCell,size=3; or a file of arrays.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Check that a cell or a task is sound.

    Prints one line per check, and as a last line which laws are broken. The exit status is 1 if one is.
    """
    from cellbench.conformance.report import check_cell
    from cellbench.experiment.argument import read

    given = read(cell, "check")
    columns = shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else None
    sound = check_cell(given.cell, options=given.options, label=given.label, as_json=as_json, columns=columns)
    return 0 if sound else 1
