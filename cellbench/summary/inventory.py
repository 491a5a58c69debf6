"""Count what an experiment took: each cell's sizes and seconds, and the replicas that did not end well, by name."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import pandas as pd

from cellbench.summary import words
from cellbench.summary.design import OPTIONS, Design, plain, point_name

MOST_NAMED = 200
"""The most replicas that are listed by name."""

_UNWELL = ("failed", "diverged", "censored")
"""The states that are listed, the worst first."""


def microseconds(runs: pd.DataFrame) -> pd.Series[float]:
    """Compute the microseconds per training step of each replica; `nan` for one that was not trained."""
    steps = runs["final_step"].astype("float64")
    return 1e6 * runs["seconds"].astype("float64") / steps.where(steps > 0)


def sizes(runs: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Return what each cell is and took at each size.

    Columns: cell, size, hidden_size, parameters, state, multiply_adds (per time step and example), microseconds (per
    training step of one replica, as trained: the median), replicas (trained), seconds (of all of them, on one core).
    """
    ran = runs[runs["final_step"].notna()]
    grouped = ran.assign(microseconds=microseconds(ran)).groupby(["label", "size"], sort=False, as_index=False)
    found = grouped.agg(
        hidden_size=("hidden_size", "first"),
        parameters=("parameters", "first"),
        state=("state", "first"),
        multiply_adds=("multiply_adds", "first"),
        microseconds=("microseconds", "median"),
        replicas=("seconds", "count"),
        seconds=("seconds", "sum"),
    )
    rank = {label: i for i, label in enumerate(design.shown)}
    found = found.rename(columns={"label": "cell"})
    return found.sort_values("cell", key=lambda column: column.map(rank), kind="stable", ignore_index=True)


def effort(runs: pd.DataFrame, environment: Mapping[str, Any]) -> str:
    """Say in a sentence how long training took, and on how many cores."""
    ran = runs[runs["seconds"].notna() & (runs["worker"].notna())]
    if ran.empty:
        return ""
    workers = len(ran[["host", "worker"]].drop_duplicates())
    hosts = ran["host"].nunique()
    where = f" on {words.count(hosts, 'machines')}" if hosts > 1 else ""
    machine = f"{environment.get('processor') or 'an unknown processor'}, {environment.get('cores', '?')} cores"
    total = float(ran["seconds"].astype("float64").sum())
    return (
        f"{words.count(len(ran), 'replicas')} took {total:,.1f} seconds of training in all, by "
        f"{words.count(workers, 'workers')} of one core each{where} ({machine})."
    )


def unwell(runs: pd.DataFrame, design: Design) -> list[tuple[str, str, str]]:
    """Name the replicas that failed, diverged or did not solve, with what became of each and how to train it again.

    At most `MOST_NAMED`, the failed ones first.
    """
    found = runs[runs["status"].isin(_UNWELL)]
    rank = {state: i for i, state in enumerate(_UNWELL)}
    found = found.sort_values("status", key=lambda column: column.map(rank), kind="stable").head(MOST_NAMED)
    return [(_fate(row), _name(row, design), again(row, design)) for row in found.to_dict("records")]


def count_unwell(runs: pd.DataFrame) -> int:
    """Count the replicas that failed, diverged or did not solve."""
    return int(runs["status"].isin(_UNWELL).sum())


def _fate(row: Mapping[Any, Any]) -> str:
    if row["status"] == "diverged":
        at = row["diverged_at"]
        return "diverged" if pd.isna(at) else f"diverged at step {int(at)}"
    if row["status"] == "failed":
        return "failed in its own code" if row["cause"] == "cell" else "failed on a machine"
    return "unsolved"


def _name(row: Mapping[Any, Any], design: Design) -> str:
    point = point_name(design.axes, tuple(plain(row[axis]) for axis in design.axes))
    return f"{_planned(row)} at {point}, learning rate {words.number(row['learning_rate'])}, seed {row['seed']}"


def _planned(row: Mapping[Any, Any]) -> str:
    """Name the cell as it was planned: with its options, where they are tuned."""
    return " ".join(filter(None, (str(row["label"]), str(row.get(OPTIONS, "")))))


def again(row: Mapping[Any, Any], design: Design) -> str:
    """Write the command that trains one replica again, in a folder of its own."""
    chosen: dict[str, object] = {"cell": _planned(row)}
    chosen |= {axis: plain(row[axis]) for axis in design.axes if axis != "size"}
    hidden = row["hidden_size"]
    if not pd.isna(hidden):
        chosen["hidden_size"] = int(hidden)
    chosen |= {"learning_rate": words.number(row["learning_rate"]), "seed": row["seed"]}
    part = ",".join(f"{name}={value}" for name, value in chosen.items())
    return f"{design.command} --only {shlex.quote(part)} --results again"
