"""Replicas that share a vector: the bits of each are those that it has alone, in a vector of its own."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellbench.engines import OPTIMIZERS
from cellbench.engines.lanes import build
from cellbench.engines.lanes.units import sharing
from tests.helpers import lane_cells as odd
from tests.helpers.lanes import CELLS, addition, blueprint, engine
from tests.helpers.tools import missing

SEEDS, STEPS = 3, 12
RATES = (0.003, 0.01, 0.03, 0.1, 0.3)
REPLICAS = [(seed, rate) for seed in range(SEEDS) for rate in RATES]
WAYS = {
    # the cell and options of a model, an optimizer, and a clipping norm
    "lstm": (CELLS["lstm"], {}, "adam", 1.0),
    "gru, readout layer, learnt initial state": (
        CELLS["gru"],
        {"readout_hidden": 4, "learn_initial_state": True},
        "rmsprop",
        None,
    ),
    "frozen tensors of its own": (odd.Reservoir, {}, "adamw", 0.1),
    "a transformed matrix": (odd.Orthogonalish, {}, "sgd", 1.0),
}


@functools.lru_cache
def ready(way: str, batch: int, replicas: int | None, isa: str | None = None) -> tuple[Any, Any]:
    """The model of a way, and an engine with so many replicas per vector, or as many as fill it."""
    cell, keys, optimizer, clip = WAYS[way]
    plan = blueprint(cell, **keys)
    return plan, engine("lanes", plan, optimizer, clip, batch_sizes=(batch,), replicas=replicas, isa=isa)


@functools.lru_cache
def data(batch: int) -> tuple[np.ndarray, np.ndarray]:
    """In step 7, the second seed's data are not finite: its replicas break there."""
    x, y = addition(SEEDS, STEPS, batch=batch)
    x[1, 7, 2, batch - 1, 0] = np.inf
    return x, y


class Company:
    """Replicas trained together; each is named by its place in REPLICAS."""

    def __init__(self, way: str, batch: int, members: Sequence[int], replicas: int | None, isa: str | None) -> None:
        plan, found = ready(way, batch, replicas, isa)
        seeds, rates = zip(*(REPLICAS[i] for i in members), strict=True)
        self._replicas = found.begin([plan.build("test", seed) for seed in seeds], rates)
        self._members = list(members)
        self._x, self._y = data(batch)

    def advance(self, start: int, stop: int) -> dict[int, tuple[Any, ...]]:
        """Each one's losses and the step that broke it, then its parameters."""
        which = np.array([REPLICAS[i][0] for i in self._members])
        found = self._replicas.advance(self._x[:, start:stop], self._y[:, start:stop], which)
        parameters = self._replicas.parameters()
        return {
            member: (found.losses[row], found.broke[row], *parameters[row].values())
            for row, member in enumerate(self._members)
        }

    def keep(self, members: Sequence[int]) -> None:
        self._replicas.keep([self._members.index(member) for member in members])
        self._members = list(members)


@functools.lru_cache
def alone(way: str, batch: int, member: int, blocks: tuple[int, ...], isa: str | None) -> list[tuple[Any, ...]]:
    """What a replica does with nobody beside it, in vectors of its own, block by block."""
    company = Company(way, batch, [member], 1, isa)
    starts = (0, *blocks)
    return [company.advance(*pair)[member] for pair in zip(starts, (*blocks, STEPS), strict=True)]


def same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True))


def check(draw: st.DataObject, way: str, batch: int, isa: str | None = None) -> None:
    """Some company, in some order, cut into blocks after which some leave and the others change places."""
    members = draw.draw(st.lists(st.sampled_from(range(len(REPLICAS))), min_size=1, max_size=11, unique=True))
    blocks = tuple(draw.draw(st.sampled_from([(), (5,), (1, 8), (7, 8), (3, 7, 11)])))
    company = Company(way, batch, members, None, isa)
    for number, (start, stop) in enumerate(zip((0, *blocks), (*blocks, STEPS), strict=True)):
        for member, found in company.advance(start, stop).items():
            assert same(found, alone(way, batch, member, blocks, isa)[number]), (member, number)
        members = draw.draw(st.permutations(members))[: draw.draw(st.integers(1, len(members)))]
        company.keep(members)


@settings(deadline=None, max_examples=25)
@given(st.data(), st.sampled_from([3, 4]))
def test_bits_do_not_depend_on_who_shares_a_vector(draw: st.DataObject, batch: int) -> None:
    check(draw, "lstm", batch)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 2, 5, 8])
@pytest.mark.parametrize("way", WAYS)
def test_nor_with_any_cell_optimizer_and_batch(way: str, batch: int) -> None:
    @settings(deadline=None, max_examples=25)
    @given(st.data())
    def holds(draw: st.DataObject) -> None:
        check(draw, way, batch)

    holds()


@pytest.mark.slow
@pytest.mark.parametrize(("isa", "batch"), [("avx2", 1), ("avx2", 4), ("sse2", 2), ("avx512", 4)])
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_nor_with_any_instruction_set_and_compiler(
    isa: str, batch: int, compiler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not build.runs_here(build.Isa(isa, build.native_isa().machine)):
        pytest.skip(f"this processor has no {isa}")
    monkeypatch.setenv("CXX", shutil.which(compiler) or missing(compiler))
    for cached in (ready, alone):
        cached.cache_clear()

    @settings(deadline=None, max_examples=15)
    @given(st.data())
    def holds(draw: st.DataObject) -> None:
        check(draw, "gru, readout layer, learnt initial state", batch, isa)

    holds()
    for cached in (ready, alone):
        cached.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("cell", odd.CARRIED, ids=lambda cell: cell.__name__)
def test_nor_with_cells_of_every_kind(cell: Any) -> None:
    """Seven replicas at four per vector, beside one at a time."""
    plan, (x, y) = blueprint(cell), data(4)
    found = []
    for replicas in (None, 1):
        started = engine("lanes", plan, replicas=replicas).begin([plan.build("test", s) for s in range(7)], [0.01] * 7)
        found.append((started.advance(x, y, np.arange(7) % SEEDS), started.parameters()))
    (together, weights), (apart, others) = found
    assert np.array_equal(together.losses, apart.losses, equal_nan=True)
    assert np.array_equal(together.broke, apart.broke)
    for mine, other in zip(weights, others, strict=True):
        assert all(np.array_equal(mine[name], other[name]) for name in mine)


@pytest.mark.parametrize(("isa", "lanes"), [("avx512", 16), ("avx2", 8), ("sse2", 4)])
def test_a_vector_is_as_full_as_whole_groups_make_it(isa: str, lanes: int) -> None:
    """The replicas that share it fit, twice as many would not, and a vector is never theirs without an example."""
    for batch in range(1, 100):
        replicas = sharing(batch, isa)
        assert replicas & (replicas - 1) == 0
        if batch >= lanes:
            assert replicas == 1
        else:
            assert replicas * batch <= lanes
            assert 2 * replicas * batch > lanes or replicas == lanes // 2


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_neighbour_that_breaks_is_left_as_it_was(optimizer: str) -> None:
    """Its weights stay those before the step that broke it, and the others train on; reference breaks there, too."""
    plan, (x, y) = blueprint(CELLS["rnn"]), data(4)
    which, rates = np.array([0, 1, 2, 1]), [0.003, 0.01, 0.01, 0.001]
    found = {}
    for name in ("lanes", "reference"):
        replicas = engine(name, plan, optimizer, None).begin([plan.build("test", s) for s in range(4)], rates)
        found[name] = replicas.advance(x, y, which), replicas.parameters()
    (out, weights), (want, wanted) = found["lanes"], found["reference"]
    np.testing.assert_array_equal(out.broke, [-1, 7, -1, 7])
    np.testing.assert_array_equal(out.broke, want.broke)
    np.testing.assert_allclose(out.losses[[0, 2]], want.losses[[0, 2]], atol=1e-5)
    for mine, other in zip(weights, wanted, strict=True):
        for name in mine:
            np.testing.assert_allclose(mine[name], other[name], atol=1e-4)
