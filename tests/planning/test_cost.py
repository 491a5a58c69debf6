"""Seconds before a run: what the guess and the estimate must keep, however fast the machine is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cellbench.errors import CellbenchError
from cellbench.experiment import load
from cellbench.planning import estimate, lay_out
from cellbench.planning.cost import Guess
from cellbench.planning.plan import prepare
from cellbench.plugins import registry
from cellbench.tasks.binary_addition import BinaryAddition
from tests.helpers import clock
from tests.helpers.commands import TINY


def guesses(**keys: Any) -> dict[str, float]:
    """Seconds guessed of one replica of rnn, or of the cell asked for, with each engine."""
    experiment = load({**TINY, "cells": ["rnn"], **keys}, registry())
    guess, (planned,) = Guess(experiment.task, experiment.settings), lay_out(experiment)
    return {engine: guess.seconds(planned, engine) for engine in ("lanes", "stack", "reference")}


def guessed(**keys: Any) -> float:
    return guesses(**keys)["lanes"]


def grid(bits: int = 4, batch_size: int = 4, hidden_size: int = 3) -> dict[str, int]:
    return {"bits": bits, "batch_size": batch_size, "hidden_size": hidden_size}


LARGER: dict[str, dict[str, Any]] = {
    "longer": {"grid": grid(bits=9)},
    "a larger batch": {"grid": grid(batch_size=32)},
    "a larger cell": {"grid": grid(hidden_size=30)},
    "another cell": {"cells": ["lstm"]},
    "more steps": {"train": {"max_steps": 40}},
    "more evaluations": {"evaluate": {"every": 1, "growth": 0, "examples": 32}},
    "more examples": {"evaluate": {"every": 5, "examples": 64}},
    "more final examples": {"final": {"examples": 200, "bits": [6], "difficulty": True}},
    "longer final examples": {"final": {"examples": 20, "bits": [60], "difficulty": True}},
    "one more final value": {"final": {"examples": 20, "bits": [6, 8], "difficulty": True}},
}


@pytest.mark.parametrize("what", list(LARGER))
def test_more_work_is_guessed_dearer(what: str) -> None:
    """Each part of a replica's work counts, with every engine."""
    less, more = guesses(), guesses(**LARGER[what])
    assert all(0 < less[engine] < more[engine] for engine in less)


def test_what_is_not_asked_for_costs_nothing() -> None:
    """Without evaluations by difficulty it is cheaper."""
    assert guessed(final={"examples": 20, "bits": [6], "difficulty": False}) < guessed()


def test_what_a_short_batch_costs() -> None:
    """What one of eight does, where it has a vector of its own; with lanes, what a power of two of examples does."""
    at = {batch: guesses(grid=grid(batch_size=batch)) for batch in (1, 2, 3, 4, 5, 8, 16)}
    assert at[1]["reference"] == at[8]["reference"]
    lanes = {batch: found["lanes"] for batch, found in at.items()}
    assert lanes[1] == lanes[2] < lanes[3] == lanes[4] < lanes[5] == lanes[8] < lanes[16]


def test_training_is_in_proportion_to_its_steps() -> None:
    """With one evaluation at the end, a step more costs the same wherever it is."""
    at = [guessed(train={"max_steps": n}, evaluate={"every": 1000, "examples": 32}) for n in (100, 200, 300)]
    assert at[2] - at[1] == pytest.approx(at[1] - at[0])


def test_an_example_that_memory_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said where, and not by a traceback."""

    def length(self: BinaryAddition, parameters: object) -> int:
        raise MemoryError("8 EiB")

    monkeypatch.setattr(BinaryAddition, "length", length)
    with pytest.raises(CellbenchError, match="not even one example fits in memory at bits 4: 8 EiB"):
        guessed()


TICKING = """\
import torch
from cellbench import Cell
from tests.helpers import clock


class Ticking(Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.w = torch.nn.Linear(input_size, hidden_size)

    def forward(self, x, state):
        clock.now += 1
        return self.w(x), state
"""


@pytest.mark.parametrize("more", [{}, {"schedule": "cosine", "warmup_steps": 30}])
def test_an_estimate_is_what_training_takes(more: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that a cell moves by a second per call: each example's length, times the steps, times the replicas."""
    monkeypatch.setattr("time.perf_counter", lambda: clock.now)
    Path("ticking.py").write_text(TICKING)
    keys = {"cells": [{"name": "ticking", "factory": "./ticking.py:Ticking"}], "train": {"max_steps": 70, **more}}
    experiment = load({**TINY, **keys, "evaluate": {"every": 1000, "examples": 32}}, registry())
    todo = prepare(experiment, Path("none")).todo
    assert estimate(todo) == pytest.approx(4 * 70 * 2)
    again = [replace(chunk, cost=chunk.cost / 2) for chunk in todo]
    assert estimate([*todo, *again]) == pytest.approx(1.5 * 4 * 70 * 2)
    assert estimate([]) == 0
