"""Fixtures for everybody: one thread, a folder of its own for each test, the command line as a function."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a background job of a shell without job control ignores Ctrl-C, and so would all that these tests start
    signal.signal(signal.SIGINT, signal.default_int_handler)

TINY: dict[str, Any] = {
    "name": "tiny",
    "cells": ["rnn", "lstm"],
    "engine": "reference",
    "grid": {"bits": 4, "batch_size": 4, "hidden_size": 3},
    "seeds": 2,
    "learning_rate": [0.05],
    "train": {"max_steps": 20},
    "evaluate": {"every": 5, "examples": 32},
    "final": {"examples": 20, "bits": [6], "difficulty": True},
}
"""An experiment of a second."""


@dataclass(frozen=True)
class Ended:
    """What a command left: exit status, stdout, stderr."""

    status: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs in an empty folder, with one torch thread and without colours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_charts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in tests draw nothing, which takes seconds; a test marked `charts` draws."""
    if request.node.get_closest_marker("charts") is None:
        monkeypatch.setattr("cellbench.report.report.draw", lambda *arguments: nullcontext())


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """`command("run", "x.yaml")`: the console script within this process; a traceback fails the test."""
    from cellbench.cli import main

    def call(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["cellbench", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else 0, out, err)

    return call


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """`write(name="x", seeds=3)`: the tiny experiment with other keys, as a file."""

    def make(file: str = "tiny.yaml", **keys: Any) -> Path:
        path = tmp_path / file
        path.write_text(yaml.safe_dump({**TINY, **keys}, sort_keys=False))
        return path

    return make


def reseal(folder: Path) -> None:
    """Give the replicas of a store that a test has changed by hand checksums that fit."""
    from cellbench.store import NUMBERS, WHO, checksum

    with sqlite3.connect(folder / "runs.sqlite") as db:
        for number, *row in db.execute(f"SELECT id, {', '.join((*WHO, *NUMBERS))} FROM replica"):
            curve = db.execute("SELECT * FROM curve WHERE replica = ? ORDER BY step", (number,))
            evaluations = db.execute("SELECT * FROM evaluation WHERE replica = ? ORDER BY position", (number,))
            numbers = row[len(WHO) :]
            new = checksum.of(row[: len(WHO)], numbers, [r[1:] for r in curve], [r[1:] for r in evaluations])
            db.execute("UPDATE replica SET checksum = ? WHERE id = ?", (new, number))


def in_ci() -> bool:
    """Whether a missing tool is a failure rather than a skip."""
    return os.environ.get("CI") == "true"


def missing(what: str) -> NoReturn:
    """A tool is not on this machine: skip, but fail in CI."""
    if in_ci():
        pytest.fail(f"{what} is missing, and CI must have it")
    pytest.skip(f"{what} is not installed")
