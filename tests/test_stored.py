"""Results folders that commit db868fb wrote: reported, resumed, verified and merged, and nothing is trained anew.

tests/stored/db868fb holds them, with a cell from a file that has a sibling; its README has the commands.
"""

from __future__ import annotations

import csv
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cellbench.store import NUMBERS, VOLATILE
from tests.helpers.commands import Command

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
    with closing(sqlite3.connect(f"{folder}/runs.sqlite")) as db:
        columns = ", ".join((*NUMBERS, "checksum", "started", "finished"))
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
    """Run again, it trains nothing; a seed more trains that seed alone."""
    before = replicas("small")
    assert command("run", "small.yaml", "--results", ".", "--workers", 1).status == 0
    assert replicas("small") == before
    assert len(before) == 60
    assert command("run", "small.yaml", "--results", ".", "--workers", 1, "--set", "seeds=4").status == 0
    after = replicas("small")
    assert {key: after[key] for key in before} == before
    assert len(after) == 80


def test_verified(command: Command) -> None:
    """Trained again, by the stored text of the cell from a file, its replicas have their numbers."""
    Path("gated.py").unlink()
    Path("mixing.py").unlink()
    ended = command("verify", "small", "--sample", 60)
    assert ended.status == 0, ended.out
    assert "Trained 60 of 60 replicas again" in ended.out
    assert ended.out.endswith("No difference.\n")


def test_merged(command: Command) -> None:
    """Its shards, merged today, are the undivided run."""
    assert command("merge", "out", "shards/1", "shards/2").status == 0
    whole, merged = replicas("small"), replicas("out")
    numbers = slice(0, len(NUMBERS) + 1)
    assert {key: row[numbers] for key, row in merged.items()} == {key: row[numbers] for key, row in whole.items()}
    status = command("status", "out")
    assert "60 replicas planned, 60 done" in status.out
    assert "Complete." in status.out
