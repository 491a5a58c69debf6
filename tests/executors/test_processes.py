"""Worker processes on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cellbench.running import run as run_experiment
from tests.helpers.cells import MINE


def test_a_worker_that_dies_takes_only_its_own_chunk(write: Callable[..., Path]) -> None:
    """A cell that kills its process is failed by the machine after a second try; the others are trained."""
    suicide = "import multiprocessing, os\n    if multiprocessing.parent_process():\n        os.kill(os.getpid(), 9)\n"
    Path("bad.py").write_text(MINE.replace("    return", f"    {suicide}    return"))
    path = write(cells=["rnn", {"name": "bad", "factory": "./bad.py:Mine"}, "lstm"])
    runs = run_experiment(path, "out", workers=2).runs
    assert set(runs[runs.label == "bad"].cause) == {"machine"}
    assert set(runs[runs.label != "bad"].status) == {"censored"}
    Path("bad.py").write_text(MINE)
    assert "failed" not in set(run_experiment(path, "out").runs.status)


@pytest.mark.slow
def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    """Workers do not run the user's program: a script without `if __name__ == "__main__"` runs once."""
    script = """if True:
        import cellbench
        print("once")
        grid = {"bits": 4, "batch_size": 4, "hidden_size": 3}
        keys = {"seeds": 2, "learning_rate": 0.1, "train": {"max_steps": 10}, "engine": "reference"}
        print(repr(cellbench.run(cells=["rnn"], grid=grid, workers=2, report=False, **keys)))
    """
    (tmp_path / "script.py").write_text(script)
    for name, arguments, given in (("file", ["script.py"], ""), ("stdin", ["-"], script)):
        done = subprocess.run(
            [sys.executable, *arguments], input=given, cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        said = "<Results of notebook in results/notebook: 2 replicas, none missing>"
        assert done.stdout.splitlines() == ["once", said], f"{name}: {done.stderr}"
        shutil.rmtree(tmp_path / "results")


STOPPED = """
import os, signal, subprocess, time
from cellbench.executors.processes import Processes

pool = Processes(1)
print(pool.submit(os.getpid).result(), flush=True)
result = pool.submit(subprocess.check_output, ["sh", "-c", "sleep 2; head -c 50000000 /dev/zero"])
time.sleep(1)
os.kill(os.getpid(), signal.SIGSTOP)  # as a laptop that sleeps, or Ctrl-Z
pool.close()
"""


@pytest.mark.slow
def test_a_worker_that_dies_while_it_sends_does_not_keep_the_program(tmp_path: Path) -> None:
    """Half a result is in the pipe when the worker is killed: closing the pool ends all that waits for the rest."""
    script = tmp_path / "stopped.py"
    script.write_text(STOPPED)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        worker = int(program.stdout.readline())
        os.waitid(os.P_PID, program.pid, os.WSTOPPED | os.WEXITED)
        time.sleep(4)  # the worker fills the pipe, and waits for a reader
        os.kill(worker, signal.SIGKILL)
        os.kill(program.pid, signal.SIGCONT)
        try:
            assert program.wait(30) == 0
        finally:
            program.kill()


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.5, 1.0, 1.5, 2.5])
def test_ctrl_c_while_workers_import(write: Callable[..., Path], after: float) -> None:
    """Ctrl-C reaches every process of the terminal: all end, and none of them shows where it was."""
    path = write(train={"max_steps": 1_000_000}, engine="reference")
    command = [sys.executable, "-m", "cellbench", "run", str(path), "--workers", "2", "--no-report", "--quiet"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as program:
        time.sleep(after)
        os.killpg(program.pid, signal.SIGINT)
        said = program.communicate(timeout=60)[1]
    assert program.returncode in (130, -signal.SIGINT), said
    assert "Traceback" not in said
