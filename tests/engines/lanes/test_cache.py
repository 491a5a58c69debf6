"""The cache of compiled cells: quick, private, and proof against everything that befalls a folder."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cellbench import usercache
from cellbench.cells.rnn import rnn
from cellbench.engines import OPTIMIZERS, Refused
from cellbench.engines.lanes import build, cache, prepare
from tests.helpers import lane_cells as odd
from tests.helpers.commands import Command
from tests.helpers.lanes import blueprint, engine, ready, works


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "cells"
    monkeypatch.setenv(cache.FOLDER_VARIABLE, str(place))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # the one of another test holds what that one built
    return place


UNITS = 2
"""What a cell is compiled as for one batch size: what trains it, and what evaluates it."""
_objects: dict[str, bytes] = {}


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was given to the compiler, which works for these tests only once on each text."""
    given: list[str] = []
    real = build.compile_program

    def watched(texts: Sequence[str], *rest: Any) -> bytes:
        text = "".join(texts)
        given.append(text)
        if text not in _objects:
            _objects[text] = real(texts, *rest)
        return _objects[text]

    monkeypatch.setattr(build, "compile_program", watched)
    return given


def test_a_cell_is_compiled_once_and_the_folder_is_private(folder: Path, compiled: list[str]) -> None:
    assert works(ready())
    assert works(ready())
    assert len(compiled) == UNITS
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
    assert {path.suffix for path in folder.iterdir()} == {".so", ".json"}


def test_what_is_compiled_serves_every_optimizer_length_and_seed(compiled: list[str]) -> None:
    for optimizer in OPTIMIZERS:
        for clip in (None, 0.5):
            engine("lanes", blueprint(rnn, 3), optimizer, clip)
    assert len(compiled) == UNITS


def test_batches_that_share_vectors_alike_share_an_object(compiled: list[str]) -> None:
    """And an object is compiled only when a batch first needs it, whatever the engine was made ready for."""
    found = engine("lanes", blueprint(rnn, 3), batch_sizes=(3, 4))
    assert len(compiled) == UNITS
    assert works(found)
    assert len(compiled) == UNITS
    x = np.zeros((1, 1, 2, 40, 2), np.float32)
    found.begin([blueprint(rnn, 3).build("test", 0)], [0.1]).advance(x, x[..., :1], np.zeros(1, np.int64))
    assert len(compiled) == UNITS + 1


@pytest.mark.slow
def test_another_size_option_or_source_is_another_object(compiled: list[str]) -> None:
    ready()
    engine("lanes", blueprint(rnn, 4))
    engine("lanes", blueprint(rnn, 3, outputs=2))
    assert len(compiled) == 3 * UNITS


@pytest.mark.parametrize("content", [b"", b"\x7fELF truncated", None], ids=["empty", "truncated", "missing"])
def test_a_damaged_object_is_built_again(folder: Path, compiled: list[str], content: bytes | None) -> None:
    ready()
    for path in folder.glob("*.so"):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
    assert works(ready())
    assert len(compiled) == 2 * UNITS


def test_a_foreign_object_under_the_right_name_is_not_loaded(folder: Path, compiled: list[str]) -> None:
    ready()
    foreign = {path: b"\0" * path.stat().st_size for path in folder.glob("*.so")}
    for path, content in foreign.items():
        path.write_bytes(content)
    assert works(ready())
    assert len(foreign) == UNITS
    assert all(path.read_bytes() != content for path, content in foreign.items())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"object": "x"}', '{"unknown": 1}'])
def test_a_damaged_entry_is_written_again(folder: Path, compiled: list[str], text: str) -> None:
    ready()
    for path in folder.glob("*.json"):
        path.write_text(text)
    assert works(ready())
    assert len(compiled) == 2 * UNITS


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_nothing_is_loaded_from_a_folder_that_others_may_write(folder: Path, compiled: list[str], mode: int) -> None:
    ready()
    folder.chmod(mode)
    assert works(ready())
    assert len(compiled) == 2 * UNITS
    assert not usercache.is_private(folder)


def test_a_home_that_cannot_be_written_costs_only_the_keeping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[str]
) -> None:
    """No folder can be made: the cell is built in a private temporary one, once a process."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(cache.FOLDER_VARIABLE, str(tmp_path / "file" / "below"))
    assert works(ready())
    assert works(ready())
    assert len(compiled) == UNITS


def test_a_full_disk_leads_to_the_temporary_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[str]
) -> None:
    real = cache.Cache.store

    def full(self: cache.Cache, *what: Any) -> None:
        if self.folder == folder:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, *what)

    monkeypatch.setattr(cache.Cache, "store", full)
    assert works(ready())
    assert not list(folder.glob("*.so"))


def test_no_room_anywhere_is_a_refusal(monkeypatch: pytest.MonkeyPatch, compiled: list[str]) -> None:
    def full(self: cache.Cache, *what: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache.Cache, "store", full)
    with pytest.raises(Refused, match=r"no room to build in .*No space left"):
        ready()


def test_a_compiler_out_of_room_is_no_verdict_on_the_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not be stored as a refusal, so the same compiler is asked again."""
    fake = tmp_path / "full-g++"
    fake.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo full 1.0; exit 0; }\n'
        "echo 'fatal error: error writing to cell.o: No space left on device' >&2; exit 1\n"
    )
    fake.chmod(0o700)
    monkeypatch.setenv("CXX", str(fake))
    with pytest.raises(Refused, match="no room to build in"):
        ready()
    fake.write_text('#!/bin/sh\n[ "$1" = --version ] && { echo full 1.0; exit 0; }\nexec g++ "$@"\n')
    assert works(ready())


def test_without_a_compiler_the_reason_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # its own, for what a PATH leads to is remembered
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Refused, match=r"no C\+\+ compiler: install g\+\+ or clang\+\+, or `pip install ziglang`"):
        ready()


def test_what_was_built_ahead_needs_no_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[str]
) -> None:
    ready()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert works(ready())
    assert len(compiled) == UNITS


def test_a_compiler_that_fails_is_a_refusal_with_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "broken-g++"
    fake.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo broken 1.0; exit 0; }\n'
        'echo "cell.cpp:1: error: no way" >&2; exit 1\n'
    )
    fake.chmod(0o700)
    monkeypatch.setenv("CXX", str(fake))
    with pytest.raises(Refused, match=r"broken 1\.0 did not accept the program: cell\.cpp:1: error: no way"):
        ready()


def test_an_unknown_instruction_set_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(build.ISA_VARIABLE, "mmx")
    with pytest.raises(Refused, match="no instruction set 'mmx'"):
        ready()


@pytest.mark.slow
def test_a_command_that_cannot_be_read_is_a_refusal(
    monkeypatch: pytest.MonkeyPatch, command: Command, write: Callable[..., Path]
) -> None:
    """CXX with a quote that does not close: lanes says so, other engines train, and no cell is blamed."""
    monkeypatch.setenv("CXX", "g++ '-DX")
    said = 'the variable CXX is "g++ \'-DX", which is no command: No closing quotation'
    with pytest.raises(Refused) as found:
        ready()
    assert str(found.value) == said
    ended = command("run", write(engine="auto", cells=["rnn"], seeds=1), "--no-report")
    assert (ended.status, f"not lanes: {said}" in ended.err, "its code raises" in ended.err) == (0, True, False)
    ended = command("run", write(engine="lanes", cells=["rnn"], seeds=1, name="other"))
    assert (ended.status, said in ended.err, "Traceback" in ended.err) == (2, True, False)


@pytest.mark.slow
@pytest.mark.parametrize(("refused", "hidden"), [("creating", 8), ("loading", 9)])
def test_a_program_is_loaded_where_memory_holds_none(
    refused: str, hidden: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sandbox that forbids files in memory, or running them: a private temporary file, or a refusal with advice."""
    real = os.memfd_create

    def forbidden(name: str) -> int:
        if refused == "creating":
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        descriptor = real(name)
        return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)  # cannot be written

    monkeypatch.setattr(os, "memfd_create", forbidden)
    # sizes of this test alone, since a process loads a program once
    plan = blueprint(rnn, hidden)
    x = np.zeros((1, 1, 2, 3, 2), np.float32)
    replicas = engine("lanes", plan).begin([plan.build("test", 0)], [0.1])
    assert np.isfinite(replicas.advance(x, x[..., :1], np.zeros(1, np.int64)).losses).all()
    assert not list(tmp_path.glob("cellbench-*/*"))
    # neither among the temporary files nor beside the compiled cells, the next place
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not there"))
    assert engine("lanes", blueprint(rnn, hidden + 4)).name == "lanes"
    monkeypatch.setattr("cellbench.engines.lanes.program.cache", SimpleNamespace(user_cache=lambda: None))
    with pytest.raises(Refused, match=r"does not load the compiled program \(FileNotFoundError.*: set TMPDIR to"):
        engine("lanes", blueprint(rnn, hidden + 2))


def test_a_refusal_is_remembered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker need not trace a cell again to learn that it cannot be carried."""
    for _ in range(2):
        with pytest.raises(Refused, match="digamma"):
            prepare(blueprint(odd.Untabled), optimizer=OPTIMIZERS["adam"], clip_norm=1.0)
        monkeypatch.setattr("cellbench.engines.lanes.graph.trace.trace", None)
    assert not list(folder.glob("*.so"))


@pytest.mark.slow
def test_two_processes_may_build_the_same_cell_at_once(folder: Path) -> None:
    code = "import torch; torch.set_num_threads(1)\nfrom tests.helpers.lanes import ready, works\nassert works(ready())"
    root = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": root, cache.FOLDER_VARIABLE: str(folder)}
    both = [subprocess.Popen([sys.executable, "-c", code], cwd=root, env=environment) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert len(list(folder.glob("*.json"))) == UNITS
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert works(ready())


@pytest.mark.slow
def test_tracing_and_compiling_warn_of_nothing(folder: Path) -> None:
    """A warning of a library would stand in the middle of the user's screen."""
    code = "import torch; torch.set_num_threads(1)\nfrom tests.helpers.lanes import ready\nready()"
    root = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": root, cache.FOLDER_VARIABLE: str(folder)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=root, env=environment, capture_output=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.slow
def test_a_worker_with_a_warm_cache_does_not_trace(folder: Path) -> None:
    """What takes long to import, torch's tracing and its compiler, stays out."""
    ready()
    code = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from tests.helpers.lanes import ready\n"
        "ready()\n"
        "late = {'torch._dynamo', 'sympy', 'cellbench.engines.lanes.code.lower'}\n"
        "late &= set(sys.modules)\n"
        "assert not late, late"
    )
    root = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": root, cache.FOLDER_VARIABLE: str(folder)}
    subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, check=True, timeout=120)


COMPANY = """#!/bin/sh
# answers for g++; compiles only once the compiler of another unit has begun too
case "$*" in *--version*) exec g++ "$@";; *-c*) ;; *) exec g++ "$@";; esac
echo begun >> {begun}
for i in $(seq 300); do
  [ $(wc -l < {begun}) -ge 3 ] && exec g++ "$@"
  sleep 0.1
done
echo "error: compiled alone"; exit 1
"""


def test_the_units_of_a_cell_are_compiled_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch 4, batch 16 and evaluation are three units: a compiler that waits for the other two is not kept waiting."""
    fake = tmp_path / "g++ in company"
    fake.write_text(COMPANY.format(begun=tmp_path / "begun"))
    fake.chmod(0o755)
    monkeypatch.setenv("CXX", shlex.quote(str(fake)))
    assert works(engine("lanes", blueprint(rnn, 3), batch_sizes=(4, 16)))


def test_an_interrupted_compiler_is_no_verdict_on_the_cell(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends the compiler as well; its cell is compiled the next time."""
    fake = tmp_path / "g++"
    fake.write_text('#!/bin/sh\ncase "$*" in *-c*) kill -INT $$;; *) exec g++ "$@";; esac\n')
    fake.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("CXX", str(fake))
        with pytest.raises(Refused, match="ended by signal 2"):
            ready()
    assert list(folder.glob("*.json")) == []
