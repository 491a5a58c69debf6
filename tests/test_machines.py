"""Odd machines: each lacks something that others have, or has little of it. Nothing ends in a traceback."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.commands import TINY
from tests.helpers.machines import cellbench, stored, without
from tests.helpers.tools import missing

LANES: dict[str, Any] = {**TINY, "engine": "lanes", "cells": ["rnn"], "seeds": 1}
"""One replica, by compiled code."""


def written(**keys: Any) -> str:
    Path("tiny.yaml").write_text(yaml.safe_dump({**LANES, **keys}, allow_unicode=True), encoding="utf-8")
    return "tiny.yaml"


@pytest.mark.slow
@pytest.mark.charts
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_cannot_show_every_sign(encoding: str) -> None:
    """A label of other letters, and our own signs, on stdout and stderr; the files have every letter all the same."""
    file = written(cells=[{"name": "rnn", "label": "łódź ×"}, "gru"])
    done = cellbench("run", file, change={"PYTHONIOENCODING": encoding})
    assert done.returncode == 0, done.stderr
    assert rb"\u0142" in done.stdout
    assert done.stdout.decode(encoding)
    assert "łódź ×" in Path("results/tiny/summary.md").read_text(encoding="utf-8")
    assert "łódź ×" in Path("results/tiny/report.html").read_text(encoding="utf-8")
    assert "łódź ×" in Path("results/tiny/runs.csv").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_terminal_of_ascii_shows_progress() -> None:
    """The display of a terminal, by pseudo-terminal: every sign of it can be written in ASCII."""
    code = (
        "import pty, sys\n"
        f"sys.exit(pty.spawn([{sys.executable!r}, '-m', 'cellbench', 'run', {written()!r}, '--no-report']) >> 8)"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "TERM": "xterm"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    assert b"Traceback" not in done.stdout
    assert b"rnn" in done.stdout
    assert done.stdout.isascii()


@pytest.mark.parametrize("command", ["--help", "list", "info", "check rnn", "run nothere-×.yaml"])
@pytest.mark.slow
def test_commands_in_ascii(command: str) -> None:
    """What else prints."""
    done = cellbench(*command.split(), change={"PYTHONIOENCODING": "ascii"})
    assert (done.stdout + done.stderr).isascii()
    assert done.returncode == (2 if "nothere" in command else 0)


@pytest.mark.slow
def test_a_locale_of_latin_1() -> None:
    """Files are read and written as UTF-8 whatever the locale's encoding is; so is what compilers say."""
    code = "import locale; locale.setlocale(locale.LC_ALL, ''); print(locale.getencoding())"
    odd = {"LC_ALL": "en_US.ISO-8859-1", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    asked = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **odd}, capture_output=True, text=True, check=False
    )
    if asked.returncode or "8859" not in asked.stdout:
        odd["LC_ALL"] = "C"  # ASCII, for a machine without the other
    done = cellbench("run", written(cells=[{"name": "rnn", "label": "łódź"}], engine="auto"), change=odd)
    assert done.returncode == 0, done.stderr
    assert "łódź" in Path("results/tiny/runs.csv").read_text(encoding="utf-8")


@pytest.mark.slow
def test_spaces_in_paths(tmp_path: Path) -> None:
    """The folder of the experiment, the cache, the temporary files: a cell is compiled, loaded and verified."""
    place = tmp_path / "two words" / "and a 'quote'"
    place.mkdir(parents=True)
    os.chdir(place)
    change = {"CELLBENCH_CACHE": str(place / "the cache"), "TMPDIR": str(place)}
    assert cellbench("run", written(), "--no-report", change=change).returncode == 0
    assert stored("engine") == ["lanes"]
    assert list((place / "the cache").glob("*.so"))
    done = cellbench("verify", "results/tiny", change=change)
    assert b"the same as that of the results" in done.stdout


@pytest.mark.slow
def test_without_what_linux_alone_has(tmp_path: Path) -> None:
    """No files without a name, no timer, no affinity, no fork server, a linker without -s: trained as ever.

    Each is switched off in every process, as on macOS and Windows, where nothing of this was ever run.
    """
    linker = tmp_path / "compiler"
    linker.write_text(
        '#!/bin/sh\nfor word; do [ "$word" = -s ] && { echo "error: -s"; exit 1; }; done\nexec g++ "$@"\n'
    )
    linker.chmod(0o700)
    linux = ("os.memfd_create", "signal.setitimer", "signal.SIGALRM", "os.sched_getaffinity")
    change = {
        **without(tmp_path, *linux), "CXX": str(linker), "CELLBENCH_CACHE": str(tmp_path / "cache"),
        "TMPDIR": str(tmp_path / ("long" * 20)),
    }  # fmt: skip
    Path(change["TMPDIR"]).mkdir()
    assert cellbench("run", written(), "--no-report", "--workers", "2", change=change).returncode == 0
    assert stored("engine") == ["lanes"]
    done = cellbench("verify", "results/tiny")
    assert done.returncode == 0, done.stdout
    assert b"1 of 1" in done.stdout


@pytest.mark.charts
@pytest.mark.slow
def test_a_home_that_cannot_be_written() -> None:
    """No cache is kept: the cell is compiled for this run alone, and the page is there."""
    nowhere = {"HOME": "/proc/1/nothere", "XDG_CACHE_HOME": None, "CELLBENCH_CACHE": None}
    done = cellbench("run", written(), change=nowhere)
    assert done.returncode == 0, done.stderr
    assert stored("engine") == ["lanes"]
    assert Path("results/tiny/report.html").exists()


@pytest.mark.charts
@pytest.mark.slow
def test_no_home_at_all(tmp_path: Path) -> None:
    """HOME is unset and no account is found, as in containers: no folder of the name `~` appears."""
    nowhere = {"HOME": None, "XDG_CACHE_HOME": None, "CELLBENCH_CACHE": None, **without(tmp_path, "pwd")}
    done = cellbench("run", written(), change=nowhere)
    assert done.returncode == 0, done.stderr
    assert stored("engine") == ["lanes"]
    assert not Path("~").exists()


@pytest.mark.slow
def test_temporary_files_that_may_not_be_run(tmp_path: Path) -> None:
    """TMPDIR on a file system mounted noexec: compiled and loaded all the same."""
    (tmp_path / "mounted").mkdir()
    mount = "mount -t tmpfs -o noexec none mounted"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True, check=False).returncode:
        missing("the right to mount a file system")
    inside = ("unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh")
    change = {"TMPDIR": str(tmp_path / "mounted"), "CELLBENCH_CACHE": None, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for switched in ({}, without(tmp_path, "os.memfd_create")):
        done = cellbench("run", written(), "--fresh", "--no-report", change={**change, **switched}, before=inside)
        assert done.returncode == 0, done.stderr
        assert stored("engine") == ["lanes"]


def test_one_processor() -> None:
    """Bound to one core: one worker, which trains."""
    only = {min(os.sched_getaffinity(0))}
    done = cellbench("run", written(), "--no-report", first=lambda: os.sched_setaffinity(0, only))
    assert done.returncode == 0, done.stderr
    assert set(stored("status")) <= {"solved", "censored"}


def limited(gibibytes: float) -> Callable[[], None]:
    """Allow a process and its children so much memory of their own each."""
    most = int(gibibytes * 2**30)
    return lambda: resource.setrlimit(resource.RLIMIT_DATA, (most, most))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["lanes", "stack", "reference"])
def test_two_gibibytes_of_memory(engine: str) -> None:
    """Two workers with so much each, at 64 bits, batches of 64 and 128 units: chunks fit."""
    large = {"bits": [64], "batch_size": [64], "hidden_size": [128]}
    file = written(engine=engine, grid=large, seeds=4, learning_rate=[0.01, 0.02], train={"max_steps": 4})
    done = cellbench("run", file, "--workers", "2", "--no-report", first=limited(2))
    assert done.returncode == 0, done.stderr
    assert b"failed" not in cellbench("status", "results/tiny").stdout


@pytest.mark.slow
def test_too_little_memory_is_said() -> None:
    """A replica that needs gibibytes on a machine without them: one sentence, and the next run tries again."""
    # the states of one batch alone are 64 * 16384 * 256 floats: a gibibyte
    large = {"bits": [64], "batch_size": [16384], "hidden_size": [256]}
    file = written(engine="reference", grid=large, seeds=2, train={"max_steps": 1})
    done = cellbench("run", file, "--workers", "1", first=limited(1.2))
    assert done.returncode == 1, done.stderr
    assert b"2 replicas failed: results/tiny/failures.txt" in done.stderr
    said = Path("results/tiny/failures.txt").read_text()
    assert "not enough memory to train one replica of rnn: fewer --workers" in said


@pytest.mark.slow
def test_without_a_compiler_the_report_says_why(tmp_path: Path) -> None:
    """`--quiet` or not, now or when the run is repeated: the reason is below the table, and in summary.md."""
    reason = "rnn and gru trained by stack: not lanes: no C++ compiler: install g++ or clang++"
    bare = {
        "PATH": str(tmp_path),
        "CXX": None,
        "CELLBENCH_CACHE": str(tmp_path / "cache"),
        **without(tmp_path, "ziglang"),
    }
    file = written(engine="auto", cells=["rnn", "gru"])
    for _ in range(2):
        done = cellbench("run", file, "--quiet", change=bare)
        assert done.returncode == 0, done.stderr
        assert reason in Path("results/tiny/summary.md").read_text()
        Path("results/tiny/summary.md").unlink()  # so that the report is made again


@pytest.mark.slow
def test_info_names_the_compiler_that_the_engine_finds(tmp_path: Path) -> None:
    """Without g++ that is clang++, c++, or ziglang; the name is that of the runs' compiler."""
    for name in ("clang++", "c++"):
        folder = tmp_path / name
        folder.mkdir()
        fake = folder / name
        fake.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "{name} of this test 1.0"\n')
        fake.chmod(0o700)
        done = cellbench("info", "--json", change={"PATH": str(folder), "CXX": None})
        assert json.loads(done.stdout)["compiler"] == f"{name} of this test 1.0"
    (tmp_path / "zig" / "ziglang").mkdir(parents=True)
    (tmp_path / "zig" / "ziglang" / "__main__.py").write_text("print('clang of zig 1.0')")
    (tmp_path / "zig" / "ziglang" / "__init__.py").touch()
    paths = os.pathsep.join(filter(None, [str(tmp_path / "zig"), os.environ.get("PYTHONPATH")]))
    done = cellbench("info", "--json", change={"PATH": str(tmp_path), "CXX": None, "PYTHONPATH": paths})
    assert json.loads(done.stdout)["compiler"] == "clang of zig 1.0"
    assert cellbench("run", written(), "--no-report").returncode == 0
    assert stored("compiler") == [json.loads(cellbench("info", "--json").stdout)["compiler"]]
