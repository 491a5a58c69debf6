"""One replica out of a store, whole: what was trained comes back, under the key that it was trained as."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from cellbench.errors import StoreError
from cellbench.executors.dispatch import Finished
from cellbench.records import Chunk, Outcome
from cellbench.running import run as run_experiment
from cellbench.store import Store, replica
from tests.helpers.commands import TINY

Told = dict[str, tuple[Chunk, Outcome]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Told]:
    """A folder, and what training said of each of its replicas, by key; some diverged."""
    place, seen = tmp_path_factory.mktemp("replica") / "out", Told()

    def see(event: Any) -> None:
        if isinstance(event, Finished):
            seen.update({outcome.key: (event.chunk, outcome) for outcome in event.outcomes})

    run_experiment({**TINY, "learning_rate": [0.05, 1e6]}, place, on_event=see, report=False)
    return place, seen


@pytest.fixture
def told(whole: tuple[Path, Told]) -> Told:
    """What training said; the folder's copy is `out`."""
    shutil.copytree(whole[0], "out")
    return whole[1]


def test_what_was_trained_comes_back(told: Told) -> None:
    """Every field of an outcome: its curve, its final evaluations, and where it ran."""
    with Store(Path("out"), write=False) as store:
        assert set(replica.finished(store)) == set(told)
        for key, (chunk, outcome) in told.items():
            found = replica.outcome(store, key)
            assert (found.label, found.parameters) == (chunk.cell.label, dict(chunk.point.parameters))
            assert (found.batch_size, found.size, found.hidden_size) == (4, "hidden 3", 3)
            for field in fields(Outcome):
                assert getattr(found.outcome, field.name) == getattr(outcome, field.name), field.name
    assert {outcome.status for _, outcome in told.values()} == {"censored", "diverged"}


def test_its_key_is_what_it_was_trained_as(told: Told) -> None:
    """The stored text with the stored seed and rate has the digest that the outcome is found by."""
    with Store(Path("out"), write=False) as store:
        for key in told:
            found = replica.outcome(store, key)
            assert found.key().digest() == key
            assert (found.key().seed, found.key().learning_rate) == (found.seed, found.learning_rate)


def test_what_a_machine_ended_is_not_finished(told: Told) -> None:
    """It is trained again, so it is no result."""
    with closing(sqlite3.connect("out/runs.sqlite", isolation_level=None)) as db:
        db.execute("UPDATE replica SET status = 'failed', cause = 'machine' WHERE id = 1")
        db.execute("UPDATE replica SET status = 'failed', cause = 'cell' WHERE id = 2")
        (lost,) = db.execute("SELECT key FROM replica WHERE id = 1").fetchone()
    with Store(Path("out"), write=False) as store:
        assert replica.finished(store) == sorted(set(told) - {lost})


def test_a_place_in_words(told: Told) -> None:
    """As messages name a replica: label, point, size, rate and seed."""
    with Store(Path("out"), write=False) as store:
        places = {replica.outcome(store, key).place for key in told}
    assert places == {
        f"{label} at bits 4, batch 4, hidden 3, rate {rate}, seed {seed}"
        for label in ("rnn", "lstm") for rate in ("0.05", "1e+06") for seed in (0, 1)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "ask"),
    [
        ("UPDATE plan SET parameters = '[4]'", replica.outcome),
        ("UPDATE plan SET parameters = '{'", replica.outcome),
        ("UPDATE family SET key_text = '{}'", lambda store, key: replica.outcome(store, key).key()),
    ],
)
def test_texts_that_are_none_of_ours(statement: str, ask: Any, told: Told) -> None:
    """A plan's parameters that are no mapping are said by the store; a text that is no key is a ValueError."""
    with closing(sqlite3.connect("out/runs.sqlite", isolation_level=None)) as db:
        db.execute(statement)
    with pytest.raises((StoreError, ValueError)), Store(Path("out"), write=False) as store:
        ask(store, next(iter(told)))
