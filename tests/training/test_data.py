"""The data of a chunk: the cache of evaluation sets gives what was made, and memory holds few sets at a time."""

from __future__ import annotations

import sqlite3
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellbench.running import run as run_experiment
from cellbench.training.data import Recent
from tests.helpers.commands import TINY


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(0, 40_000))
def test_recent(asked: list[int], most: int) -> None:
    """Each key gives its own arrays; what is held fits; one that was asked for just before is not made again."""
    recent, made, last = Recent(most), [], None
    for key in asked:

        def make(key: int = key) -> tuple[np.ndarray, ...]:
            made.append(key)
            return (np.full(100 * key, key, np.float32), np.full(10, key, np.float32))

        before = len(made)
        first, second = recent.get(key, make)
        assert (len(first), len(second)) == (100 * key, 10)
        assert (first == key).all()
        assert (second == key).all()
        size = 4 * (100 * key + 10) + 1024
        if key == last and size <= most:
            assert len(made) == before
        assert recent.held == sum(4 * (100 * k + 10) + 1024 for k in range(10) if k in recent) <= most
        last = key


def test_what_is_asked_for_stays() -> None:
    """The one that was longest not asked for goes first."""
    recent, made = Recent(3 * (4000 + 1024)), []

    def ask(key: str) -> None:
        recent.get(key, lambda: (made.append(key), np.zeros(1000, np.float32))[1:])

    for key in "abcadab":
        ask(key)
    assert "".join(made) == "abcdb"


def evaluated(folder: str) -> list[tuple[Any, ...]]:
    """What every final evaluation said."""
    with sqlite3.connect(f"{folder}/runs.sqlite") as db:
        return db.execute(
            "SELECT r.key, r.final_loss, e.* FROM replica r JOIN evaluation e ON e.replica = r.id ORDER BY 1, 4"
        ).fetchall()


@pytest.mark.parametrize("engine", ["lanes", "stack", "reference"])
def test_final_evaluations_of_few_seeds_at_a_time(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many seeds' sets memory has room for at once, each replica's final evaluations are the same bits."""
    keys = {**TINY, "engine": engine, "seeds": 5, "learning_rate": [0.05, 1e6]}
    run_experiment(keys, "whole", report=False)
    monkeypatch.setattr("cellbench.training.data.FINAL_BYTES", 2 * 20 * 6 * 3 * 4)  # two seeds' sets
    run_experiment(keys, "apart", report=False)
    assert evaluated("whole") == evaluated("apart")
    assert len(evaluated("whole")) == 20 * 6


@pytest.mark.slow
def test_many_seeds_at_a_point_train_in_little_memory() -> None:
    """64 seeds, evaluated on 1,000 examples of 256 bits each, take the memory of a few. Found at 100: 700 MiB."""
    keys = {**TINY, "cells": ["rnn"], "engine": "lanes", "seeds": 64, "train": {"max_steps": 5}}
    import torch  # noqa: F401  # which is none of it

    tracemalloc.start()
    try:
        run_experiment({**keys, "final": {"examples": 1000, "bits": [256], "difficulty": False}}, "out", report=False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 128 * 2**20  # all of them together: 188 MiB, and as much to put them together
