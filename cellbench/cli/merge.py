"""`cellbench merge`: the results of several shards as one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cellbench.terminal.output import show


def merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The results folder to write.")],
    folders: Annotated[list[Path], typer.Argument(metavar="DIR", help="The results folders of the shards.")],
) -> None:
    """Merge the results of several shards.

    The order does not matter, and merging again changes nothing.
    """
    from cellbench.results import Results, write
    from cellbench.store.merge import merge as merge_folders

    merged = merge_folders(out, folders)
    report = write(out)
    show(str(Results(out, report)))
    for line in merged.unlike:
        show(
            f"Replicas of one cell were trained differently, and their numbers are rounded differently: {line}",
            file=sys.stderr,
        )
    planned, missing = merged.tally.planned, merged.tally.to_train
    if report.summary.standing is not None:
        # of seeds until decided only what the stages have asked for so far
        planned, missing = len(report.runs), int((report.runs["status"] == "missing").sum())
    show(f"{planned:,} replicas planned, {missing:,} of them missing, in {out}", file=sys.stderr)
