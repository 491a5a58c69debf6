"""The store: what it holds comes back, what was changed is told, and it is never begun again in silence."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cellbench import results
from cellbench.errors import StoreError
from cellbench.records import CurvePoint, Outcome
from cellbench.runner import run as run_experiment
from cellbench.store import Store
from tests.conftest import TINY, Command


def execute(statement: str, folder: str = "out") -> None:
    with closing(sqlite3.connect(f"{folder}/runs.sqlite", isolation_level=None)) as db:
        db.execute(statement)


def test_a_loss_that_is_no_number() -> None:
    """NaN is stored as nothing, infinity as it is; the checksum holds."""
    curve = (CurvePoint(5, math.nan, 0.5, 0.0), CurvePoint(10, math.inf, 0.5, 0.0))
    with Store(Path("out"), write=True) as store:
        store.add([Outcome("k", "diverged", curve=curve, final_loss=math.nan)], {"k": "{}"})
        store.check()
        rows = store.db.execute("SELECT loss FROM curve ORDER BY step").fetchall()
        assert rows == [(None,), (math.inf,)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE curve SET loss = loss + 1e-15 WHERE step = 10 AND replica = 2",
        "UPDATE replica SET status = 'solved' WHERE id = 2",
        "UPDATE replica SET key_text = replace(key_text, 'adam', 'sgd') WHERE id = 2",
        "UPDATE evaluation SET value = 7 WHERE replica = 2 AND position = 1",
        "DELETE FROM curve WHERE replica = 2 AND step = 20",
    ],
)
def test_a_changed_number_is_told(statement: str, command: Command) -> None:
    """Every report refuses it, and names the replica and the ways out."""
    run_experiment({**TINY, "cells": ["rnn"]}, "out", report=False)
    results.write(Path("out"))
    execute(statement)
    ended = command("report", "out")
    assert ended.status == 2
    assert "the numbers of rnn, seed 1, rate 0.05 are not those that were stored" in ended.err
    assert "--fresh" in ended.err


def test_what_is_damaged_is_left_as_it_is(command: Command) -> None:
    """Empty, cut, foreign, lacking a table: a run is refused, and the file is what it was."""
    run_experiment({**TINY, "cells": ["rnn"]}, "out", report=False)
    path = Path("out/runs.sqlite")
    whole = path.read_bytes()
    for harm in (b"", whole[:5000], whole[: len(whole) - 1000], b"text" * 5000):
        path.write_bytes(harm)
        with pytest.raises(StoreError, match=r"--fresh|--results"):
            run_experiment({**TINY, "cells": ["rnn"]}, "out", report=False)
        assert path.read_bytes() == harm
        assert command("status", "out").status in (0, 2)  # which reads only what it shows
    path.write_bytes(whole)
    execute("DROP TABLE curve")
    assert "lacks curve" in command("status", "out").err
