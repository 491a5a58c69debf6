"""Machines that lack something: the command in a process of its own, with calls of the system switched off."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.helpers.tools import paths_with

_SWITCH = """
import importlib, os, sys
for name in os.environ.get("CELLBENCH_TEST_WITHOUT", "").split():
    module, _, attribute = name.rpartition(".")
    if not module:
        sys.modules[name] = None  # importing it fails
    elif hasattr(importlib.import_module(module), attribute):
        delattr(importlib.import_module(module), attribute)
"""
"""A sitecustomize.py, which every Python runs as it starts: workers and their server too."""


def without(folder: Path, *names: str) -> dict[str, str]:
    """Variables with which every Python process lacks these names of the standard library: `os.fork`, or a module."""
    (folder / "switched").mkdir(exist_ok=True)
    (folder / "switched" / "sitecustomize.py").write_text(_SWITCH)
    return {"PYTHONPATH": paths_with(folder / "switched"), "CELLBENCH_TEST_WITHOUT": " ".join(names)}


def cellbench(
    *arguments: str,
    change: Mapping[str, str | None] | None = None,
    first: Callable[[], object] | None = None,
    before: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a process of its own; a traceback fails the test.

    Args:
        arguments: of the command line.
        change: variables of the environment to set, or to take away (None).
        first: called in the new process.
        before: a program that starts the command, and its arguments.
    """
    wanted = {**os.environ, **(change or {})}
    environment = {name: value for name, value in wanted.items() if value is not None}
    command = [*before, sys.executable, "-m", "cellbench", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, check=False, preexec_fn=first)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done


def stored(column: str, folder: Path = Path("results/tiny")) -> list[Any]:
    """A column of every stored replica."""
    with closing(sqlite3.connect(folder / "runs.sqlite")) as db:
        return [value for (value,) in db.execute(f"SELECT {column} FROM replica ORDER BY id")]
