"""What a store's catalogue may hold: the tables of schema.sql, word for word, and nothing that acts or computes."""

from __future__ import annotations

import resource
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import yaml

import cellbench
from cellbench.errors import StoreError
from cellbench.running import run as run_experiment
from cellbench.store import Store, connection, schema
from tests.helpers.commands import TINY, Command

STORED = Path(__file__).parents[1] / "stored/db868fb/small/runs.sqlite"
ONE = {**TINY, "cells": ["rnn"], "seeds": 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder, made once."""
    folder = tmp_path_factory.mktemp("made") / "out"
    run_experiment(ONE, folder, report=False)
    return folder


def execute(*statements: str, folder: str = "out") -> None:
    with closing(sqlite3.connect(f"{folder}/runs.sqlite", isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


def rewrite(name: str, old: str, new: str) -> None:
    """Change a word of the catalogue, as nothing but an editor of the file can."""
    with closing(sqlite3.connect("out/runs.sqlite", isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema = ON")
        query = "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = ? AND sql LIKE ?"
        assert db.execute(query, (old, new, name, f"%{old}%")).rowcount == 1


ADDED: dict[str, str] = {
    "trigger": "CREATE TRIGGER t AFTER INSERT ON replica BEGIN DELETE FROM curve; END",
    "view": "CREATE VIEW v AS SELECT * FROM replica",
    "table": "CREATE TABLE t (x)",
    "index": "CREATE INDEX i ON plan (key)",
    "virtual table": "CREATE VIRTUAL TABLE t USING fts5(x)",
    "statistics": "ANALYZE",
}


@pytest.mark.parametrize("kind", ADDED)
def test_what_is_added_is_refused(kind: str, made: Path, command: Command) -> None:
    """Each command names what cellbench never makes, and leaves the file as it is."""
    shutil.copytree(made, "out")
    shutil.copytree(made, "mine")
    execute(ADDED[kind])
    before = Path("out/runs.sqlite").read_bytes()
    Path("tiny.yaml").write_text(yaml.safe_dump({**ONE, "name": "out"}))
    for words in (["status", "out"], ["report", "out"], ["verify", "out"], ["merge", "to", "mine", "out"],
                  ["merge", "out", "mine"], ["run", "tiny.yaml", "--workers", 1, "--results", "."]):  # fmt: skip
        ended = command(*words)
        assert (ended.status, "which cellbench never makes" in ended.err) == (2, True), ended.err
        assert Path("out/runs.sqlite").read_bytes() == before


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) SELECT i AS"
ZEROS = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 8000) SELECT zeroblob(1000000) AS"
IN_PLACE: dict[str, tuple[str, str]] = {
    "a curve that never ends": ("curve", f"{ENDLESS} replica, 1 AS step, 0.5 AS loss FROM n"),
    "a plan that never ends": ("plan", f"{ENDLESS} position, 'rnn' AS label, '{{}}' AS parameters, 'x' AS key FROM n"),
    "replicas that never end": ("replica", f"{ENDLESS} id, 'x' AS key, 'x' AS family, 0 AS seed FROM n"),
    "8 GB of zeros in texts": ("source", f"{ZEROS} text, 'x' AS sha256, 'm' AS module FROM n"),
    "8 GB of zeros in an experiment": ("experiment", f"{ZEROS} resolved, 1 AS id FROM n"),
}


@pytest.mark.parametrize("kind", IN_PLACE)
def test_what_is_in_the_place_of_a_table_is_not_read(kind: str, made: Path, command: Command) -> None:
    """A view under the name of one of our tables would compute without end, or fill the memory: it is never asked."""
    table, query = IN_PLACE[kind]
    shutil.copytree(made, "out")
    shutil.copytree(made, "mine")
    execute("PRAGMA foreign_keys = OFF", f"DROP TABLE {table}", f"CREATE VIEW {table} AS {query}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for words in (["status", "out"], ["report", "out"], ["verify", "out"], ["verify", "out", "--list"],
                  ["merge", "to", "out"], ["merge", "out", "mine"]):  # fmt: skip
        ended = command(*words)
        assert (ended.status, f"lacks {table}, in whole or in part" in ended.err) == (2, True), ended.err
    with pytest.raises(StoreError):
        cellbench.load("out")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


ALTERED: dict[str, Callable[[], None]] = {
    "a generated column": lambda: execute("ALTER TABLE source ADD COLUMN more TEXT AS (module)"),
    "a generated column in the place of another": lambda: rewrite(
        "source", "text   TEXT NOT NULL", "text TEXT NOT NULL GENERATED ALWAYS AS (module)"
    ),
    "a default": lambda: rewrite("engine", "reason TEXT NOT NULL", "reason TEXT NOT NULL DEFAULT (random())"),
    "a check": lambda: rewrite("replica", "cause = 'machine'", "cause = 'machine' OR abs(seed) >= 0"),
    "a text within quotes": lambda: rewrite("replica", "cause = 'machine'", "cause = ' machine'"),
    "a reference": lambda: rewrite("curve", "REFERENCES replica (id)", "REFERENCES replica (seed)"),
    "another type": lambda: rewrite("plan", "seed          INTEGER", "seed ANY"),
    "another name": lambda: execute("ALTER TABLE plan RENAME COLUMN seed TO seeds"),
    "not strict": lambda: rewrite("engine", ") STRICT", ")"),
}


@pytest.mark.parametrize("kind", ALTERED)
def test_what_is_altered_is_refused(kind: str, made: Path, command: Command) -> None:
    """A table that computes, or has another shape, under the name of one of ours."""
    shutil.copytree(made, "out")
    ALTERED[kind]()
    for words in (["status", "out"], ["report", "out"], ["merge", "to", "out"]):
        ended = command(*words)
        assert (ended.status, "is not as cellbench makes it" in ended.err) == (2, True), ended.err


def versions() -> list[int]:
    return list(range(schema.OLDEST, schema.VERSION + 1))


@pytest.mark.parametrize(("first", "last"), [(a, b) for a in versions() for b in versions() if a <= b])
def test_every_version_and_every_upgrade_is_allowed(first: int, last: int) -> None:
    """A store that some version made, and others upgraded since, is read; so is that of commit db868fb."""
    Path("out").mkdir()
    with closing(sqlite3.connect("out/runs.sqlite", isolation_level=None)) as db:
        db.executescript(schema.statements(to=first))
        for version in range(first, last):
            db.executescript(schema.statements(after=version, to=version + 1))
        db.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {last}")
    with Store(Path("out"), write=False) as store:
        assert store.done() == set()
    with Store(Path("out"), write=True) as store:
        assert (store.upgraded is None) == (last == schema.VERSION)
    Path("out/runs.sqlite").write_bytes(STORED.read_bytes())
    for write in (False, True, False):
        with Store(Path("out"), write=write) as store:
            assert len(store.done()) == 60


@pytest.mark.parametrize("older", [False, True])
def test_reading_cannot_write(older: bool, made: Path) -> None:
    """A store that is read cannot be written by the same connection, whatever is asked of it."""
    shutil.copytree(made, "out")
    if older:
        shutil.copy(STORED, "out/runs.sqlite")
    with Store(Path("out"), write=False) as store:
        for statement in ("DELETE FROM main.curve", "CREATE TEMP TABLE t (x)", "INSERT INTO engine VALUES (1, 2, 3)"):
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                store.db.execute(statement)
        assert store.db.execute("PRAGMA trusted_schema").fetchone() == (0,)


def test_a_value_has_a_limit(made: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text longer than any that cellbench writes is not read into memory: a message."""
    monkeypatch.setattr(connection, "MOST_BYTES", 100_000)
    shutil.copytree(made, "out")
    execute("UPDATE source SET text = printf('%.*c', 200000, 'x')")
    execute("UPDATE experiment SET command = printf('%.*c', 200000, 'x')")
    for words in (["status", "out"], ["verify", "out"], ["report", "out"], ["merge", "to", "out"]):
        ended = command(*words)
        assert (ended.status, "too big" in ended.err) == (2, True), ended.err
    with pytest.raises(StoreError, match="too big"), Store(Path("out"), write=True) as store:
        store.set_engines({"x": ("stack", "y" * 200_000)})
