"""Points, keys and measured sizes of an experiment, before anything is trained."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from cellbench.errors import ExperimentError
from cellbench.experiment import load
from cellbench.planning import lay_out
from cellbench.planning.grid import points
from cellbench.plugins import registry
from cellbench.records import Fit, Planned
from tests.helpers.cells import FAILING
from tests.helpers.commands import TINY


def planned(**keys: Any) -> list[Planned]:
    return lay_out(load({**TINY, **keys}, registry()))


@pytest.mark.parametrize(("key", "kind"), [("hidden_size", "hidden"), ("parameter_budget", "budget")])
def test_points_are_a_product(key: str, kind: str) -> None:
    """In itertools' order: the task's parameters, then batch sizes, then sizes, the last one fastest."""
    found = points(load({**TINY, "grid": {"bits": [4, 5], "batch_size": [2, 3], key: [90, 40]}}, registry()))
    sizes = [f"{kind} 90", f"{kind} 40"]
    assert [(dict(p.parameters)["bits"], p.batch_size, p.size) for p in found] == list(
        itertools.product([4, 5], [2, 3], sizes)
    )


def test_every_cell_meets_every_point_seed_and_rate() -> None:
    """Cells outermost, learning rates innermost; each replica has the key that its own facts make, and no other has."""
    grid = {"bits": [4, 5], "batch_size": [2, 3], "hidden_size": 3}
    whole = planned(grid=grid, seeds=[3, 1], learning_rate=[0.1, 0.01])
    assert [p.cell.label for p in whole] == ["rnn"] * 4 + ["lstm"] * 4
    for p in whole:
        assert [(r.seed, r.learning_rate) for r in p.replicas] == list(itertools.product([3, 1], [0.1, 0.01]))
        assert (p.key.batch_size, p.key.parameters, p.key.size) == (p.point.batch_size, p.point.parameters, "hidden 3")
        for r in p.replicas:
            assert r.key == replace(p.key, seed=r.seed, learning_rate=r.learning_rate).digest()
    keys = [r.key for p in whole for r in p.replicas]
    assert len(set(keys)) == len(keys) == 2 * 4 * 4


def test_layers_are_an_axis() -> None:
    """Between the task's parameters and the batch sizes; each has its own sizes and keys, one layer those of before."""
    grid = {"bits": [4, 5], "batch_size": 4, "hidden_size": 3}
    before, whole = planned(grid=grid), planned(grid={**grid, "layers": [1, 2]})
    assert [p.point.named for p in whole[:4]] == [{"bits": b, "layers": n} for b in (4, 5) for n in (1, 2)]
    one, two = ([p for p in whole if p.point.layers == n] for n in (1, 2))
    assert [p.replicas for p in one] == [p.replicas for p in before]
    assert [(p.key, p.fit) for p in one] == [(p.key, p.fit) for p in before]
    assert all(p.key == replace(q.key, layers=2) for p, q in zip(two, one, strict=True))
    assert all(p.fit.state == 2 * (q.fit.state or 0) for p, q in zip(two, one, strict=True))
    # to a budget, more layers have fewer units
    budget = planned(grid={"bits": 4, "batch_size": 4, "parameter_budget": 500, "layers": [1, 2, 3]})
    for shallow, deep in itertools.pairwise(budget[:3]):
        assert shallow.fit.hidden_size > deep.fit.hidden_size
        assert max(shallow.fit.parameters or 0, deep.fit.parameters or 0) <= 500


def test_an_own_option_layers_is_not_guessed_at() -> None:
    """Typed after a comma, it could mean both; in a file each has its place."""
    text = "from cellbench.cells.rnn import rnn\n\ndef deep(i, h, layers=1):\n    return rnn(i, h)\n"
    Path("deep.py").write_text(text)
    with pytest.raises(ExperimentError, match="deep layers=2 has an option layers of its own"):
        lay_out(load(TINY, registry(), extra_cells=["./deep.py:deep,layers=2"]))
    cell = {"name": "deep", "factory": "./deep.py:deep"}
    (own,) = planned(cells=[{**cell, "options": {"layers": 2}}])
    (ours,) = planned(cells=[{**cell, "layers": 2}])
    assert (own.key.options, own.key.layers) == ((("layers", 2),), 1)
    assert (ours.key.options, ours.key.layers) == ((), 2)


def of_torch(cell: type[nn.Module], hidden: int) -> int:
    """The parameters of torch's own cell with two inputs, and of a linear readout to one logit."""
    return sum(p.numel() for m in (cell(2, hidden), nn.Linear(hidden, 1)) for p in m.parameters())


@pytest.mark.parametrize(("name", "cell"), [("rnn", nn.RNNCell), ("lstm", nn.LSTMCell), ("gru", nn.GRUCell)])
def test_sizes_are_those_of_torch(name: str, cell: type[nn.Module]) -> None:
    """At a hidden size its parameters are counted; at a budget the hidden size is the largest that keeps it."""

    def fit(**size: int) -> Fit:
        (found,) = planned(cells=[name], baseline=name, grid={"bits": 4, "batch_size": 4, **size})
        return found.fit

    assert (fit(hidden_size=7).hidden_size, fit(hidden_size=7).parameters) == (7, of_torch(cell, 7))
    largest = max(h for h in range(1, 40) if of_torch(cell, h) <= 300)
    at_budget = fit(parameter_budget=300)
    assert (at_budget.hidden_size, at_budget.parameters) == (largest, of_torch(cell, largest))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"grid": {"bits": 4, "batch_size": 4, "parameter_budget": 5}}, "rnn at budget 5: no hidden size fits 5"),
        ({"cells": [{"name": "lstm", "options": {"forget_bais": 1}}]}, "Did you mean forget_bias?"),
        ({"cells": [{"name": "gru", "options": {"input_size": 3}}]}, "gru takes no option 'input_size'"),
        ({"cells": [{"name": "bare", "factory": "./bare.py:bare", "options": {"x": 1}}]}, "It takes none."),
    ],
)
def test_what_cannot_be_planned(keys: dict[str, Any], said: str) -> None:
    """A budget that fits nothing, and an option that a factory does not take, are faults with their place."""
    Path("bare.py").write_text("from cellbench.cells.rnn import rnn\n\ndef bare(i, h):\n    return rnn(i, h)\n")
    with pytest.raises(ExperimentError) as caught:
        planned(**keys)
    assert said in str(caught.value)
    assert "cells[0]" in str(caught.value)


def test_a_broken_cell_is_planned_all_the_same() -> None:
    """It has no sizes but its cause, in one line; the cells beside it are measured."""
    Path("bad.py").write_text(FAILING.replace("calls > 60", "calls > 0"))
    sound, broken = planned(cells=["rnn", {"name": "bad", "factory": "./bad.py:Failing"}])
    assert sound.fit.parameters == of_torch(nn.RNNCell, 3)
    assert not sound.fit.broken
    assert (broken.fit.hidden_size, broken.fit.parameters, broken.fit.state) == (3, None, None)
    assert broken.fit.broken.endswith("RuntimeError: the author's own mistake")
    assert len(broken.replicas) == 2
