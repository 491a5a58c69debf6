"""Stored replicas that an earlier version of an engine trained wrongly: named, left out, and trained again; no others.

Stores of version 1 are made from today's: what version 1 stored differs in its numbers and in a column that it lacks.
"""

from __future__ import annotations

import csv
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import awkward
from tests.helpers.commands import TINY, Command
from tests.helpers.runs import reseal, trained

WRONG = {
    # cells, each with the engines whose version 1 was wrong about it, as measured against a plain loop
    "rnn": (), "Plain": (), "weight_norm": (), "ModuleHook": (),
    "Reservoir": ("stack",), "Wired": ("stack",), "Buffers": ("stack",), "Attributes": ("stack",),
    "DrawnNumber": ("stack",), "ByItsOwnDict": ("stack",), "Clockwork": ("lanes",),
    "Apart": ("lanes", "stack", "reference"), "AfterAccumulation": ("lanes", "stack", "reference"),
    "Seen": ("lanes", "stack", "reference"), "Normed": ("lanes", "stack", "reference"),
    "Centred": ("lanes", "stack", "reference"), "Dropped": ("lanes", "stack", "reference"),
    "OwnGenerator": ("lanes", "stack", "reference"), "Scaled": ("lanes", "stack", "reference"),
}  # fmt: skip


def experiment(*names: str, **keys: Any) -> dict[str, Any]:
    shutil.copy(awkward.__file__, "awkward.py")
    cells = [{"name": n, "factory": f"./awkward.py:{n}"} if hasattr(awkward, n) else n for n in names]
    return {**TINY, "cells": cells, "train": {"max_steps": 5}, **keys}


def make_older(*labels: str, engine: str = "", folder: str = "out") -> None:
    """Make replicas what version 1 of an engine had stored."""
    with closing(sqlite3.connect(f"{folder}/runs.sqlite")) as db, db:
        which = f"key IN (SELECT key FROM plan WHERE label IN ({', '.join('?' * len(labels))}))"
        db.execute(f"UPDATE replica SET engine_version = NULL, right_as = NULL, wrong = NULL WHERE {which}", labels)
        if engine:
            db.execute("UPDATE replica SET engine = ?", (engine,))
    reseal(Path(folder))


def rows(folder: str = "out") -> dict[tuple[str, str], dict[str, str]]:
    """The rows of runs.csv by label and seed."""
    with (Path(folder) / "runs.csv").open(newline="") as text:
        return {(row["label"], row["seed"]): row for row in csv.DictReader(text)}


@pytest.mark.parametrize("engine", ["lanes", "stack", "reference"])
@pytest.mark.slow
def test_who_was_wrong_about_what(engine: str) -> None:
    """Of each engine's version 1, exactly the cells that it was wrong about are trained again, and only once."""
    keys = experiment(*WRONG, seeds=1, final={"examples": 20, "bits": [14]})
    trained(keys, report=False)
    make_older(*WRONG, engine=engine)
    assert {label for label, _ in trained(keys, report=False)} == {
        n for n, engines in WRONG.items() if engine in engines
    }
    assert trained(keys, report=False) == []


def test_named_left_out_and_trained_again(command: Command, write: Any) -> None:
    """What was trained again is shown; the rest is left out and named, by status and report, until it was too."""
    path = write(**experiment("rnn", "Scaled", "Plain"))
    assert command("run", path, "--workers", 1).status == 0
    original = rows("results/tiny")
    make_older("rnn", "Scaled", "Plain", folder="results/tiny")
    # before a run, what may be wrong is named; what is cellbench's own cannot be
    told = "2 replicas were trained by an earlier version (1) of reference, which was wrong about some kinds of cells"
    assert command("report", "results/tiny").status == 0
    report = Path("results/tiny/summary.md").read_text()
    assert f"Scaled: {told}" in report
    assert f"Plain: {told}" in report
    assert "rnn: 2 replicas were" not in report
    assert f"Scaled: {told}" in command("status", "results/tiny").out
    # a part of it
    planned = command("run", path, "--workers", 1, "--dry-run").out
    why = "2 stored replicas of Scaled count as not done: reference, version 1, evaluated it in train() mode"
    assert why in planned
    assert "6 replicas, 4 of them done" in planned
    ended = command("run", path, "--workers", 1, "--only", "seed=0")
    assert why in ended.err
    left = "Scaled: 1 replica was trained wrongly and left out: reference, version 1, evaluated it in train() mode"
    report = Path("results/tiny/summary.md").read_text()
    assert left in report
    assert "Plain: 2 replicas" not in report
    assert {who: row["status"] for who, row in rows("results/tiny").items() if row["status"] == "missing"} == {
        ("Scaled", "1"): "missing"
    }
    status = command("status", "results/tiny").out
    assert "6 replicas planned, 5 done" in status
    assert left in status
    # the rest
    ended = command("run", path, "--workers", 1)
    assert "1 stored replica of Scaled counts as not done" in ended.err
    assert "wrongly" not in Path("results/tiny/summary.md").read_text()
    now = rows("results/tiny")
    for (label, seed), row in original.items():
        again = now[label, seed]
        alike = {name: value for name, value in row.items() if name != "engine_version"}
        assert alike.items() <= again.items() or label == "Scaled"  # to the second at which it was trained
        assert (again["final_loss"], again["final_bit_accuracy"]) == (row["final_loss"], row["final_bit_accuracy"])
    assert "Complete." in command("status", "results/tiny").out


def test_a_failure_of_the_engine_is_tried_again() -> None:
    """What failed because version 1 copied it is trained; what failed by its own fault stays."""
    keys = experiment("rnn", "Plain", seeds=1)
    trained(keys, report=False)
    with closing(sqlite3.connect("out/runs.sqlite")) as db, db:
        text = 'File "copy.py", line 153, in deepcopy\\nRuntimeError: no copies'
        db.execute("UPDATE replica SET status = 'failed', cause = 'cell', traceback = ?", (text,))
        db.execute("UPDATE replica SET traceback = 'ValueError' WHERE key = (SELECT key FROM plan WHERE label = 'rnn')")
    make_older("rnn", "Plain")
    assert trained(keys, report=False) == [("Plain", 0)]


def test_merged_with_its_better(command: Command, write: Any) -> None:
    """Of a replica that two versions trained, the later one's numbers are kept, whatever the order of the folders."""
    path = write(**experiment("rnn", "Scaled", seeds=1))
    for folder in ("one", "two"):
        assert command("run", path, "--workers", 1, "--results", folder).status == 0
    with closing(sqlite3.connect("one/tiny/runs.sqlite")) as db, db:
        db.execute("UPDATE replica SET final_loss = 9")
    make_older("rnn", "Scaled", folder="one/tiny")
    for out, order in (("x", ("one/tiny", "two/tiny")), ("y", ("two/tiny", "one/tiny"))):
        assert command("merge", out, *order).status == 0
        assert command("report", out).status == 0
        assert {who: row["final_loss"] for who, row in rows(out).items()} == {
            who: row["final_loss"] for who, row in rows("two/tiny").items()
        }


def test_verified_as_what_they_are(command: Command, write: Any) -> None:
    """verify compares sound ones to the bit, and says of a wrong one what was wrong."""
    path = write(**experiment("Plain", "Scaled", seeds=1))
    assert command("run", path, "--workers", 1).status == 0
    make_older("Plain", "Scaled", folder="results/tiny")
    ended = command("verify", "results/tiny", "--sample", 2, "--run-code")
    assert ended.status == 1
    assert "reference, version 1, evaluated it in train() mode" in ended.out
    assert "to the tolerance" in ended.out
    assert command("run", path, "--workers", 1).status == 0
    ended = command("verify", "results/tiny", "--sample", 2, "--run-code")
    assert "2 of 2 replicas again" in ended.out
    assert ended.out.strip().endswith("bit for bit.\nNo difference.")
