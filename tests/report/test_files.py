"""Files of a report and a store are made apart, under names that nobody can foresee, and then take their places."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import yaml

from cellbench.report.files import write_text
from cellbench.report.report import FILES
from cellbench.results import results
from cellbench.running import run as run_experiment
from tests.helpers.commands import TINY, Command
from tests.helpers.odd_files import CONTENT, KINDS, NOWHERE, PRIVATE
from tests.helpers.runs import exports

ONE = {**TINY, "cells": ["rnn"], "seeds": 1}


@pytest.fixture(autouse=True)
def _private() -> None:
    PRIVATE.write_text(CONTENT)


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "second name"])
def test_what_lies_in_a_files_place_is_replaced_not_followed(kind: str) -> None:
    """A link, a pipe or a second name where a file goes, or where it could be made first."""
    run_experiment(ONE, "out", report=False)
    for name in FILES:
        KINDS[kind][0](Path("out", name))
    for name in (*FILES, "runs.sqlite"):
        KINDS[kind][0](Path("out", f".{name}.{os.getpid()}"))
    results.write(Path("out"), charts=False)
    run_experiment(ONE, "out", report=False, fresh=True)
    assert PRIVATE.read_text() == CONTENT
    assert not NOWHERE.exists()
    for name in ("summary.md", "runs.csv", "runs.sqlite"):
        found = Path("out", name).lstat()
        assert (found.st_nlink, Path("out", name).is_symlink()) == (1, False)


def test_nothing_is_left_beside_a_file() -> None:
    """Written or not, what was made apart is gone; the file can be read by whom the umask lets."""
    before = os.umask(0o027)
    try:
        write_text(Path("new/a.txt"), "a")
    finally:
        os.umask(before)
    assert [p.name for p in Path("new").iterdir()] == ["a.txt"]
    assert Path("new/a.txt").stat().st_mode & 0o777 == 0o640
    with pytest.raises(UnicodeEncodeError):
        write_text(Path("new/b.txt"), "\ud800")
    assert [p.name for p in Path("new").iterdir()] == ["a.txt"]


@pytest.mark.charts
def test_charts_are_not_drawn_elsewhere(command: Command) -> None:
    """`charts` that is a link to a folder of the reader's: refused, and the pictures there are as they were."""
    run_experiment(ONE, "out", report=False)
    Path("album").mkdir()
    for name in ("holiday.png", "forest.png", "length.png"):
        Path("album", name).write_text("a picture of the reader's")
    Path("out/charts").symlink_to(Path("album").absolute())
    for words in (["report", "out"], ["report", "out", "--to", "out"]):
        ended = command(*words)
        assert (ended.status, "out/charts is a link" in ended.err) == (2, True), ended.err
    assert {p.name: p.read_text() for p in Path("album").iterdir()} == dict.fromkeys(
        ("holiday.png", "forest.png", "length.png"), "a picture of the reader's"
    )


def test_a_folder_in_the_place_of_failures(command: Command) -> None:
    """A file that is to be removed and is a folder: a message."""
    run_experiment(ONE, "out", report=False)
    Path("out/failures.txt").mkdir()
    ended = command("report", "out")
    assert (ended.status, "out/failures.txt cannot be removed" in ended.err) == (2, True), ended.err


@pytest.mark.parametrize("name", [".merge", ".merge-1"])
def test_a_merge_works_in_no_folder_of_others(name: str, command: Command) -> None:
    """A link where merge once worked leads nowhere: the other store stays; what a killed merge left is removed."""
    run_experiment(ONE, "a", report=False)
    run_experiment({**ONE, "seeds": [5]}, "other", report=False)
    shutil.copytree("a", "out")
    Path("out", name).symlink_to(Path("other").absolute())
    Path("out/.merge-2").mkdir()
    Path("out/.merge-2/runs.sqlite").write_text("of a merge that was killed")
    before = {p.name: p.read_bytes() for p in Path("other").iterdir()}
    assert command("merge", "out", "a").status == 0
    assert {p.name: p.read_bytes() for p in Path("other").iterdir()} == before
    assert not Path("out/.merge-2").exists()
    results.write(Path("a"), charts=False)
    assert exports(Path("out")) == exports(Path("a"))


def test_an_upgrade_keeps_its_copy_under_a_free_name(command: Command) -> None:
    """A link that leads nowhere takes a name as well: the copy of the older store gets the next one."""
    stored = Path(__file__).parents[1] / "stored/db868fb"
    shutil.copytree(stored, ".", dirs_exist_ok=True)
    KINDS["dangling link"][0](Path("small/runs-schema-2-1.sqlite"))
    experiment = yaml.safe_load(Path("small.yaml").read_text())
    Path("small.yaml").write_text(yaml.safe_dump({**experiment, "seeds": [0]}))
    ended = command("run", "small.yaml", "--results", ".", "--workers", 1, "--no-report")
    assert (ended.status, "small/runs-schema-2-2.sqlite keeps it as it was" in ended.err) == (0, True), ended.err
    assert not NOWHERE.exists()
