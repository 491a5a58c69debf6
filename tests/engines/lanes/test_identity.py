"""What a compiled cell is found by: no cell's program, proof or refusal is ever another's."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellbench.cells.gru import gru
from cellbench.engines import OPTIMIZERS, Refused
from cellbench.engines.lanes import build, cache, prepare
from tests.helpers import awkward
from tests.helpers.oracle import blueprint, data, plain_loop

GIVEN = data(4, time=9)


@pytest.fixture(autouse=True)
def _compiled_once(monkeypatch: pytest.MonkeyPatch, shared: dict[tuple[str, ...], bytes]) -> None:
    """The compiler works for these tests once on each text; the folders of the cache are new each time."""
    real = build.compile_program

    def compile_once(texts: Sequence[str], *rest: Any) -> bytes:
        if tuple(texts) not in shared:
            shared[tuple(texts)] = real(texts, *rest)
        return shared[tuple(texts)]

    monkeypatch.setattr(build, "compile_program", compile_once)


@pytest.fixture(scope="module")
def shared() -> dict[tuple[str, ...], bytes]:
    return {}


def outcome(factory: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, longest: int = 20) -> str | tuple[float, ...]:
    """What a cell gets from the cache in this folder: the refusal, or its losses."""
    monkeypatch.setenv(cache.FOLDER_VARIABLE, str(folder))
    plan = blueprint(factory)
    try:
        ready = prepare(plan, optimizer=OPTIMIZERS["adam"], clip_norm=1.0, longest=longest)
    except Refused as refusal:
        return str(refusal)
    found = ready.begin([plan.build("oracle", 0)], [0.01]).advance(*GIVEN, np.zeros(1, np.int64)).losses[0]
    return tuple(found)


def pairs(pool: Sequence[Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cell alone, then after each other one, with a cold cache and with a warm one."""
    alone = {factory: outcome(factory, folder / f"alone{i}", monkeypatch) for i, factory in enumerate(pool)}
    for number, (first, second) in enumerate(itertools.permutations(pool, 2)):
        place = folder / f"pair{number}"
        for _ in ("cold", "warm"):
            assert outcome(first, place, monkeypatch) == alone[first], (first, second)
            assert outcome(second, place, monkeypatch) == alone[second], (first, second)
    for factory, found in alone.items():
        if not isinstance(found, str):
            np.testing.assert_allclose(found, plain_loop(blueprint(factory).build("oracle", 0), GIVEN), atol=1e-5)


@pytest.mark.slow
def test_no_cell_gets_what_is_another_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every order, cold and warm: what a cell gets is what it gets alone, and what is carried is right."""
    pairs((awkward.Plain, awkward.NoneBeside, awkward.clock(7), awkward.ByItsOwnDict), tmp_path, monkeypatch)


@pytest.mark.slow
def test_no_cell_of_a_pool_gets_what_is_another_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for all that look alike for two steps."""
    pairs((*awkward.ALIKE, gru, awkward.WrappedGru, *awkward.LATE, *awkward.HOOKS[:2]), tmp_path, monkeypatch)


@pytest.mark.slow
def test_checking_a_cell_leaves_the_built_in_gru_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's GRU behind another interface has a program of its own, and takes lanes from nobody else."""
    assert not isinstance(outcome(awkward.WrappedGru, tmp_path / "x", monkeypatch), str)
    assert not isinstance(outcome(gru, tmp_path / "x", monkeypatch), str)


def test_what_a_longer_sequence_shows_is_found_with_a_warm_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell that is alike for 59 steps trains on shorter sequences, and never on longer ones, in either order."""
    cell = awkward.clock(60)
    assert not isinstance(outcome(cell, tmp_path / "a", monkeypatch, 20), str)
    assert "hidden memory: step 60" in str(outcome(cell, tmp_path / "a", monkeypatch, 80))
    assert "hidden memory: step 60" in str(outcome(cell, tmp_path / "b", monkeypatch, 80))
    assert not isinstance(outcome(cell, tmp_path / "b", monkeypatch, 20), str)


def test_an_entry_of_another_format_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a compiler it is built anew; without one the refusal names what is old, and the command that fills it."""
    outcome(awkward.Plain, tmp_path / "x", monkeypatch)
    for entry in (tmp_path / "x").glob("*.json"):
        entry.write_text(entry.read_text().replace(f'"format": {cache.FORMAT}', '"format": 1'))
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")
        patch.setattr("importlib.util.find_spec", lambda name: None)
        said = str(outcome(awkward.Plain, tmp_path / "x", monkeypatch))
    assert "no C++ compiler" in said
    assert "of an older format than 2: `cellbench build`" in said
    assert not isinstance(outcome(awkward.Plain, tmp_path / "x", monkeypatch), str)
