"""Lay out what an experiment took: each cell's sizes and seconds, and the replicas that did not end well, by name."""

from __future__ import annotations

import pandas as pd

from cellbench.report.rows import Grid, known
from cellbench.summary import Design
from cellbench.summary.inventory import sizes, unwell


def cells(runs: pd.DataFrame, design: Design, *, measured: bool) -> Grid:
    """Lay out parameters, state and multiply-adds of each cell at each size.

    Args:
        runs, design: one row per planned replica, and the plan.
        measured: whether to add microseconds and seconds, which differ between two runs of one experiment.
    """
    rows = []
    for row in sizes(runs, design).to_dict("records"):
        numbers = (_whole(row[name]) for name in ("hidden_size", "parameters", "state", "multiply_adds"))
        micros = f"{row['microseconds']:,.0f}" if known(row["microseconds"]) else "–"
        rows.append((row["cell"], row["size"], *numbers, micros, _whole(row["replicas"]), f"{row['seconds']:,.1f}"))
    heads: tuple[str, ...] = (
        "cell", "size", "hidden size", "parameters", "state", "multiply-adds per step", "microseconds per step",
        "replicas", "seconds",
    )  # fmt: skip
    if not measured:
        kept = heads.index("microseconds per step")
        return Grid("What each cell is", heads[:kept], tuple(row[:kept] for row in rows))
    return Grid("What each cell is, and what training it took", heads, tuple(rows))


def replicas(runs: pd.DataFrame, design: Design, *, commands: bool) -> Grid:
    """Lay out the replicas that failed, diverged or did not solve.

    Args:
        runs, design: one row per planned replica, and the plan.
        commands: whether to add the command that trains each again, which has the one that was typed.
    """
    heads = ("what became of it", "replica", "to train it again")
    columns = len(heads) if commands else len(heads) - 1
    rows = tuple(row[:columns] for row in unwell(runs, design))
    return Grid("Replicas that did not solve, by name", heads[:columns], rows, frozenset(heads[1:]))


def _whole(x: object) -> str:
    return f"{int(x):,}" if known(x) else "–"  # type: ignore[call-overload]
