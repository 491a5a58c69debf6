"""The commands that show what replicas answer that did not solve the task."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cellbench.wording import printable

MOST = 200
"""The most commands that a page lists."""


def commands(runs: pd.DataFrame, parameters: Sequence[str], folder: Path) -> list[str]:
    """Write one command per replica that was trained to the end and did not solve the task.

    Args:
        runs: one row per planned replica.
        parameters: the task's grid parameters.
        folder: the results folder.

    Returns:
        `cellbench show DIR label=gru,bits=8,...`, for the first `MOST` of them.
    """
    unsolved = runs[runs["status"] == "censored"].head(MOST)
    # a key that all replicas share need not be said
    optional = ("options",) if "options" in runs.columns else ()
    named = [name for name in (*parameters, "batch_size", "size", *optional) if runs[name].nunique() > 1]
    found = []
    for row in unsolved[["label", *named, "learning_rate", "seed"]].to_dict("records"):
        which = ",".join(f"{name}={value}" for name, value in row.items() if name != "options" or value)
        found.append(f"cellbench show {shlex.quote(printable(str(folder)))} {shlex.quote(printable(which))}")
    return found
