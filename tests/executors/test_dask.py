"""Dask behind the executors' door: the same bits, and nothing is trained by workers that are not like the client."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from cellbench.errors import CellbenchError, Interrupted
from cellbench.executors import Dask, Executor, private
from cellbench.executors.dispatch import Finished
from cellbench.running import run as run_experiment
from cellbench.training.fingerprint import differences, of_cell
from tests.helpers.cells import DEAF, HANGING, MINE
from tests.helpers.commands import TINY, Command
from tests.helpers.dask import scheduler, worker
from tests.helpers.plugins import CELL, PLUGINS
from tests.helpers.runs import go, stored
from tests.helpers.tools import missing, paths_with

pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_cluster_of_this_machine(command: Command) -> None:
    """Dask's workers give the exports of this process, bit for bit; a cell's file travels; it listens on loopback."""
    Path("mycell.py").write_text(MINE)
    experiment = {**TINY, "cells": ["rnn", {"name": "mine", "factory": "./mycell.py:Mine"}]}
    here = go(experiment, "here")
    executor: Executor = Dask(workers=1)
    try:
        there = go(experiment, "dask", executor=executor)
        assert executor.slots == 1
        assert isinstance(executor, Dask)
        protocol = "tls" if private.can_encrypt() else "tcp"
        assert executor.address.startswith(f"{protocol}://127.0.0.1:")
        assert all(address.startswith(f"{protocol}://127.0.0.1:") for address in executor.everywhere(os.getpid))
        assert bool(executor.warning) == (protocol == "tcp")
        assert len(listening()) >= 3, "a scheduler, a nanny and its worker"
        assert not [port for port in listening() if speaks_http(port)]
    finally:
        executor.close()
    assert here == there


def listening() -> list[int]:
    """The ports on which this process and its children listen, which must be on loopback."""
    me = psutil.Process()
    found = [c for p in (me, *me.children(recursive=True)) for c in p.net_connections("tcp") if c.status == "LISTEN"]
    assert {c.laddr.ip for c in found} <= {"127.0.0.1"}
    return [c.laddr.port for c in found]


def speaks_http(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=2) as asked:
        asked.sendall(b"GET / HTTP/1.0\r\n\r\n")
        try:
            return asked.recv(64).startswith(b"HTTP")
        except OSError:  # it waits for a message of Dask's, or hangs up
            return False


@pytest.mark.slow
def test_a_worker_that_was_replaced_speaks_no_http() -> None:
    """The worker that Dask starts in the place of one that died is as closed as the first."""
    executor = Dask(workers=1)
    try:
        before = next(iter(executor.everywhere(os.getpid).values())).result(30)
        os.kill(before, signal.SIGKILL)
        until = time.monotonic() + 60
        after = before
        while after == before and time.monotonic() < until:
            time.sleep(0.5)
            for found in executor.everywhere(os.getpid).values():
                with contextlib.suppress(Exception):
                    after = found.result(30)
        assert after != before
        assert not [port for port in listening() if speaks_http(port)]
    finally:
        executor.close()


@pytest.mark.slow
def test_without_a_key_the_cluster_is_refused() -> None:
    """Another program of this machine that finds the port cannot join the cluster: it lacks the key."""
    import distributed

    if not private.can_encrypt():
        missing("cryptography")
    executor = Dask(workers=1)
    try:
        for address in (executor.address, executor.address.replace("tls://", "tcp://")):
            with pytest.raises((OSError, TypeError)):
                distributed.Client(address, timeout=3, set_as_default=False)
        assert executor.submit(pow, 2, 3).result(30) == 8
    finally:
        executor.close()


@pytest.mark.slow
def test_a_cluster_that_is_open_says_so(
    command: Command, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no key can be made, a run says at its start who can reach the cluster, and what to install."""
    monkeypatch.setattr(private, "can_encrypt", lambda: False)
    ended = command("run", write(cells=["rnn"]), "--executor", "dask", "--workers", 1, "--no-report")
    assert ended.status == 0, ended.err
    first = ended.err.splitlines()[0]
    assert "any user of this machine who finds its port on 127.0.0.1 can run code as you" in first
    assert "pip install cryptography" in first


@pytest.mark.slow
def test_a_scheduler_file() -> None:
    """The file that a scheduler writes stands for its address, and is waited for, as workers wait for it.

    Found under Slurm: a node's name need not lead to the interface that its scheduler listens on.
    """
    here = go({**TINY, "cells": ["rnn"]}, "here")
    file = Path("scheduler.json")
    command = [sys.executable, "-m", "cellbench", "run", "tiny.yaml", "--executor", "dask", "--scheduler", str(file)]
    Path("tiny.yaml").write_text(yaml.safe_dump({**TINY, "cells": ["rnn"]}))
    with (
        subprocess.Popen([*command, "--no-report"], stderr=subprocess.PIPE, text=True) as run,
        scheduler("--scheduler-file", str(file)) as (address, _),
        worker(address),
    ):
        _, said = run.communicate(timeout=60)
    assert run.returncode == 0, said
    assert go({**TINY, "cells": ["rnn"]}, "results/tiny") == here


def test_waiting_for_a_scheduler_is_interrupted() -> None:
    """A signal while the file, or a worker, is waited for ends the run as one does anywhere else."""
    importlib.import_module("distributed")  # it is the waiting that is interrupted
    unheard, over = signal.getsignal(signal.SIGTERM), threading.Event()

    def send() -> None:
        while signal.getsignal(signal.SIGTERM) is unheard and not over.wait(0.01):
            pass  # earlier it would end the tests themselves
        if not over.wait(1):
            os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        with pytest.raises(Interrupted, match="interrupted; nothing was run"):
            run_experiment(TINY, "out", executor="dask", scheduler="scheduler.json")
    finally:
        over.set()
        sender.join()
    assert not Path("out").exists()


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"address": 5}', '{"address": ""}', "[" * 100_000])
def test_what_is_no_scheduler_file(text: str | None) -> None:
    """One that does not come, or is none, is named."""
    if text is not None:
        Path("scheduler.json").write_text(text)
    with pytest.raises(CellbenchError, match=r"--scheduler scheduler\.json: .*dask scheduler --scheduler-file"):
        Dask("scheduler.json", patience=0.3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--executor", "ssh"), "--executor ssh: must be local or dask"),
        (("--scheduler", "tcp://x:1"), "--scheduler tcp://x:1: goes with --executor dask"),
        (("--executor", "dask", "--scheduler", ""), "--scheduler is empty"),
        (("--executor", "dask", "--scheduler", "127.0.0.1:1"), "no Dask scheduler answers there within"),
        (("--executor", "dask", "--scheduler", "what://x"), "no Dask scheduler answers there within"),
    ],
)
def test_no_such_place(
    arguments: tuple[str, ...], said: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A place that is none: exit 2, what to give instead, and no folder."""
    monkeypatch.setattr("cellbench.executors.dask.CONNECT", 0.5)
    ended = command("run", *arguments)
    assert (ended.status, said in ended.err) == (2, True), ended.err
    assert not Path("results").exists()


def test_differences_name_what_to_do() -> None:
    """Each fact that is not alike is one line, with the way out where there is one."""
    from cellbench.experiment import load
    from cellbench.plugins import discover

    cell = load(TINY, discover()).cells[0]
    facts = of_cell(cell, (3,), "lanes", "binary_addition")
    assert differences(facts, facts) == []
    other = {**facts, "torch": "1.0", "the instruction set of lanes": "vax"}
    isa = facts["the instruction set of lanes"]
    assert differences(facts, other) == [
        f"torch: {facts['torch']} here, 1.0 there",
        f"the instruction set of lanes: {isa} here, vax there; set CELLBENCH_ISA=avx2 (or sse2) for the client and "
        "all workers",
    ]
    assert "the cell nope: no cell named 'nope'" in str(differences(of_cell_named("nope"), facts))


def of_cell_named(name: str) -> Any:
    from cellbench.records import CellSpec

    return of_cell(CellSpec(name, name, "x:Y"), (3,), "stack", "binary_addition")


LANES = {**TINY, "engine": "lanes", "cells": ["lstm"]}
UNLIKE: dict[str, tuple[dict[str, str], str]] = {
    "instruction set": ({"CELLBENCH_ISA": "sse2"}, "x86-64 sse2 there; set CELLBENCH_ISA=avx2"),
    "compiler": ({"CXX": "", "PATH": "/nowhere"}, "the C++ compiler: "),
    "plugin": ({"PYTHONPATH": "{plugin}"}, "cannot say what it runs: ImportError: an older cellbench"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(UNLIKE))
def test_workers_that_are_not_like_the_client(kind: str, command: Command, tmp_path: Path) -> None:
    """Found before training and named: exit 2, and no folder; then a worker like the client trains it all."""
    shadow = tmp_path / "shadow" / "cellbench"
    shadow.mkdir(parents=True)
    (shadow / "__init__.py").write_text("raise ImportError('an older cellbench')")
    environment, said = UNLIKE[kind]
    environment = {k: v.replace("{plugin}", paths_with(shadow.parent)) for k, v in environment.items()}
    if kind == "compiler":
        environment["CELLBENCH_CACHE"] = str(tmp_path / "cache")
    with scheduler() as (address, _), worker(address, **environment):
        with pytest.raises(CellbenchError) as caught:
            run_experiment(LANES, "out", executor="dask", scheduler=address)
        text = str(caught.value)
        assert "would not compute the same numbers as this machine; nothing was run" in text
        assert said in text, text
        assert "on 1 of 1 workers: tcp://127.0.0.1:" in text
        assert not Path("out/runs.sqlite").exists()


@pytest.mark.slow
def test_a_worker_that_is_busy(command: Command, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a chunk of a run that was killed, say: the run says so, rather than what the folder's lock would say."""
    import distributed

    monkeypatch.setattr("cellbench.executors.dask.IMPORT", 2.0)
    with scheduler() as (address, _), worker(address):
        with distributed.Client(address, set_as_default=False) as other:  # type: ignore[no-untyped-call]
            other.submit(time.sleep, 60, pure=False)
            ended = command("run", write(), "--executor", "dask", "--scheduler", address)
        assert ended.status == 2
        assert (
            "gave no answer within 2 s: it is stopped, or busy, perhaps with what a killed run left behind" in ended.err
        )
        assert "on 1 of 1 workers: tcp://127.0.0.1:" in ended.err
        assert not Path("results/tiny/runs.sqlite").exists()


@pytest.mark.slow
def test_a_worker_that_joins_later_is_asked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It trains nothing either: the run ends, and says what differs."""
    from cellbench.executors import Agreement

    monkeypatch.setattr(Agreement, "ask", lambda self, executor: None)
    said = pytest.raises(CellbenchError, match=r"A worker that joined during the run .* would compute other numbers")
    with scheduler() as (address, _), worker(address, CELLBENCH_ISA="sse2"), said:
        run_experiment(LANES, "out", executor="dask", scheduler=address)


@pytest.mark.slow
def test_a_scheduler_that_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers nobody and closes nothing: the run ends all the same, and what was trained is kept."""
    monkeypatch.setattr("cellbench.executors.dask.ANSWER", 1.0)
    with scheduler() as (address, process), worker(address):
        executor = Dask(address, patience=4)

        def stop(event: object) -> None:
            if isinstance(event, Finished):
                process.send_signal(signal.SIGSTOP)

        try:
            with pytest.raises(
                Interrupted, match=r"has had no worker for 4 s, or does not answer; what was trained is"
            ):
                run_experiment(TINY, "out", executor=executor, on_event=stop)
        finally:
            executor.close()
    assert 0 < stored(Path("out")) < 4


@pytest.mark.slow
def test_timeout_holds_in_threads(tmp_path: Path) -> None:
    """In a worker with two threads, a cell that hangs is ended by train.timeout; its neighbour's bits are right."""
    busy = HANGING.replace("time.sleep(60)", "[time.sleep(0.01) for _ in range(6000)]")
    Path("bad.py").write_text(busy)
    # a text of its own: a cell of one text is one class in this process, which counts its calls on
    Path("deaf.py").write_text(f"{DEAF}\n# in threads\n")
    # the worker's first imports are within the limit too
    experiment = {**TINY, "cells": ["rnn", "lstm"], "train": {"max_steps": 100, "timeout": 10}}
    whole = go(experiment, "whole")
    more = [{"name": name, "factory": f"./{name}.py:Failing"} for name in ("bad", "deaf")]
    bad = {**experiment, "cells": ["rnn", "lstm", *more]}
    with scheduler() as (address, _), worker(address, "--nthreads", "2"):
        started = time.monotonic()
        runs = run_experiment(bad, "out", executor="dask", scheduler=address, report=False).runs
        assert time.monotonic() - started < 60
        assert set(runs[runs.label.isin(["bad", "deaf"])].cause) == {"machine"}
        again = go(experiment, "again", executor="dask", scheduler=address)
    assert again == whole


def site(folder: Path, *, version: str = "1.2.3", text: str = CELL, library: str = "7.0") -> Path:
    """A place of installed distributions, as pip leaves it: a plugin with the cell `good`, and a library it needs."""
    for name, number, modules, more in (
        ("cellbench-good", version, {"cellbench_good": PLUGINS["good"][0], "cellbench_good_cell": text}, "somelib>=1"),
        ("somelib", library, {}, "numpy"),
    ):
        info = folder / f"{name.replace('-', '_')}-{number}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\nRequires-Dist: {more}\n"
            "Requires-Dist: absent; extra == 'more'\n"
        )
        for module, source in modules.items():
            (folder / f"{module}.py").write_text(source)
            (info / "entry_points.txt").write_text("[cellbench]\ncells = cellbench_good\n")
    return folder


OTHERS: dict[str, tuple[dict[str, str], str]] = {
    "version": (
        {"version": "1.2.4"},
        r"the cell good: from cellbench-good 1\.2\.3, text (\w{12}) here, from cellbench-good 1\.2\.4, text \1 there",
    ),
    "text": (
        {"text": CELL + "# edited\n"},
        r"the cell good: from cellbench-good 1\.2\.3, text (\w{12}) here, "
        r"from cellbench-good 1\.2\.3, text (?!\1)\w{12} there",
    ),
    "library": ({"library": "7.1"}, r"somelib \(needed by cellbench-good\): 7\.0 here, 7\.1 there"),
}
"""What is otherwise in the worker's environment, and what is said of it."""


@pytest.mark.slow
def test_another_plugin_on_a_live_worker(write: Callable[..., Path], tmp_path: Path) -> None:
    """The plugin's version, its text, or the version of a library it needs is another, or it is not there: exit 2."""
    here = str(site(tmp_path / "here"))
    write(cells=["good"], baseline="good")

    def run(address: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cellbench", "run", "tiny.yaml", "--executor", "dask", "--scheduler", address,
             "--no-report"],
            env={**os.environ, "PYTHONPATH": paths_with(here)}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    with scheduler() as (address, _):
        for kind, (otherwise, expected) in OTHERS.items():
            with worker(address, PYTHONPATH=paths_with(site(tmp_path / kind, **otherwise))):
                ended = run(address)
            assert ended.returncode == 2, f"{kind}: {ended.stderr}"
            assert re.search(expected + r"\n +on 1 of 1 workers: tcp://127\.0\.0\.1:", ended.stderr), ended.stderr
        with worker(address, PYTHONPATH=paths_with()):
            ended = run(address)
        assert ended.returncode == 2
        assert "here, no cell named 'good'" in ended.stderr
        assert not Path("results/tiny/runs.sqlite").exists()
        with worker(address, PYTHONPATH=paths_with(site(tmp_path / "alike"))):
            ended = run(address)
        assert ended.returncode == 0, ended.stderr


IMPORTS = "import somelib\n" + MINE


@pytest.mark.slow
def test_what_a_cell_from_a_file_imports(write: Callable[..., Path], tmp_path: Path) -> None:
    """A library of another version or text on a worker, or none, stops the run; it is not the cell's failure."""
    Path("mine.py").write_text(IMPORTS)
    write(cells=["rnn", {"name": "mine", "factory": "./mine.py:Mine"}])
    for name, text in (("plain", "SCALE = 1.0"), ("edited", "SCALE = 0.5")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "somelib.py").write_text(text)
    for version in ("7.0", "7.1"):
        (site(tmp_path / version, library=version) / "somelib.py").write_text("")
        record = tmp_path / version / f"somelib-{version}.dist-info" / "RECORD"
        record.write_text(
            f"somelib.py,,\nsomelib-{version}.dist-info/METADATA,,\nsomelib-{version}.dist-info/RECORD,,\n"
        )
    said = {
        ("plain", "edited"): r"text (\w{12}) here, text (?!\1)\w{12} there",
        ("plain", ""): r"text \w{12} here, not installed there",
        ("7.0", "7.1"): r"somelib 7\.0 here, somelib 7\.1 there",
    }
    with scheduler() as (address, _):
        for (here, there), expected in said.items():
            command = [sys.executable, "-m", "cellbench", "run", "tiny.yaml", "--executor", "dask", "--no-report"]
            with worker(address, PYTHONPATH=paths_with(*([tmp_path / there] if there else []))):
                ended = subprocess.run(
                    [*command, "--scheduler", address], env={**os.environ, "PYTHONPATH": paths_with(tmp_path / here)},
                    capture_output=True, text=True, check=False,
                )  # fmt: skip
            assert ended.returncode == 2, ended.stderr
            assert re.search(rf"somelib \(imported by mine\.py\): {expected}\n", ended.stderr), ended.stderr
            assert not Path("results/tiny/runs.sqlite").exists()
