"""Compiling and training at the same time: what is trained when, what is stored and shown, and what a refusal does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from cellbench.engines.lanes import build
from cellbench.errors import Interrupted
from cellbench.executors.dispatch import Finished
from cellbench.planning import Handed, Plan, Settled, supply
from cellbench.running import Event
from cellbench.running import run as run_experiment
from tests.helpers.commands import TINY

CELLS = ["rnn", "lstm", "gru"]
SMALL: dict[str, Any] = {**TINY, "engine": "auto", "cells": CELLS}
STOPS = """#!/bin/sh
# accepts every program but those whose state has six numbers: lstm with three hidden units
for text in *.cpp; do
  if [ -e "$text" ] && grep -q "STATES = 6," "$text"; then echo "$text: error: too strange" >&2; exit 1; fi
done
exec g++ "$@"
"""


def ran(folder: Path, workers: int = 1, **keys: Any) -> tuple[list[Event], pd.DataFrame]:
    """Run the experiment; its events, and its learning curves in a fixed order."""
    events: list[Event] = []
    found = run_experiment(
        {**SMALL, **keys}, folder, workers=workers, report=False, on_event=events.append, fresh=folder.exists()
    )
    by = ["label", "learning_rate", "seed", "step"]
    return events, found.curves.sort_values(by).reset_index(drop=True)


def labels(events: list[Event], kind: type) -> list[str]:
    return [e.label if isinstance(e, Settled) else e.chunk.cell.label for e in events if isinstance(e, kind)]  # type: ignore[union-attr]


@pytest.fixture
def cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of compiled cells that is empty."""
    monkeypatch.setenv("CELLBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def picky(cold: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler that refuses lstm, with a cold cache."""
    compiler = cold / "picky"
    compiler.write_text(STOPS)
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    return cold


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_compiled_trains_while_the_rest_compiles(cold: Path, workers: int) -> None:
    """The first cell's replicas end before the last cell's engine is certain; the numbers are those of a warm cache."""
    events, curves = ran(cold / "cold", workers)
    assert labels(events, Settled) == CELLS
    assert set(labels(events, Handed)) == set(CELLS)
    kinds = [type(event) for event in events]
    last = max(i for i, kind in enumerate(kinds) if kind is Settled)
    assert kinds.index(Plan) < kinds.index(Handed) < last
    if workers == 1:  # it trains in between, whatever the load
        assert kinds.index(Finished) < last
    plan = next(event for event in events if isinstance(event, Plan))
    assert {choice.engine for choice in plan.engines.values()} == {"lanes"}
    # nothing is compiled the second time, and nothing waits
    events, again = ran(cold / "warm", workers)
    assert not labels(events, Settled)
    pd.testing.assert_frame_equal(curves, again)


@pytest.mark.slow
@pytest.mark.parametrize(("alone", "before"), [(600.0, {"rnn"}), (0.0, {"rnn", "lstm", "gru"})])
def test_compilers_of_the_first_cell_are_left_alone(
    cold: Path, monkeypatch: pytest.MonkeyPatch, alone: float, before: set[str]
) -> None:
    """Its replicas are trained before another cell is traced; but no cell waits long for a compiler that hangs."""
    monkeypatch.setattr(supply, "ALONE", alone)
    compiler, go = cold / "patient", cold / "go"
    compiler.write_text(f'#!/bin/sh\nwhile [ ! -e {go} ]; do sleep 0.1; done\nexec g++ "$@"\n')
    compiler.chmod(0o755)
    traced: list[set[str]] = []
    planned: list[Plan] = []

    def begun() -> set[str]:
        plan = planned[0]
        assert plan.supply is not None
        return {cell.label for cell in plan.experiment.cells if plan.supply.choosing.is_begun(cell)}

    def see(event: Event) -> None:
        if isinstance(event, Plan):
            planned.append(event)
            threading.Thread(target=let_go, daemon=True).start()
        elif isinstance(event, Handed) and not traced:
            traced.append(begun() | {"rnn"})

    def let_go() -> None:
        """Let the compilers go on once the expected cells are begun, or never will be."""
        until = time.monotonic() + 60
        while not before <= begun() and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(1.5)  # another cell would be begun by now
        go.touch()

    monkeypatch.setenv("CXX", str(compiler))
    go.touch()
    build.find_compiler()  # it is asked for its version, and whether it works
    go.unlink()
    run_experiment(SMALL, cold / "out", workers=2, report=False, on_event=see)
    assert traced == [before]


@pytest.mark.slow
def test_a_cell_that_the_compiler_refuses_is_trained_by_the_next_engine(picky: Path) -> None:
    """It is found out while others train; the screen and the store say so, and every replica ends once."""
    events, curves = ran(picky / "out")
    settled = {event.label: event for event in events if isinstance(event, Settled)}
    assert {label: event.choice.engine for label, event in settled.items()} == {
        "rnn": "lanes", "lstm": "stack", "gru": "lanes"
    }  # fmt: skip
    assert "too strange" in settled["lstm"].choice.reason
    assert [chunk.engine for chunk in settled["lstm"].chunks] == ["stack"]
    found = run_experiment(SMALL, picky / "out", report=False)
    assert found.runs.groupby("label")["engine"].unique().map(list).to_dict() == {
        "rnn": ["lanes"], "lstm": ["stack"], "gru": ["lanes"]
    }  # fmt: skip
    assert (found.runs["status"] != "failed").all()
    assert set(curves["label"]) == set(CELLS)
    # the store knows the engine that trained it: a run with more seeds goes on with it
    more = run_experiment(SMALL, picky / "out", report=False, seeds=3)
    assert set(more.runs.loc[more.runs["label"] == "lstm", "engine"]) == {"stack"}


@pytest.mark.slow
def test_an_engine_that_is_asked_for_is_certain_before_anything_trains(picky: Path) -> None:
    """Its refusal ends the run, so nothing may have been trained by then."""
    with pytest.raises(Exception, match="the engine asked for cannot carry it"):
        ran(picky / "out", engine="lanes")
    assert not (picky / "out" / "runs.sqlite").exists()


HANGS = """#!/bin/sh
# never ends, for a program whose state has six numbers: lstm with three hidden units
for text in *.cpp; do
  if [ -e "$text" ] && grep -q "STATES = 6," "$text"; then echo $$ >> "$HUNG"; exec sleep 100; fi
done
exec g++ "$@"
"""


def _runs(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_a_run_is_ended_while_a_compiler_hangs(cold: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that the compiler does not get ends it, too: nothing waits for it, and nothing of it stays."""
    compiler = cold / "hangs"
    compiler.write_text(HANGS)
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("HUNG", str(cold / "hung"))
    (cold / "small.yaml").write_text(yaml.safe_dump(SMALL))
    process = subprocess.Popen(
        [sys.executable, "-m", "cellbench", "run", str(cold / "small.yaml"), "--workers", "1", "--quiet"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (cold / "hung").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    try:
        _, err = process.communicate(timeout=40)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted; what was trained is kept" in err
    assert not any(_runs(int(number)) for number in (cold / "hung").read_text().split())
    assert not list((cold / "cache").glob(".build-*"))


@pytest.mark.slow
def test_labels_of_one_program_are_compiled_once(cold: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An option that changes the first weights alone, as a tuned forget bias does, costs no compiler."""
    compiler = cold / "counts"
    compiler.write_text('#!/bin/sh\necho "$@" >> "$COUNTED"\nexec g++ "$@"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("COUNTED", str(cold / "counted"))
    cells = [{"name": "lstm", "label": f"bias {bias}", "options": {"forget_bias": bias}} for bias in (0, 1, 2)]
    events, curves = ran(cold / "out", cells=cells)
    assert labels(events, Settled) == ["bias 0", "bias 1", "bias 2"]
    linked = [line for line in (cold / "counted").read_text().splitlines() if "-shared" in line.split()]
    assert len(linked) == 2  # one trains, one evaluates
    assert curves["label"].nunique() == 3


@pytest.mark.slow
def test_a_run_that_ends_between_two_labels_of_one_cell_goes_on(picky: Path) -> None:
    """Results are stored under the first label's engine; what is expected of the second one may not take its place."""

    def stop(event: Event) -> None:
        if isinstance(event, Finished):
            raise KeyboardInterrupt

    keys: dict[str, Any] = {**SMALL, "cells": [{"name": "lstm", "label": "a"}, {"name": "lstm", "label": "b"}]}
    with pytest.raises(Interrupted):
        run_experiment(keys, picky / "out", report=False, on_event=stop)
    found = run_experiment(keys, picky / "out", report=False, seeds=3)
    assert set(found.runs["engine"]) == {"stack"}
    assert found.runs.groupby("label").size().to_dict() == {"a": 3, "b": 3}
