"""What a run is about to do: every replica that is missing is in one chunk, and nothing else is."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellbench.engines import Choice
from cellbench.errors import CellbenchError, StoreError
from cellbench.experiment import Experiment, load
from cellbench.planning import lay_out, prepare
from cellbench.planning.chunks import chunks
from cellbench.plugins import registry
from cellbench.records import Planned
from tests.helpers.commands import TINY
from tests.helpers.runs import trained

WHOLE = {
    **TINY, "cells": ["rnn", {"name": "rnn", "label": "elman"}, "lstm"], "seeds": 5, "learning_rate": [0.1, 1, 2],
    "grid": {"bits": [4, 400], "batch_size": [4, 64], "hidden_size": 3}, "train": {"max_steps": 2000},
}  # fmt: skip


@lru_cache
def whole() -> tuple[Experiment, list[Planned]]:
    experiment = load(WHOLE, registry())
    return experiment, lay_out(experiment)


@settings(deadline=None)
@given(st.sampled_from(["lanes", "stack", "reference"]), st.sets(st.integers(0, 119)))
def test_chunks_are_a_partition_of_what_is_missing(engine: str, stored: set[int]) -> None:
    """Each key that is not done is in one chunk, in the plan's order there; the dearest chunk comes first."""
    experiment, planned = whole()
    keys = list(dict.fromkeys(r.key for p in planned for r in p.replicas))
    done = frozenset(keys[i] for i in stored if i < len(keys))
    found = chunks(experiment, planned, {c.label: Choice(engine, "") for c in experiment.cells}, done)
    cut = [r.key for chunk in found for r in chunk.replicas]
    assert sorted(cut) == sorted(set(keys) - done)
    costs = [chunk.cost for chunk in found]
    assert costs == sorted(costs, reverse=True)
    place = {key: i for i, key in enumerate(keys)}
    for chunk in found:
        assert [place[r.key] for r in chunk.replicas] == sorted(place[r.key] for r in chunk.replicas)
        assert chunk.engine == engine
        assert len(chunk.replicas) <= {"lanes": 256, "stack": 32, "reference": 8}[engine]
        (p,) = (p for p in planned if p.cell == chunk.cell and p.point == chunk.point)
        assert set(chunk.replicas) <= set(p.replicas)


def test_a_seed_s_learning_rates_share_a_chunk() -> None:
    """So they share its data, whatever one replica costs, where replicas share no vector."""
    experiment, planned = whole()
    found = chunks(experiment, planned, {c.label: Choice("lanes", "") for c in experiment.cells}, frozenset())
    assert len(found) > 8
    places = [
        (c.cell.name, c.point, seed) for c in found if c.point.batch_size == 64 for seed in {r.seed for r in c.replicas}
    ]
    assert len(places) == len(set(places))


@pytest.mark.parametrize(("isa", "group"), [("avx512", 4), ("avx2", 2), ("sse2", 1)])
def test_chunks_hold_whole_groups_of_replicas_that_share_a_vector(
    isa: str, group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At batch 4 all chunks of a point but its last fill their vectors: a group that lacks one takes as long."""
    monkeypatch.setenv("CELLBENCH_ISA", isa)
    experiment = load({**WHOLE, "train": {"max_steps": 200_000}}, registry())
    planned = lay_out(experiment)
    found = chunks(experiment, planned, {c.label: Choice("lanes", "") for c in experiment.cells}, frozenset())
    shared = [chunk for chunk in found if chunk.point.batch_size == 4]
    assert len(shared) > 4
    for cell, point in {(c.cell, c.point) for c in shared}:
        ragged = [c for c in shared if (c.cell, c.point) == (cell, point) and len(c.replicas) % group]
        assert len(ragged) <= 1


@pytest.mark.parametrize(
    ("part", "replicas"),
    [
        ({}, 4),
        ({"only": {"cell": ["rnn"]}}, 2),
        ({"only": {"cell": ["rnn"], "seed": ["1"]}}, 1),
        ({"shard": (1, 2)}, 2),
        ({"only": {"seed": ["1"]}, "shard": (2, 2)}, 1),
    ],
)
def test_a_part_is_planned_within_the_whole(part: dict[str, Any], replicas: int, tmp_path: Path) -> None:
    """The whole is still there for the store; what is counted and cut is the part. No folder is made."""
    plan = prepare(load(TINY, registry()), tmp_path / "none", **part)
    assert sum(len(p.replicas) for p in plan.planned) == 4
    assert (plan.replicas, plan.replicas_done) == (replicas, 0)
    assert sum(len(chunk.replicas) for chunk in plan.todo) == replicas
    assert not (tmp_path / "none").exists()


def test_a_part_that_is_empty(tmp_path: Path) -> None:
    """What was asked for is said as it was typed."""
    with pytest.raises(CellbenchError, match="--only cell=rnn,seed=9 leaves nothing of the experiment tiny"):
        prepare(load(TINY, registry()), tmp_path, only={"cell": ["rnn"], "seed": ["9"]})


def test_what_is_stored_is_done() -> None:
    """A cell that is whole keeps its stored engine without a look at it; --fresh counts nothing as done."""
    trained(TINY)
    more = load({**TINY, "cells": ["rnn", "lstm", "gru"], "engine": "auto"}, registry())
    plan = prepare(more, Path("out"))
    assert (plan.replicas, plan.replicas_done) == (6, 4)
    assert {chunk.cell.label for chunk in plan.todo} == {"gru"}
    assert plan.engines["rnn"] == Choice("reference", "trained already")
    assert prepare(more, Path("out"), fresh=True).replicas_done == 0


def test_auto_stays_with_a_stored_engine_and_names_the_faster_one() -> None:
    """Only an engine that is asked for by name ends a run."""
    trained(TINY)
    more: Any = {**TINY, "seeds": 3, "engine": "auto"}
    choice = prepare(load(more, registry()), Path("out")).engines["rnn"]
    assert choice.engine == "reference"
    assert choice.reason.startswith("its stored results come from it; lanes could train it now")
    with pytest.raises(StoreError, match="stored results come from the engine reference"):
        prepare(load({**more, "engine": "stack"}, registry()), Path("out"))


def test_a_cell_s_digest_is_of_what_makes_it() -> None:
    """Its label and its plugin's version are not of it; its options, text and initial state are."""
    others: list[dict[str, Any]] = [
        {"options": {"forget_bias": 1}},
        {"learn_initial_state": True},
        {"readout": {"hidden": 3}},
    ]
    cells = ["lstm", {"name": "lstm", "label": "again"}, "gru"]
    cells += [{"name": "lstm", "label": f"lstm {i}", **keys} for i, keys in enumerate(others)]
    first, again, *rest = (c.digest for c in load({**TINY, "cells": cells}, registry()).cells)
    assert first == again
    assert len({first, *rest}) == 5
