"""The results of a store's last experiment as DataFrames."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cellbench.records import Answer
from cellbench.store import claims, earlier
from cellbench.store.answers import given
from cellbench.store.schema import LATER, OUTCOME, VOLATILE, columns
from cellbench.store.store import Store
from cellbench.store.tally import unplanned

_WHOLE = (
    "steps_to_solved", "examples_to_solved", "target_bits_to_solved", "final_step", "diverged_at", "attempt", "replica",
    "engine_version",
    "parameters", "state", "multiply_adds",
)  # fmt: skip
"""Columns of whole numbers that may be missing."""

CURVE = ("step", "loss", "bit_accuracy", "sequence_accuracy")
"""Columns of a learning curve."""

ROWS = 2_000
"""Rows that are read from sqlite at a time; ten times as many of a learning curve."""


@contextmanager
def _reading(store: Store) -> Iterator[None]:
    """Turn errors that pandas raises on reading into the store's."""
    with store.reading():
        try:
            yield
        except pd.errors.DatabaseError as error:
            # pandas puts the query before what sqlite said
            raise error.__cause__ or sqlite3.DatabaseError(str(error)) from None


def runs(store: Store) -> pd.DataFrame:
    """Read one row per planned replica, in order: the columns of runs.csv and more. Wrong ones count as missing."""
    outcome = ", ".join(f"r.{name}" for name in OUTCOME)
    # keys and ids in a subquery: sqlite indexes it for this join, and the index would hold every column selected in it
    query = (
        f"SELECT {columns('plan', 'p')}, r.id AS replica, {outcome} FROM plan p "
        "LEFT JOIN (SELECT key, id FROM replica WHERE wrong IS NULL) k ON k.key = p.key "
        "LEFT JOIN replica r ON r.id = k.id ORDER BY p.position"
    )
    seen: dict[bytes, str] = {}
    names: list[str] | None = None
    parts = []
    with _reading(store):
        # most texts are the same in every row: one object per text, not one per row
        store.db.text_factory = lambda raw: seen.setdefault(raw, raw.decode())
        try:
            # rows of Python objects take several times the memory of a frame: read a part at a time
            for part in pd.read_sql_query(query, store.db, chunksize=ROWS):
                points = {text: json.loads(text) for text in part["parameters"].unique()}
                if names is None:
                    names = list(next(iter(points.values()), {}))
                if any(list(point) != names for point in points.values()):
                    raise ValueError("not every replica is planned at the same parameters")
                for name in names:
                    part[name] = part["parameters"].map({text: point[name] for text, point in points.items()})
                part = part.drop(columns="parameters").rename(columns={"parameters_n": "parameters"})
                parts.append(_typed(part)[_order(names)])
                seen.clear()
        finally:
            store.db.text_factory = str
    return pd.concat(parts, ignore_index=True)


def ended(store: Store) -> pd.DataFrame:
    """Read what became of every stored replica, whatever is planned, by key; wrong ones are left out.

    Columns: status, cause, steps_to_solved, final_sequence_accuracy, diverged_at, traceback, finished.
    """
    names = ("status", "cause", "steps_to_solved", "final_sequence_accuracy", "diverged_at", "traceback", "finished")
    with _reading(store):
        query = f"SELECT key, {', '.join(names)} FROM replica WHERE wrong IS NULL"
        return pd.read_sql_query(query, store.db, index_col="key")


def _order(parameters: list[str]) -> list[str]:
    return [
        "label", "cell", *parameters, "batch_size", "size", "hidden_size", "parameters", "state", "multiply_adds",
        "learning_rate", "seed", *OUTCOME[:10], "engine", "isa", "compiler", "engine_version", "device", "key",
        *VOLATILE, "traceback", "replica",
    ]  # fmt: skip


def _typed(part: pd.DataFrame) -> pd.DataFrame:
    """Set the columns' types, which must not depend on what is missing in these rows."""
    # a column without any text would stay of objects, where pandas 3 has a type for texts
    part["status"] = part["status"].fillna("missing").astype(str)
    for name in ("cause", "engine", "isa", "compiler", "traceback", "host", "worker", "started", "finished"):
        part[name] = part[name].fillna("").astype(str)
    for name in _WHOLE:
        part[name] = part[name].astype("Int64")
    for name, default in LATER.items():
        part[name] = part[name].fillna(default)
    for name in ("final_loss", "final_bit_accuracy", "final_sequence_accuracy", "seconds"):
        part[name] = part[name].astype("float64")
    return part


def curve_rows(store: Store) -> pd.DataFrame:
    """Read the learning curves of the planned replicas: replica, step, loss, bit_accuracy, sequence_accuracy."""
    query = _of_planned("curve", "step")
    with _reading(store):
        # the longest table, which takes five times its size as rows of Python objects
        parts = list(pd.read_sql_query(query, store.db, chunksize=10 * ROWS, dtype={"loss": "float64"}))
    return pd.concat(parts, ignore_index=True)


def evaluations(store: Store) -> pd.DataFrame:
    """Read the final evaluations of the planned replicas.

    Columns: replica, position, by, value, bit_accuracy, sequence_accuracy.
    """
    with _reading(store):
        # in one piece, so that a value's type does not depend on those of other rows
        return pd.read_sql_query(_of_planned("evaluation", "position"), store.db)


def _of_planned(table: str, order: str) -> str:
    return (
        f"SELECT {columns(table, 't')} FROM {table} t WHERE t.replica IN "
        f"(SELECT r.id FROM replica r JOIN plan p ON p.key = r.key) ORDER BY t.replica, t.{order}"
    )


@dataclass(frozen=True)
class Frames:
    """The results of a store's last experiment as DataFrames.

    Attributes:
        experiment: resolved, facts, environment, command, started.
        runs: one row per planned replica.
        evaluations: one row per final evaluation.
        curves: one row per evaluation of a learning curve; no rows if they were not asked for.
        answers: what cells answered to laws, by the cell's digest.
        unplanned: how many stored outcomes this experiment does not plan.
        doubts: label and sentence of cells that an earlier version of an engine trained wrongly, or may have.
        history: every experiment of the store, in the order of time, the last one among them.
    """

    experiment: dict[str, Any]
    runs: pd.DataFrame
    evaluations: pd.DataFrame
    curves: pd.DataFrame
    unplanned: int
    answers: Mapping[str, Sequence[Answer]] = field(default_factory=dict)
    doubts: tuple[tuple[str, str], ...] = ()
    history: tuple[dict[str, Any], ...] = ()


def read(folder: Path, *, curves: bool = True) -> Frames:
    """Read the store of one folder.

    Raises:
        StoreError: the folder holds no results.
    """
    with Store(folder, write=False) as store:
        store.check()
        experiment, others, known = store.experiment(), unplanned(store), tuple(earlier.doubts(store))
        history = tuple(store.history())
        with store.reading():
            claims.refuse_unplanned(store.db, experiment)
        planned, scores, answers = runs(store), evaluations(store), given(store)
        with store.reading():
            by, values = (scores[name].dropna().unique().tolist() for name in ("by", "value"))
            claims.refuse_odd_evaluations(by, values, experiment["facts"])
        points = curve_rows(store) if curves else None
    parameters = tuple(experiment["facts"]["axes"])
    point = ["label", *parameters, "batch_size", "size", "learning_rate", "seed"]
    who = planned[[*point, "replica"]].dropna(subset=["replica"])
    scores = _beside(who, scores).drop(columns="position")
    # the values of most tasks are numbers; texts stay texts
    numeric = pd.to_numeric(scores["value"], errors="coerce")
    if numeric.notna().sum() == scores["value"].notna().sum():
        scores["value"] = numeric
    wide = pd.DataFrame(columns=[*point, *CURVE]) if points is None else _beside(who, points)
    return Frames(experiment, planned, scores, wide, others, answers, known, history)


def _beside(who: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Join `rows`, sorted by replica, to `who` in the order of `who`: what `merge` does, in half of its memory."""
    replica, sought = rows["replica"].to_numpy(), who["replica"].to_numpy(dtype=np.int64)
    first = np.searchsorted(replica, sought, side="left")
    counts = np.searchsorted(replica, sought, side="right") - first
    owner = np.repeat(np.arange(len(who)), counts)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    at = first[owner] + within
    columns = {name: who[name].to_numpy()[owner] for name in who.columns if name != "replica"}
    columns |= {name: rows[name].to_numpy()[at] for name in rows.columns if name != "replica"}
    return pd.DataFrame(columns, copy=False)
