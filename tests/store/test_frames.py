"""A store's rows as frames: those that Python's own sqlite3 and a merge by pandas give, with types that stay."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cellbench.errors import StoreError
from cellbench.running import run as run_experiment
from cellbench.store import frames
from cellbench.store.schema import LATER, OUTCOME
from cellbench.store.store import Store
from tests.helpers.commands import TINY
from tests.helpers.runs import reseal

POINT = ["label", "bits", "batch_size", "size", "learning_rate", "seed"]
WHOLE = ["parameters", "state", "multiply_adds", "steps_to_solved", "final_step", "diverged_at", "attempt", "replica"]


def rows(query: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect("out/runs.sqlite")) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(query)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cells, two points, a rate that diverges; a planned seed was not run, two that ran are planned no more."""
    place = tmp_path_factory.mktemp("frames") / "out"
    experiment = {**TINY, "grid": {**TINY["grid"], "bits": [5, 4]}, "learning_rate": [0.05, 1e6]}
    run_experiment({**experiment, "seeds": 3}, place, report=False)
    run_experiment({**experiment, "seeds": [3, 1]}, place, report=False, only={"seed": ["1"]})
    return place


@pytest.fixture
def found(folder: Path) -> frames.Frames:
    shutil.copytree(folder, "out")
    return frames.read(Path("out"))


def test_runs_are_the_plan_with_its_outcomes(found: frames.Frames) -> None:
    """One row per planned replica, in the plan's order: every number is what sqlite3 reads, or missing."""
    planned, stored = rows("SELECT * FROM plan ORDER BY position"), {r["key"]: r for r in rows("SELECT * FROM replica")}
    assert len(found.runs) == len(planned) == 16
    assert found.unplanned == len(stored) - 8 == 16
    for row, plan in zip(found.runs.to_dict("records"), planned, strict=True):
        assert row["bits"] == json.loads(plan["parameters"])["bits"]
        assert row["parameters"] == plan["parameters_n"]
        assert all(row[name] == plan[name] for name in ("label", "cell", "batch_size", "size", "seed", "learning_rate"))
        outcome = stored.get(plan["key"])
        assert row["status"] == (outcome["status"] if outcome else "missing")
        for name in OUTCOME[1:]:
            expected = outcome[name] if outcome and outcome[name] is not None else LATER.get(name)
            if expected is None:
                assert row[name] == "" or pd.isna(row[name])
            else:
                assert row[name] == expected
    assert set(found.runs.status) == {"missing", "censored", "diverged"}


def test_types_do_not_depend_on_what_is_missing(found: frames.Frames) -> None:
    """Whole numbers stay whole where some are missing, where all are, and where none is."""
    assert {str(found.runs[name].dtype) for name in WHOLE} == {"Int64"}
    for name in ("final_loss", "final_bit_accuracy", "final_sequence_accuracy", "seconds", "learning_rate"):
        assert found.runs[name].dtype == np.float64
    run_experiment({**TINY, "seeds": 1}, "other", report=False, only={"cell": ["rnn"]})
    other = frames.read(Path("other")).runs
    assert dict(other.dtypes) == dict(found.runs.dtypes)
    assert list(other.columns) == list(found.runs.columns)


def test_losses_that_are_no_numbers(found: frames.Frames) -> None:
    """Where all are missing, the column is of numbers still."""
    with closing(sqlite3.connect("out/runs.sqlite", isolation_level=None)) as db:
        db.execute("UPDATE curve SET loss = NULL")
    reseal(Path("out"))
    losses = frames.read(Path("out")).curves["loss"]
    assert losses.dtype == found.curves["loss"].dtype == np.float64
    assert losses.isna().all()


@pytest.mark.parametrize("table", ["curve", "evaluation"])
def test_rows_stand_beside_their_replica(table: str, found: frames.Frames) -> None:
    """Curves and final evaluations are what pandas' own merge of the two tables gives, in the plan's order."""
    order = {"curve": "step", "evaluation": "position"}[table]
    stored = pd.DataFrame(rows(f"SELECT * FROM {table}")).astype({"replica": "Int64"})
    runs = found.runs[[*POINT, "replica"]].reset_index(names="place")
    expected = runs.merge(stored, on="replica").sort_values(["place", order], ignore_index=True)
    got = found.curves if table == "curve" else found.evaluations
    expected["loss" if table == "curve" else "value"] = pd.to_numeric(expected["loss" if table == "curve" else "value"])
    pd.testing.assert_frame_equal(got, expected[list(got.columns)], check_dtype=False)
    assert len(got)


def test_curves_are_read_when_asked_for(found: frames.Frames) -> None:
    """Without them the frame has its columns and no row; the rest is the same."""
    bare = frames.read(Path("out"), curves=False)
    assert list(bare.curves.columns) == list(found.curves.columns)
    assert bare.curves.empty
    pd.testing.assert_frame_equal(bare.runs, found.runs)
    pd.testing.assert_frame_equal(bare.evaluations, found.evaluations)


def test_parts_of_a_long_table_are_one_frame(found: frames.Frames, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows are read at a time, the frames are equal."""
    monkeypatch.setattr(frames, "ROWS", 1)
    again = frames.read(Path("out"))
    pd.testing.assert_frame_equal(again.runs, found.runs)
    pd.testing.assert_frame_equal(again.curves, found.curves)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("""UPDATE plan SET parameters = '{"length": 4}' WHERE position = 3""", "not every replica is planned at the"),
        ("UPDATE plan SET parameters = 'bits' WHERE position = 0", "holds what cellbench did not write"),
        ("DROP TABLE evaluation", "lacks evaluation"),
    ],
)
def test_what_is_no_frame(statement: str, said: str, found: frames.Frames) -> None:
    """Plans that do not fit into one table, texts that are no JSON, a table that is gone: the file is named."""
    with closing(sqlite3.connect("out/runs.sqlite", isolation_level=None)) as db:
        db.execute(statement)
    with pytest.raises(StoreError, match=rf"out/runs\.sqlite.*{said}"), Store(Path("out"), write=False) as store:
        frames.runs(store)
