"""Runs of tests, and what a results folder holds after one."""

from __future__ import annotations

import csv
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from cellbench.executors.dispatch import Finished
from cellbench.planning import Plan
from cellbench.results import results
from cellbench.running import run as run_experiment
from cellbench.store import NUMBERS, VOLATILE, WHO, checksum

EXPORTS = ("runs.csv", "curves.csv", "accuracy.csv", "summary.csv", "comparisons.csv", "summary.md")


def exports(folder: Path) -> dict[str, Any]:
    """Read every exported file, volatile columns aside."""
    out: dict[str, Any] = {}
    for name in EXPORTS:
        text = (folder / name).read_text()
        if name == "runs.csv":
            rows = list(csv.DictReader(text.splitlines()))
            out[name] = [{k: v for k, v in row.items() if k not in VOLATILE} for row in rows]
        else:
            out[name] = text
    return out


def go(experiment: dict[str, Any], folder: Path | str, **keys: Any) -> dict[str, Any]:
    """Run, and read the exports. Charts take seconds and say nothing that the tables do not."""
    run_experiment(experiment, folder, report=False, **keys)
    results.write(Path(folder), charts=False)
    return exports(Path(folder))


def trained(experiment: Any, folder: str = "out", **keys: Any) -> list[tuple[str, int]]:
    """Run, and list the replicas that were trained, as (label, seed), in order."""
    seen: list[tuple[str, int]] = []

    def see(event: Plan | Finished) -> None:
        if isinstance(event, Finished):
            seen.extend((event.chunk.cell.label, r.seed) for r in event.chunk.replicas)

    run_experiment(experiment, folder, on_event=see, **keys)
    return seen


def stored(folder: Path) -> int:
    """Count the replicas that another process has stored so far."""
    try:
        with closing(sqlite3.connect(f"file:{folder}/runs.sqlite?mode=ro", uri=True)) as db, db:
            return int(db.execute("SELECT count(*) FROM replica").fetchone()[0])
    except sqlite3.Error:
        return 0


def reseal(folder: Path) -> None:
    """Give the replicas of a store that a test has changed by hand checksums that fit."""
    with closing(sqlite3.connect(folder / "runs.sqlite")) as db, db:
        there = {row[1] for row in db.execute("PRAGMA table_info(replica)")}
        columns = (name if name in there else "NULL" for name in (*WHO, *NUMBERS))  # of an older schema
        for number, *row in db.execute(f"SELECT id, {', '.join(columns)} FROM replica").fetchall():
            curve = db.execute("SELECT * FROM curve WHERE replica = ? ORDER BY step", (number,))
            evaluations = db.execute("SELECT * FROM evaluation WHERE replica = ? ORDER BY position", (number,))
            numbers = row[len(WHO) :]
            new = checksum.of(row[: len(WHO)], numbers, [r[1:] for r in curve], [r[1:] for r in evaluations])
            db.execute("UPDATE replica SET checksum = ? WHERE id = ?", (new, number))
