"""What may go wrong with machines, done on purpose and counted: nothing is lost, wrong, or begun again in silence.

The counts are printed: `pytest -n0 -s -m slow tests/test_faults.py`.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from cellbench.errors import CellbenchError, Interrupted, StoreError
from cellbench.executors import Dask, Processes, dispatch
from cellbench.executors.dispatch import Finished
from cellbench.results import results
from cellbench.running import run as run_experiment
from cellbench.store.schema import VERSION
from tests.helpers.commands import TINY
from tests.helpers.dask import scheduler, worker
from tests.helpers.runs import go, stored
from tests.helpers.tools import missing

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

PARTS = 24
MANY: dict[str, Any] = {
    **TINY, "name": "many", "engine": "stack", "seeds": 2, "train": {"max_steps": 40},
    "grid": {"bits": [4, 5, 6, 7], "batch_size": [2, 4, 8], "hidden_size": 3},
}  # fmt: skip
"""48 replicas in 24 chunks."""
FAST: dict[str, Any] = {**MANY, "engine": "lanes", "train": {"max_steps": 200}}
"""The same in a second."""


def said(what: str) -> None:
    print(f"\n  counted: {what}", flush=True)


def run_in_a_process(experiment: dict[str, Any], folder: str) -> None:
    run_experiment(experiment, folder, report=False)


def started(experiment: dict[str, Any], folder: str) -> Any:
    """A run in a process of its own, which finds torch imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.test_faults", "cellbench.engines.lanes.engine"])
    process = context.Process(target=run_in_a_process, args=(experiment, folder))
    process.start()
    return process


def contents(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Key to numbers, of everything that is stored."""
    with closing(sqlite3.connect(folder / "runs.sqlite")) as db:
        rows = db.execute("SELECT key, checksum FROM replica").fetchall()
    return {key: tuple(rest) for key, *rest in rows}


@pytest.mark.parametrize("engine", ["lanes", "stack"])
def test_the_run_is_killed(engine: str, tmp_path: Path) -> None:
    """SIGKILL at 20 moments between the first stored chunk and the last; resumed, the exports are the whole run's."""
    experiment = {**MANY, "engine": engine, "train": {"max_steps": 400 if engine == "lanes" else 5}}
    expected = go(experiment, "whole")
    whole = contents(Path("whole"))
    mid, trained = 0, 0
    for moment in range(40):
        shutil.rmtree("out", ignore_errors=True)
        process = started(experiment, "out")
        while stored(Path("out")) < 2 * (1 + moment % (PARTS - 4)) and process.is_alive():
            time.sleep(0.001)
        time.sleep(random.Random(moment).uniform(0, 0.02))
        process.kill()
        process.join()
        kept = stored(Path("out"))
        if process.exitcode != -signal.SIGKILL or not 0 < kept < 2 * PARTS:
            continue
        mid += 1
        assert kept % 2 == 0, "half a chunk was stored"
        assert contents(Path("out")).items() <= whole.items()
        again: list[str] = []

        def see(event: object, again: list[str] = again) -> None:
            again += [o.key for o in event.outcomes] if isinstance(event, Finished) else []

        found = go(experiment, "out", on_event=see)
        assert len(again) == len(set(again)) == 2 * PARTS - kept, "what was stored was trained again"
        trained += len(again)
        assert found == expected, f"moment {moment}"
        if mid == 20:
            break
    said(f"{engine}: killed at {mid} moments mid-run, {trained} replicas trained after; all exports equal")
    assert mid == 20


def test_a_worker_process_is_killed() -> None:
    """SIGKILL of one of two workers at 5 moments: its chunks are tried again, and every number is right."""
    whole, tried = go(FAST, "whole"), 0
    for moment in range(5):
        executor, seen = Processes(2), 0

        def kill(event: object, executor: Processes = executor, moment: int = moment) -> None:
            nonlocal seen
            seen += isinstance(event, Finished)
            if isinstance(event, Finished) and seen == 2 + 4 * moment:
                os.kill(random.Random(moment).choice(executor.workers()), signal.SIGKILL)

        try:
            found = go(FAST, f"out{moment}", executor=executor, on_event=kill)
        finally:
            executor.close()
        runs = results.load(f"out{moment}").runs
        assert set(runs.status) <= {"solved", "censored"}
        assert set(runs.attempt) == {1, 2}
        tried += int((runs.attempt == 2).sum())
        assert found == whole
    said(f"5 workers killed: {tried} replicas tried again, none failed, all exports equal")


def test_a_worker_process_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGSTOP of a worker: when its patience is over the chunk is tried elsewhere."""
    whole = go(FAST, "whole")
    executor, seen = Processes(2), 0
    monkeypatch.setattr(dispatch, "patience", lambda chunk: 8.0 if seen >= 3 else 600.0)

    def stop(event: object) -> None:
        nonlocal seen
        seen += isinstance(event, Finished)
        if isinstance(event, Finished) and seen == 3:
            os.kill(executor.workers()[0], signal.SIGSTOP)

    try:
        found = go(FAST, "out", executor=executor, on_event=stop)
    finally:
        executor.close()
    assert found == whole
    said("1 worker stopped: the exports are equal")


def test_a_dask_worker_is_killed() -> None:
    """SIGKILL of one of two Dask workers, twice: nothing is lost, nothing fails."""
    whole = go(FAST, "whole")
    executor, seen, killed = Dask(workers=2), 0, 0

    def kill(event: object) -> None:
        nonlocal seen, killed
        seen += isinstance(event, Finished)
        if isinstance(event, Finished) and seen in (3, 9):
            worker = next(iter(executor.everywhere(os.getpid).values()))
            os.kill(worker.result(timeout=60), signal.SIGKILL)
            killed += 1

    try:
        found = go(FAST, "out", executor=executor, on_event=kill)
    finally:
        executor.close()
    assert killed == 2
    assert found == whole
    said("2 Dask workers killed: the exports are equal")


def test_the_dask_scheduler_is_killed() -> None:
    """The run ends with what to do; what was trained is kept; resumed without Dask it is the whole run."""
    whole = go(FAST, "whole")
    seen = 0
    with scheduler() as (address, process), worker(address):

        def kill(event: object) -> None:
            nonlocal seen
            seen += isinstance(event, Finished)
            if isinstance(event, Finished) and seen == 3:
                process.kill()

        with pytest.raises(Interrupted, match=r"Dask scheduler .* is gone; what was trained is kept"):
            run_experiment(FAST, "out", executor="dask", scheduler=address, on_event=kill)
    kept = stored(Path("out"))
    assert 6 <= kept < 2 * PARTS
    assert go(FAST, "out") == whole
    said(f"1 scheduler killed: {kept} replicas kept, resumed, the exports are equal")


@contextmanager
def small_disk(tmp_path: Path, kib: int) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)]
    if os.getuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        missing("the right to mount a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)


def test_the_disk_is_full(tmp_path: Path) -> None:
    """20 disks too small: the run ends saying so, what is stored is right, and with room it goes on to the whole."""
    expected, full, kept = go(FAST, "whole"), 0, []
    whole = contents(Path("whole"))
    for i in range(20):
        with small_disk(tmp_path, 8 + 20 * i) as place:
            try:
                go(FAST, place / "out")
            except StoreError as error:
                full += "full" in str(error) or "No space left" in str(error)
                remount(place, "size=64m")
                if (place / "out/runs.sqlite").exists():
                    held = contents(place / "out")
                    assert held.items() <= whole.items()
                    kept.append(len(held))
            assert go(FAST, place / "out") == expected
    said(f"{full} of 20 disks were full, with {kept} replicas stored by then; all resumed to equal exports")
    assert full >= 10
    assert any(0 < k < 2 * PARTS for k in kept)


def test_a_read_only_folder(tmp_path: Path) -> None:
    """It is refused with what to do; reading it still works."""
    with small_disk(tmp_path, 65536) as place:
        go(TINY, place / "out")
        before = contents(place / "out")
        remount(place, "ro")
        for experiment in (TINY, {**TINY, "seeds": 3}):
            with pytest.raises(StoreError, match=r"(choose another|writable)"):
                go(experiment, place / "out")
        assert len(results.load(place / "out").runs) == 4
        remount(place, "rw")
        assert contents(place / "out") == before


def damaged(name: str, harm: Any, expected: Any, experiment: Any) -> str:
    """Harm a copy and go on: `told` if it was refused with a way out, `right` if the exports are the whole run's."""
    shutil.rmtree("out", ignore_errors=True)
    shutil.copytree("whole", "out")
    harm(Path("out/runs.sqlite"))
    before = Path("out/runs.sqlite").read_bytes()
    try:
        found = go(experiment, "out")
    except StoreError as error:
        if "--fresh" not in str(error) and "--results" not in str(error):
            pytest.fail(f"{name}: {error}")
        # the way out works, and keeps what was there
        found = go(experiment, "out", fresh=True)
        assert Path("out/runs-1.sqlite").exists()
        kept = Path("out/runs-1.sqlite").read_bytes()
        assert kept == before or (not name.startswith("truncated") and len(kept) == len(before)), name
        assert found == expected, f"{name}: after --fresh"
        return "told"
    assert found == expected, f"{name}: a wrong number"
    return "right"


def test_a_damaged_store() -> None:
    """Truncated at 15 lengths, noise at 30 places, a bit flipped at 30, old, new, foreign: told or right."""
    experiment = {**TINY, "engine": "lanes", "seeds": 6}
    expected = go(experiment, "whole")
    size = Path("whole/runs.sqlite").stat().st_size
    draw = random.Random(8)

    def truncate(length: int) -> Any:
        return lambda path: os.truncate(path, length)

    def noise(at: int, count: int) -> Any:
        def harm(path: Path) -> None:
            data = bytearray(path.read_bytes())
            data[at : at + count] = draw.randbytes(len(data[at : at + count]))
            path.write_bytes(data)

        return harm

    def flip(at: int) -> Any:
        def harm(path: Path) -> None:
            data = bytearray(path.read_bytes())
            data[at] ^= 1 << draw.randrange(8)
            path.write_bytes(data)

        return harm

    def pragma(text: str) -> Any:
        def harm(path: Path) -> None:
            with closing(sqlite3.connect(path)) as db:
                db.execute(f"PRAGMA {text}")

        return harm

    harms: dict[str, list[Any]] = {
        "truncated": [truncate(n) for n in (0, 1, 100, 512, 4096, *(draw.randrange(size) for _ in range(10)))],
        "noise": [noise(draw.randrange(size), draw.choice((4, 16, 100, 4096))) for _ in range(30)],
        "a bit": [flip(draw.randrange(size)) for _ in range(30)],
        "schema": [pragma(f"user_version = {v}") for v in (0, VERSION - 1, VERSION + 1, 99)],
        "foreign": [pragma("application_id = 7"), lambda path: path.write_text("not a database at all" * 99)],
    }
    for kind, some in harms.items():
        ends = [damaged(f"{kind} {i}", harm, expected, experiment) for i, harm in enumerate(some)]
        told, right = ends.count("told"), ends.count("right")
        said(f"{kind}: {len(some)} stores, {told} refused with a way out, {right} whole again")
        if kind in ("schema", "foreign"):
            assert set(ends) == {"told"}


def test_an_error_is_one_of_ours(tmp_path: Path) -> None:
    """What a user meets in all of these is a message, never a traceback."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    run_experiment(path, "results/tiny", report=False)
    os.truncate("results/tiny/runs.sqlite", 5000)
    for command in (["run", str(path)], ["status", "results/tiny"], ["report", "results/tiny"],
                    ["verify", "results/tiny"], ["merge", "out", "results/tiny"]):  # fmt: skip
        ended = subprocess.run(
            [sys.executable, "-m", "cellbench", *command], capture_output=True, text=True, check=False
        )
        assert ended.returncode == 2, command
        assert "Traceback" not in ended.stderr
        assert "--fresh" in ended.stderr
    assert issubclass(StoreError, CellbenchError)
