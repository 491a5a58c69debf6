"""failures.txt: each distinct traceback once, with its count."""

from __future__ import annotations

import pandas as pd


def text(runs: pd.DataFrame) -> str:
    """The failures of a frame of runs, the most frequent first; empty if nothing failed."""
    failed = runs[runs["status"] == "failed"]
    parts = []
    for (label, cause, traceback), rows in failed.groupby(["label", "cause", "traceback"], sort=False):
        who = "its own code; counts as never solved" if cause == "cell" else "the machine; missing, tried again"
        head = f"{len(rows)} replica{'s' if len(rows) != 1 else ''} of {label} failed by {who}"
        parts.append((-len(rows), f"{head}\n{'-' * min(len(head), 100)}\n{str(traceback).rstrip()}\n"))
    return "\n".join(part for _, part in sorted(parts, key=lambda p: p[0]))
