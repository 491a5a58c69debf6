"""Worker processes on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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
