"""Results folders that commit db868fb wrote: reported, resumed, verified and merged, and nothing is trained anew.

tests/stored/db868fb holds them, with a cell from a file that has a sibling; its README has the commands.
"""

from __future__ import annotations

import csv
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cellbench.records import VERSIONS
from cellbench.store import NUMBERS, VOLATILE
from cellbench.store.schema import LATER, VERSION
from tests.helpers.commands import Command

THEN = tuple(name for name in NUMBERS if name not in LATER)
"""The columns of numbers that a replica had then."""
STORED = Path(__file__).parent / "stored" / "db868fb"


@pytest.fixture(autouse=True)
def _copied(tmp_path: Path) -> None:
    """Each test works on a copy."""
    shutil.copytree(STORED, tmp_path, dirs_exist_ok=True)


def rows(file: Path) -> list[dict[str, str]]:
    """A CSV file's rows, volatile columns aside."""
    with file.open(newline="") as text:
        return [{k: v for k, v in row.items() if k not in VOLATILE} for row in csv.DictReader(text)]


def replicas(folder: str) -> dict[str, Any]:
    """Each stored replica's numbers and checksum, and when it was trained, by its key."""
    return replicas_of(Path(folder) / "runs.sqlite")


def replicas_of(store: str | Path) -> dict[str, Any]:
    with closing(sqlite3.connect(store)) as db:
        columns = ", ".join((*THEN, "checksum", "started", "finished"))
        return {key: tuple(row) for key, *row in db.execute(f"SELECT key, {columns} FROM replica")}


@pytest.mark.parametrize("name", ["runs.csv", "curves.csv"])
def test_reported(name: str, command: Command) -> None:
    """A report made of it today has every number that its own version wrote."""
    assert command("report", "small").status == 0
    then, now = rows(STORED / name), rows(Path("small") / name)
    assert len(then) == len(now) > 0
    for old, new in zip(then, now, strict=True):
        assert {k: new[k] for k in old} == old


def test_resumed(command: Command) -> None:
    """Run again, it trains nothing; a seed more trains that seed alone, and the report says what trained how many."""
    before = replicas("small")
    assert command("run", "small.yaml", "--results", ".", "--workers", 1).status == 0
    assert replicas("small") == before
    assert len(before) == 60
    more = command("run", "small.yaml", "--results", ".", "--workers", 1, "--set", "seeds=4")
    assert more.status == 0
    said = Path("small/summary.md").read_text()
    assert re.search(rf"rounded differently: 60 by lanes 1\b.*, 20 by lanes {VERSIONS['lanes']}\b", said), said
    after = replicas("small")
    assert {key: after[key] for key in before} == before
    assert len(after) == 80


@pytest.mark.slow
def test_upgraded_by_a_run_alone(command: Command) -> None:
    """Commands that read leave the file as it was, to the byte; a run brings it to today's schema, and keeps a copy."""
    before = Path("small/runs.sqlite").read_bytes()
    for words in (
        ["status", "small"],
        ["report", "small"],
        ["verify", "small", "--sample", 1, "--run-code"],
        ["merge", "x", "small"],
    ):
        assert command(*words).status == 0
        assert Path("small/runs.sqlite").read_bytes() == before
    ended = command("run", "small.yaml", "--results", ".", "--workers", 1, "--set", "seeds=4")
    assert ended.status == 0
    assert "small/runs.sqlite was upgraded to this version's schema; small/runs-schema-2-1.sqlite keeps it" in ended.err
    assert replicas("small") != replicas_of("small/runs-schema-2-1.sqlite") == replicas_of(STORED / "small/runs.sqlite")
    assert [p.name for p in Path("small").glob("*.sqlite*")].count("runs-schema-2-1.sqlite") == 1
    with closing(sqlite3.connect("small/runs.sqlite")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        upgraded = tables(db)
    # a new store and an upgraded one have the same tables, comments aside
    assert command("run", "small.yaml", "--results", "new", "--workers", 1, "--only", "seed=0").status == 0
    with closing(sqlite3.connect("new/small/runs.sqlite")) as db:
        assert tables(db) == upgraded
    assert command("run", "small.yaml", "--results", ".", "--workers", 1).err.count("schema") == 0


def tables(db: sqlite3.Connection) -> dict[str, str]:
    """The statements that made the tables and indices, by name, without comments and spaces."""
    found = db.execute("SELECT name, sql FROM sqlite_master").fetchall()
    return {name: re.sub(r"--[^\n]*|\s", "", sql or "") for name, sql in found}


def test_a_newer_schema_is_refused(command: Command) -> None:
    """Every command refuses a store of a later cellbench, says so, and leaves it as it is."""
    with closing(sqlite3.connect("small/runs.sqlite")) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = Path("small/runs.sqlite").read_bytes()
    for words in (["status", "small"], ["report", "small"], ["verify", "small"], ["merge", "x", "small"],
                  ["run", "small.yaml", "--results", "."]):  # fmt: skip
        ended = command(*words)
        assert (ended.status, "was written by a newer cellbench" in ended.err) == (2, True)
        assert Path("small/runs.sqlite").read_bytes() == before


@pytest.mark.slow
def test_verified(command: Command) -> None:
    """Trained again, by the stored text of the cell from a file, its replicas have their numbers up to rounding.

    Only replicas of the same version of the engine are compared bit for bit; verify says which version it was.
    """
    Path("gated.py").unlink()
    Path("mixing.py").unlink()
    ended = command("verify", "small", "--sample", 60, "--run-code")
    assert ended.status == 0, ended.out
    assert f"engine_version 1 then, {VERSIONS['lanes']} now" in ended.out
    assert "Trained 60 of 60 replicas again" in ended.out
    assert ": to the tolerance (losses differ by at most " in ended.out
    assert ended.out.endswith("No difference.\n")


def test_merged(command: Command) -> None:
    """Its shards, merged today, are the undivided run."""
    assert command("merge", "out", "shards/1", "shards/2").status == 0
    whole, merged = replicas("small"), replicas("out")
    numbers = slice(0, len(THEN) + 1)
    assert {key: row[numbers] for key, row in merged.items()} == {key: row[numbers] for key, row in whole.items()}
    status = command("status", "out")
    assert "60 replicas planned, 60 done" in status.out
    assert "Complete." in status.out
