"""The whole pipeline against what must come out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cellbench import run


@pytest.mark.parametrize("engine", ["reference", "stack"])
def test_an_exact_adder_is_exact_at_every_length_and_chain(engine: str) -> None:
    """An adder whose weights are set, put through the whole pipeline, scores 1.0 everywhere."""
    shutil.copy(Path(__file__).parent / "helpers" / "cells.py", "adder.py")
    experiment = {
        "name": "adder",
        "engine": engine,
        "cells": [{"name": "adder", "factory": "./adder.py:Adder"}],
        "grid": {"bits": 8, "batch_size": 16, "hidden_size": 3},
        "seeds": 3,
        "learning_rate": 0.3,
        "train": {"max_steps": 120},
        "final": {"examples": 200, "bits": [2, 8, 64, 256], "difficulty": "longest"},
    }
    results = run(experiment, "out")
    runs = results.runs
    assert set(runs.status) == {"solved"}
    assert set(runs.parameters) == {4}, "only the readout is trained"
    assert set(runs.final_sequence_accuracy) == set(runs.final_bit_accuracy) == {1.0}
    at_rate = results.accuracy[results.accuracy["at"] == "rate"]
    assert set(at_rate[at_rate.by == "bits"].value) == {2, 8, 64, 256}
    assert set(at_rate[at_rate.by == "carry_chain"].value) == {0, 1, 2, 4, 7}
    assert set(at_rate[at_rate.by == "carry_chain_at_bits_256"].value) == {32, 64, 128, 255}
    assert set(at_rate["least"]) == {1.0}


def test_lstm_learns_as_it_is_known_to() -> None:
    """lstm, hidden 20, batch 16, rate 0.01, 8 bits solves in a median of 100 to 400 steps."""
    experiment = {
        "name": "plausible",
        "cells": ["lstm"],
        "grid": {"bits": 8, "batch_size": 16, "hidden_size": 20},
        "seeds": 10,
        "learning_rate": 0.01,
        "train": {"max_steps": 1000, "stop_when_solved": True},
        "final": {"examples": 100, "bits": [], "difficulty": False},
    }
    runs = run(experiment, "out").runs
    assert (runs.status == "solved").sum() >= 8
    assert 100 <= runs.steps_to_solved.median() <= 400
