"""A run that is stopped, politely or not: what was trained is kept, and the run goes on to the same numbers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from cellbench.errors import Interrupted
from cellbench.executors.dispatch import Finished
from cellbench.running import run as run_experiment
from cellbench.running.interrupts import interruptible
from tests.helpers.commands import TINY
from tests.helpers.runs import exports, stored


def _start(path: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cellbench", "run", str(path), "--quiet", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


LONG = {
    **TINY, "name": "long", "engine": "stack", "cells": ["rnn", "lstm"], "seeds": 2,
    "grid": {"bits": [4, 5, 6], "batch_size": [4, 8], "hidden_size": 3}, "train": {"max_steps": 60},
}  # fmt: skip


@pytest.mark.parametrize("number", [2, 15], ids=["SIGINT", "SIGTERM"])
@pytest.mark.slow
def test_interrupted(number: int, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM: exit 130, results kept, and the command printed goes on to the end."""
    path = tmp_path / "long.yaml"
    path.write_text(yaml.safe_dump(LONG))
    process = _start(path, "--workers", "2")
    while stored(Path("results/long")) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    kept = stored(Path("results/long"))
    assert 2 <= kept < 24
    assert "interrupted; what was trained is kept. To go on:" in err
    assert f"cellbench run {path} --quiet --workers 2" in err
    done = run_experiment(path, "results/long")
    assert set(done.runs.status) <= {"solved", "censored"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_is_swallowed_is_not_lost(number: int, write: Callable[..., Path]) -> None:
    """A bare `except:`, as libraries have around their imports, does not keep a run from being stopped."""

    def see(event: Any) -> None:
        if isinstance(event, Finished):
            with suppress(BaseException):
                signal.raise_signal(number)

    with pytest.raises(Interrupted, match="what was trained is kept"):
        run_experiment(write(seeds=4), "out", on_event=see)
    assert 0 < stored(Path("out")) < 8
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _killed(path: Path, moments: int, engine: str, workers: str) -> int:
    """Kill at so many moments that lie mid-run; how many did."""
    folder = Path("results/long")
    mid = 0
    for moment in range(moments):
        shutil.rmtree(folder, ignore_errors=True)
        process = _start(path, "--workers", workers, "--set", f"engine={engine}", "--no-report")
        wanted = 1 + 24 * moment // (moments + 1)
        while stored(folder) < wanted and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.13 * (moment % 4))
        process.kill()
        process.communicate()
        if 0 < stored(folder) < 24:
            mid += 1
        run_experiment(path, folder, overrides=[f"engine={engine}"], workers=1)
        assert exports(folder) == exports(Path("whole")), f"killed at moment {moment}"
    return mid


def test_killed_and_resumed_equals_never_killed(tmp_path: Path) -> None:
    """SIGKILL once mid-run, then resumed: the exports are those of a run that was never killed, byte for byte."""
    path = tmp_path / "long.yaml"
    path.write_text(yaml.safe_dump(LONG))
    run_experiment(path, "whole")
    assert _killed(path, 1, "stack", "1") == 1


@pytest.mark.slow
def test_killed_and_resumed_equals_never_killed_ten_times(tmp_path: Path) -> None:
    """The same at ten moments, at least ten of them provably between the first and the last stored chunk."""
    path = tmp_path / "long.yaml"
    path.write_text(yaml.safe_dump(LONG))
    run_experiment(path, "whole")
    assert _killed(path, 12, "stack", "2") >= 10


class Last:
    """Is signalled while it is finalized."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_while_an_object_is_finalized(capfd: pytest.CaptureFixture[str]) -> None:
    """Nobody can catch it there: no traceback is printed, and the run ends at its next look at the signals."""
    with pytest.raises(Interrupted, match="interrupted"), interruptible() as interrupts:  # noqa: PT012
        Last()
        interrupts.check()
    assert capfd.readouterr().err == ""
