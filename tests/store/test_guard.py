"""What lies where a store should: links, pipes and foreign journals are refused before sqlite opens anything."""

from __future__ import annotations

import shutil
import stat
import struct
from pathlib import Path

import pytest
import yaml

import cellbench
from cellbench.errors import StoreError
from cellbench.running import run as run_experiment
from tests.helpers.commands import TINY, Command
from tests.helpers.odd_files import CONTENT, KINDS, NOWHERE, PRIVATE
from tests.helpers.runs import exports

READERS = (
    ["status", "theirs"],
    ["report", "theirs"],
    ["verify", "theirs"],
    ["merge", "to", "theirs"],
    ["merge", "theirs", "mine"],
    ["run", "tiny.yaml", "--workers", 1, "--results", "."],
)
"""Every command that reads a results folder; `theirs` holds what `tiny.yaml` plans."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder, made once."""
    folder = tmp_path_factory.mktemp("made") / "out"
    run_experiment({**TINY, "name": "theirs", "cells": ["rnn"], "seeds": 1}, folder, report=False)
    return folder


@pytest.fixture(autouse=True)
def _copied(made: Path) -> None:
    """Each test has the folder of a stranger, one of its own, the experiment, and a file that nobody may touch."""
    shutil.copytree(made, "theirs")
    shutil.copytree(made, "mine")
    Path("tiny.yaml").write_text(yaml.safe_dump({**TINY, "name": "theirs", "cells": ["rnn"], "seeds": 1}))
    PRIVATE.write_text(CONTENT)


def traits(path: Path) -> tuple[int, ...]:
    """What would differ if a file had been replaced or written."""
    found = path.lstat()
    return found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", ["runs.sqlite", "runs.sqlite-journal", "runs.sqlite-wal", "runs.sqlite-shm"])
def test_only_regular_files_are_opened(part: str, kind: str, command: Command) -> None:
    """A link, a pipe or a folder in the place of a store's file: each command says so, and no file is changed."""
    make, said = KINDS[kind]
    path = Path("theirs", part)
    path.unlink(missing_ok=True)
    make(path)
    before = traits(path)
    for words in READERS:
        ended = command(*words)
        assert ended.status == 2, words
        if (part, kind) != ("runs.sqlite", "second name"):
            assert said in ended.err, (words, ended.err)
            assert f"{path} " in ended.err
    with pytest.raises(StoreError):
        cellbench.load("theirs")
    assert traits(path) == before
    assert PRIVATE.read_text() == CONTENT
    assert not NOWHERE.exists()


def test_a_second_name_alone_is_read(command: Command) -> None:
    """A copy made of hard links is read, and is not written: its other name would be changed with it."""
    Path("theirs/runs.sqlite").unlink()
    Path("theirs/runs.sqlite").hardlink_to("mine/runs.sqlite")
    before = Path("mine/runs.sqlite").read_bytes()
    assert command("status", "theirs").status == 0
    assert command("report", "theirs").status == 0
    ended = command("run", "tiny.yaml", "--workers", 1, "--results", ".", "--set", "seeds=2")
    assert (ended.status, "has another name too" in ended.err) == (2, True), ended.err
    assert Path("mine/runs.sqlite").read_bytes() == before


MAGIC = bytes.fromhex("d9d505f920a163d7")


def naming(further: str, *, sound: bool = True) -> bytes:
    """A journal that holds nothing to undo, and ends with the name of a further one, as sqlite would write it."""
    name = further.encode()
    record = struct.pack(">IIi", 1, len(name), sum(name) if sound else 7)
    return bytes(512) + record[:4] + name + record[4:] + MAGIC


@pytest.mark.parametrize("sound", [True, False])
def test_a_journal_that_names_a_further_one(sound: bool, command: Command) -> None:
    """Transactions over several files write such journals, and cellbench has none: refused, with the file's name."""
    further = Path("further-mj1").absolute()
    further.write_text("a file that the journal names")
    journal = Path("theirs/runs.sqlite-journal")
    journal.write_bytes(naming(str(further), sound=sound))
    before = Path("theirs/runs.sqlite").read_bytes()
    for words in READERS:
        ended = command(*words)
        assert (ended.status, "theirs/runs.sqlite-journal names a further file" in ended.err) == (2, True), ended.err
        assert journal.read_bytes() == naming(str(further), sound=sound)
    assert further.read_text() == "a file that the journal names"
    assert Path("theirs/runs.sqlite").read_bytes() == before


def test_a_journal_of_a_far_larger_store(command: Command) -> None:
    """Its head claims more pages than the store and the journal hold: sqlite would make the file as long as that."""
    head = MAGIC + struct.pack(">IIIII", 0, 0, 5_000, 512, 4096)
    Path("theirs/runs.sqlite-journal").write_bytes(head.ljust(512, b"\0"))
    before = Path("theirs/runs.sqlite").read_bytes()
    for words in READERS:
        ended = command(*words)
        assert (ended.status, "does not belong to this store" in ended.err) == (2, True), ended.err
    assert Path("theirs/runs.sqlite").read_bytes() == before


def test_a_journal_beside_what_is_no_store(command: Command) -> None:
    """What cellbench did not write is never opened to be written, whatever lies beside it."""
    for content in (b"", b"text" * 5000, b"SQLite format 3\0".ljust(8192, b"\1")):
        Path("theirs/runs.sqlite").write_bytes(content)
        Path("theirs/runs.sqlite-journal").write_bytes(bytes(512))
        for words in READERS:
            assert command(*words).status == 2
            assert Path("theirs/runs.sqlite").read_bytes() == content
            assert Path("theirs/runs.sqlite-journal").read_bytes() == bytes(512)


@pytest.mark.parametrize("part", ["runs.sqlite", "runs.sqlite-journal"])
@pytest.mark.parametrize("kind", KINDS)
def test_fresh_puts_it_aside_unopened(kind: str, part: str, command: Command) -> None:
    """--fresh is a way out of all of these: what lies there gets another name as it is, and the run is whole."""
    make, _ = KINDS[kind]
    path = Path("theirs", part)
    path.unlink(missing_ok=True)
    make(path)
    before = path.lstat()
    ended = command("run", "tiny.yaml", "--workers", 1, "--results", ".", "--fresh", "--no-report")
    assert ended.status == 0, ended.err
    assert Path("theirs", part.replace("runs", "runs-1")).lstat().st_ino == before.st_ino
    assert PRIVATE.read_text() == CONTENT
    assert command("report", "theirs").status == command("report", "mine").status == 0
    assert exports(Path("theirs")) == exports(Path("mine"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_lock_is_a_regular_file(kind: str, command: Command) -> None:
    """A lock that is a link or has a second name would be written into; it is refused."""
    make, said = KINDS[kind]
    path = Path("theirs/.lock")
    path.unlink()
    make(path)
    for words in (READERS[4], READERS[5]):
        ended = command(*words)
        assert (ended.status, said in ended.err) == (2, True), ended.err
    assert PRIVATE.read_text() == CONTENT
    assert not NOWHERE.exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [".report.json", "runs.csv"])
def test_a_seal_is_read_from_regular_files(kind: str, part: str, command: Command) -> None:
    """A pipe in the place of a report's file is not waited for: the report is made again in its place."""
    words = ["run", "tiny.yaml", "--workers", 1, "--results", "."]
    assert command(*words).status == 0
    make, _ = KINDS[kind]
    path = Path("theirs", part)
    path.unlink()
    make(path)
    if kind == "folder":
        assert command(*words).status == 2
        return
    ended = command(*words)
    assert (ended.status, "up to date" in ended.err) == (0, False), ended.err
    assert stat.S_ISREG(path.lstat().st_mode)
    assert path.lstat().st_nlink == 1
    assert PRIVATE.read_text() == CONTENT
