"""A finished run does not make its report again, unless anything may have changed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import cellbench
from cellbench.results import seal
from tests.helpers.commands import Command, Ended
from tests.helpers.runs import reseal

FOLDER = Path("results/tiny")


@pytest.fixture
def finished(write: Callable[..., Path], command: Command) -> Ended:
    """A finished run, and what it printed."""
    ended = command("run", write(), "--quiet", "--workers", 1)
    assert ended.status == 0, ended.err
    return ended


def written() -> dict[str, int]:
    """When each file of the folder was written."""
    return {str(p): p.stat().st_mtime_ns for p in FOLDER.rglob("*") if p.is_file() and p.name != ".lock"}


def test_unchanged_results_keep_their_report(finished: Ended, command: Command) -> None:
    """Nothing is written, not even the store; the same answer is printed; it is said, and --quiet says nothing."""
    before = written()
    again = command("run", "tiny.yaml", "--workers", 1)
    assert written() == before
    assert again.out == finished.out
    assert "To make it again: cellbench report results/tiny" in again.err
    assert command("run", "tiny.yaml", "--quiet", "--workers", 1).err == ""
    assert written() == before
    kept = cellbench.run("tiny.yaml")
    assert str(kept) == finished.out.partition("Page: ")[0]
    assert len(kept.runs) == 4  # numbers are read when they are asked for


@pytest.mark.slow
@pytest.mark.charts
def test_drawn_files_count(write: Callable[..., Path], command: Command) -> None:
    """A picture that is gone or was changed is drawn again; `report` always makes everything."""
    command("run", write(), "--quiet", "--workers", 1)
    picture = FOLDER / "charts" / "curves.png"
    whole, before = picture.read_bytes(), written()
    for spoil in (picture.unlink, lambda: picture.write_bytes(b"")):
        spoil()
        assert command("run", "tiny.yaml", "--quiet", "--workers", 1).status == 0
        assert picture.read_bytes() == whole
    before = written()
    command("run", "tiny.yaml", "--quiet", "--workers", 1)
    assert written() == before
    command("report", FOLDER)
    assert not {name for name, at in written().items() if at == before[name]} - {str(FOLDER / "runs.sqlite"),
                                                                               str(FOLDER / seal.NAME)}  # fmt: skip
    command("run", "tiny.yaml", "--quiet", "--workers", 1)
    assert picture.read_bytes() == whole


def another_outcome() -> None:
    with closing(sqlite3.connect(FOLDER / "runs.sqlite")) as db, db:
        db.execute("UPDATE replica SET final_loss = 0.25 WHERE id = 1")
    db.close()
    reseal(FOLDER)


def another_version() -> None:
    content = json.loads((FOLDER / seal.NAME).read_text())
    content["request"] = "0" * 64
    (FOLDER / seal.NAME).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "options"),
    [
        ((FOLDER / "summary.md").unlink, []),
        (lambda: (FOLDER / "runs.csv").write_text("altered"), []),
        (lambda: (FOLDER / "failures.txt").write_text("of another run"), []),
        (another_outcome, []),
        (another_version, []),
        ((FOLDER / seal.NAME).unlink, []),
        (lambda: (FOLDER / seal.NAME).write_text("{"), []),
        (lambda: (FOLDER / "runs.sqlite-wal").touch(), []),
        (lambda: None, ["--set", "report.ratio_of_interest=1.5"]),
        (lambda: None, ["--set", "seeds=1"]),
        (lambda: None, ["--set", "baseline=rnn"]),
    ],
    ids=["gone", "altered", "more", "outcome", "request", "no seal", "half a seal", "log", "set", "fewer", "baseline"],
)
def test_any_doubt_makes_it_again(
    finished: Ended, command: Command, change: Callable[[], object], options: list[str]
) -> None:
    """Files are made anew, right ones, and sealed again."""
    change()
    before = written()
    ended = command("run", "tiny.yaml", "--workers", 1, *options)
    assert ended.status == 0, ended.err
    assert "Made again" not in ended.err
    after = written()
    assert all(after[str(FOLDER / name)] != before.get(str(FOLDER / name)) for name in ("runs.csv", "summary.md"))
    assert options or ended.out == finished.out
    command("run", "tiny.yaml", "--workers", 1, *options)
    assert written() == after


def test_altered_results_are_still_told(finished: Ended, command: Command) -> None:
    """A number changed behind cellbench's back breaks the seal, and the report refuses it."""
    with closing(sqlite3.connect(FOLDER / "runs.sqlite")) as db, db:
        db.execute("UPDATE curve SET bit_accuracy = 0.5 WHERE replica = 1")
    db.close()
    ended = command("run", "tiny.yaml", "--quiet", "--workers", 1)
    assert ended.status == 2
    assert "were changed after they were stored" in ended.err
