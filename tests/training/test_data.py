"""The data of a chunk: the cache of evaluation sets gives what was made, and memory holds few sets at a time."""

from __future__ import annotations

import sqlite3
import tracemalloc
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellbench.records import Evaluate, Final, Settings, Solved, Train
from cellbench.running import run as run_experiment
from cellbench.streams import Stream
from cellbench.tasks.binary_addition import BinaryAddition
from cellbench.training.data import JOINED, EvaluationData, Recent, apart
from cellbench.training.drawn import Drawn, draw
from tests.helpers.commands import TINY


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(0, 40_000))
def test_recent(asked: list[int], most: int) -> None:
    """Each key gives its own arrays; what is held fits; one that was asked for just before is not made again."""
    recent, made, last = Recent(most), [], None
    for key in asked:

        def make(keys: list[int]) -> list[tuple[np.ndarray, ...]]:
            made.extend(keys)
            return [(np.full(100 * k, k, np.float32), np.full(10, k, np.float32)) for k in keys]

        before = len(made)
        ((first, second),) = recent.get([key], make)
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

    def make(keys: list[str]) -> list[tuple[np.ndarray, ...]]:
        made.extend(keys)
        return [(np.full(1000, ord(key), np.float32),) for key in keys]

    for asked in ("a", "b", "c", "ad", "ab"):
        found = recent.get(list(asked), make)
        assert [array[0] for (array,) in found] == [ord(key) for key in asked]
    assert "".join(made) == "abcdb"


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 70), st.lists(st.integers(0, 2**40), min_size=1, max_size=5, unique=True), st.integers(1, 40))
def test_seeds_drawn_in_one_call(bits: int, seeds: list[int], examples: int) -> None:
    """Sets of several seeds are those that each seed draws by itself: for the mixture and for every difficulty."""
    task = BinaryAddition()
    assert type(task).__module__ in JOINED
    wanted = Settings(
        "binary_addition", Train(1, "adam", 1.0, False, 60.0), Evaluate(10, 0.0, examples),
        Solved("bit_accuracy", 0.9, 1), Final(examples, (), difficulty=True),
    )  # fmt: skip
    data = EvaluationData(task, wanted, (("bits", bits),))
    for by, value in data.plan:
        together = data.final(seeds, by, value)
        count = together.inputs.shape[2]
        for place, seed in enumerate(seeds):
            stream = Stream("final", "binary_addition", (("bits", bits),), seed, value, count=count)
            alone = draw(task, "binary_addition", stream, count, {"bits": bits}, value)  # type: ignore[arg-type]
            assert np.array_equal(together.inputs[place], alone.inputs)
            assert np.array_equal(together.targets[place], alone.targets)


def test_a_kept_set_keeps_no_other() -> None:
    """The sets of one call are copies: each can be forgotten by itself."""
    drawn = Drawn(np.zeros((8, 12, 2), np.float32), np.zeros((8, 12, 1), np.float32), None)
    parts = list(apart(drawn, 4))
    assert [part.inputs.shape for part in parts] == [(8, 4, 2)] * 3
    assert all(array is None or array.base is None for part in parts for array in part)


def chain(a: int, b: int) -> int:
    """The most positions that one carry of a + b passes, by Python's integers."""
    longest = running = 0
    for place in range(max(a, b).bit_length() + 1):
        one, other = a >> place & 1, b >> place & 1
        running = 1 if one and other else running + 1 if running and one != other else 0
        longest = max(longest, running)
    return longest


def test_the_hardest_at_the_largest() -> None:
    """Sums of 64 bits with the longest carry chains, for models that were trained on 8 bits."""
    task = BinaryAddition()
    final = Final(80, (("bits", (8, 64)),), difficulty=True, hardest=True)
    settings = Settings(
        "binary_addition", Train(1, "adam", 1.0, False, 60.0), Evaluate(10, 0.0, 32),
        Solved("bit_accuracy", 0.9, 1), final,
    )  # fmt: skip
    data = EvaluationData(task, settings, (("bits", 8),))
    named = [(by, value) for by, value in data.plan if by.startswith("carry_chain_at")]
    assert named == [("carry_chain_at_bits_64", value) for value in (8, 16, 32, 63)]
    for by, value in named:
        inputs, targets, mask = data.final([3], by, value)
        assert inputs.shape == (1, 64, 10, 2)
        assert mask is None
        for example in range(10):
            bits = inputs[0, :, example].astype(int)
            a, b = (sum(int(bit) << place for place, bit in enumerate(bits[:, which])) for which in (0, 1))
            assert chain(a, b) == value
            assert sum(int(bit) << place for place, bit in enumerate(targets[0, :, example, 0])) == a + b
    without = EvaluationData(task, replace(settings, final=replace(final, hardest=False)), (("bits", 8),))
    assert without.plan == [each for each in data.plan if each not in named]


def evaluated(folder: str) -> list[tuple[Any, ...]]:
    """What every final evaluation said."""
    with closing(sqlite3.connect(f"{folder}/runs.sqlite")) as db, db:
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
