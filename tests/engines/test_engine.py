"""The engines on torch: against torch.optim and each other, bit for bit where that is promised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from cellbench.cell import Cell
from cellbench.cells.gru import gru
from cellbench.cells.lstm import lstm
from cellbench.cells.rnn import rnn
from cellbench.engines import OPTIMIZERS, Choice, Refused, choose, reference, stack
from cellbench.errors import CellError
from cellbench.model import Blueprint, Model
from cellbench.streams import Stream
from cellbench.tasks.binary_addition import BinaryAddition
from tests.helpers import cells as odd
from tests.helpers import trait_cells as traits

TASK = BinaryAddition()
CELLS = {"rnn": rnn, "lstm": lstm, "gru": gru}
ENGINES = {"reference": reference, "stack": stack}


def blueprint(factory: Any, hidden: int = 5, **keys: Any) -> Blueprint:
    return Blueprint(factory, factory.__name__, (), 2, hidden, 1, **keys)


def data(seeds: int, steps: int, bits: int = 5, batch: int = 4) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Inputs (seeds, steps, time, batch, 2) and targets."""
    pairs = [TASK.batch(Stream("t", s, count=steps * batch), steps * batch, {"bits": bits}) for s in range(seeds)]
    x, y = (np.stack([p[i].reshape(bits, steps, batch, -1).transpose(1, 0, 2, 3) for p in pairs]) for i in (0, 1))
    return x, y


def train(
    engine: str, plan: Blueprint, rates: list[float], steps: int, *, optimizer: str = "adam",
    clip: float | None = 1.0, seeds: list[int] | None = None, batch: int = 4, split: int | None = None,
) -> Any:  # fmt: skip
    """Train one replica a rate; returns losses, broke and parameters."""
    seeds = seeds if seeds is not None else list(range(len(rates)))
    x, y = data(max(seeds) + 1, steps, batch=batch)
    ready = ENGINES[engine].prepare(plan, optimizer=OPTIMIZERS[optimizer], clip_norm=clip)
    replicas = ready.begin([plan.build("p", s) for s in seeds], rates)
    which = np.array(seeds)
    losses, broke = [], None
    for start in range(0, steps, split or steps):
        block = slice(start, start + (split or steps))
        out = replicas.advance(x[:, block], y[:, block], which)
        losses.append(out.losses)
        broke = out.broke if broke is None else broke
    return np.concatenate(losses, 1), broke, replicas.parameters()


def plain_loop(plan: Blueprint, rate: float, steps: int, optimizer: str, clip: float | None) -> list[float]:
    """One replica, written with torch alone: the oracle."""
    model: Model = plan.build("p", 0)
    make: dict[str, Any] = {
        "adam": lambda p: torch.optim.Adam(p, lr=rate),
        "adamw": lambda p: torch.optim.AdamW(p, lr=rate),
        "sgd": lambda p: torch.optim.SGD(p, lr=rate, momentum=0.9),
        "rmsprop": lambda p: torch.optim.RMSprop(p, lr=rate),
    }
    step_by = make[optimizer](model.parameters())
    x, y = data(1, steps)
    losses = []
    for step in range(steps):
        step_by.zero_grad()
        logits = model(torch.from_numpy(x[0, step]))
        value = nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(y[0, step]))
        value.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        step_by.step()
        losses.append(value.item())
    return losses


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
@pytest.mark.parametrize("clip", [0.05, None])
@pytest.mark.parametrize("engine", list(ENGINES))
def test_optimizers_are_torchs(engine: str, optimizer: str, clip: float | None) -> None:
    """Each optimizer, clipped and not, follows torch.optim in a plain loop."""
    losses, _, _ = train(engine, blueprint(rnn), [0.01], 60, optimizer=optimizer, clip=clip)
    np.testing.assert_allclose(losses[0], plain_loop(blueprint(rnn), 0.01, 60, optimizer, clip), atol=3e-6)


@pytest.mark.parametrize("cell", list(CELLS))
@pytest.mark.parametrize("clip", [1.0, None])
def test_stack_is_reference(cell: str, clip: float | None) -> None:
    """Over 200 steps stack and reference agree to float32 tolerance for every built-in cell."""
    plan = blueprint(CELLS[cell], 8)
    one, two = (train(e, plan, [0.01, 0.03], 200, clip=clip)[0] for e in ENGINES)
    np.testing.assert_allclose(one, two, atol=2e-4)


@settings(max_examples=12, deadline=None)
@given(
    hidden=st.sampled_from([4, 20, 64]),
    batch=st.sampled_from([4, 16, 64]),
    cell=st.sampled_from(list(CELLS)),
    company=st.sampled_from([8, 32]),
    place=st.integers(0, 7),
)
def test_alone_is_among_others(hidden: int, batch: int, cell: str, company: int, place: int) -> None:
    """A replica alone gives the bits that it gives among 8 and 32, wherever it sits."""
    plan = blueprint(CELLS[cell], hidden)
    rates = [0.001 * (i + 1) for i in range(company)]
    rates[place] = 0.02
    seeds = [(i * 7) % 3 for i in range(company)]
    many = train("stack", plan, rates, 6, seeds=seeds, batch=batch)
    alone = train("stack", plan, [0.02], 6, seeds=[seeds[place]], batch=batch)
    assert np.array_equal(many[0][place], alone[0][0])
    for name, values in alone[2][0].items():
        assert np.array_equal(many[2][place][name], values)


@settings(max_examples=10, deadline=None)
@given(split=st.integers(1, 12), engine=st.sampled_from(list(ENGINES)))
def test_any_chunks_are_one_chunk(split: int, engine: str) -> None:
    """Blocks of any size give the bits of one block."""
    whole = train(engine, blueprint(gru), [0.01, 0.1], 12)
    parts = train(engine, blueprint(gru), [0.01, 0.1], 12, split=split)
    assert np.array_equal(whole[0], parts[0])
    assert all(np.array_equal(whole[2][1][n], parts[2][1][n]) for n in whole[2][1])


@pytest.mark.parametrize("engine", list(ENGINES))
def test_a_diverging_replica_leaves_its_neighbours_alone(engine: str) -> None:
    """One that goes to infinity is reported, stays where it was, and changes no other's bits."""
    plan = blueprint(odd.Linear)
    with_it = train(engine, plan, [0.01, 1e30, 0.01], 15, optimizer="sgd", clip=None, seeds=[0, 1, 2])
    without = train(engine, plan, [0.01, 0.01], 15, optimizer="sgd", clip=None, seeds=[0, 2])
    assert with_it[1][1] >= 0
    assert with_it[1].tolist()[::2] == [-1, -1]
    assert np.isnan(with_it[0][1, with_it[1][1] + 1 :]).all()
    assert all(np.isfinite(values).all() for values in with_it[2][1].values())
    assert np.array_equal(with_it[0][[0, 2]], without[0])


@pytest.mark.parametrize("factory", [odd.Branching, odd.Item])
def test_stack_refuses_what_vmap_cannot_carry(factory: Any) -> None:
    """A data-dependent `if` and `.item()` are refused in one line; the reference engine trains them."""
    with pytest.raises(Refused) as refused:
        stack.prepare(blueprint(factory), optimizer=OPTIMIZERS["adam"], clip_norm=1.0)
    assert "\n" not in str(refused.value)
    losses, _, _ = train("reference", blueprint(factory), [0.03], 40)
    assert losses[0, -1] < losses[0, 0]


def test_an_error_without_a_message_is_a_reason_too() -> None:
    """An error may have no text at all: the engine refuses, and the reason names its type."""

    class Unbatched(odd.Linear):
        def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            if torch._C._functorch.is_batchedtensor(x):
                raise NotImplementedError
            return super().forward(x, h)

    with pytest.raises(Refused, match=r"^vmap: NotImplementedError \(test_engine.py:\d+: raise NotImplementedError\)$"):
        stack.prepare(blueprint(Unbatched), optimizer=OPTIMIZERS["adam"], clip_norm=1.0)


def test_keep_goes_on_with_the_rest() -> None:
    """After replicas leave, the others go on with the bits they would have had."""
    plan, (x, y) = blueprint(lstm), data(3, 10)
    ready = stack.prepare(plan, optimizer=OPTIMIZERS["adam"], clip_norm=1.0)
    models, which = [plan.build("p", s) for s in range(3)], np.arange(3)
    whole, left = ready.begin(models, [0.1] * 3), ready.begin(models, [0.1] * 3)
    whole.advance(x, y, which)
    left.advance(x[:, :4], y[:, :4], which)
    left.keep([2, 0])
    left.advance(x[:, 4:], y[:, 4:], np.array([2, 0]))
    for kept, row in ((0, 2), (1, 0)):
        for name, values in whole.parameters()[row].items():
            assert np.array_equal(left.parameters()[kept][name], values)


@pytest.mark.parametrize("engine", list(ENGINES))
def test_scores(engine: str) -> None:
    """Loss and accuracies are those counted from the model's own logits, bit by bit."""
    plan = blueprint(lstm)
    model = plan.build("p", 0)
    x, y = data(2, 1, bits=6, batch=50)
    ready = ENGINES[engine].prepare(plan, optimizer=OPTIMIZERS["adam"], clip_norm=None)
    scores = ready.begin([model, model], [0.1, 0.1]).evaluate(x[:, 0], y[:, 0], np.array([1, 0]))
    for row, seed in ((0, 1), (1, 0)):
        with torch.no_grad():
            p = torch.sigmoid(model(torch.from_numpy(x[seed, 0]))).double().numpy()
        within = np.abs(p - y[seed, 0]) < 0.5
        assert scores.bit_accuracy[row] == pytest.approx(within.mean())
        assert scores.sequence_accuracy[row] == pytest.approx(within.all(axis=(0, 2)).mean())
        loss = -np.mean(np.where(y[seed, 0] == 1, np.log(p), np.log(1 - p)))
        assert scores.loss[row] == pytest.approx(loss, rel=1e-5)


def test_auto_takes_the_fastest_that_carries_the_cell() -> None:
    """`auto` takes lanes at every size, falls back with the reason, and an engine asked for is not replaced."""
    adam = OPTIMIZERS["adam"]
    assert choose("auto", [blueprint(rnn, 4), blueprint(rnn, 600)], adam, 1.0).engine == "lanes"
    fallen = choose("auto", [blueprint(odd.Branching)], adam, 1.0)
    assert fallen.engine == "reference"
    assert "not stack: vmap" in fallen.reason
    assert "not lanes: " in fallen.reason
    assert choose("stack", [blueprint(rnn)], adam, 1.0) == Choice("stack", "asked for")
    with pytest.raises(CellError, match="the engine asked for cannot carry it: not stack"):
        choose("stack", [blueprint(odd.Branching)], adam, 1.0)


@pytest.mark.parametrize(
    ("cell", "why", "line"),
    [
        (odd.Branching, "control flow that depends on the data", "if h.sum() > 1e9:"),
        (odd.Item, "a number is read from a tensor, as .item() does", "h.max().item()"),
        (traits.Assigned, "it writes into a tensor that it made: make it by x.new_zeros", "out[:, ::2] = "),
        (traits.Spiking, "an autograd.Function in the old style", "spike(v - 0.5"),
        (traits.OwnGradient, "set generate_vmap_rule = True", "Sign.apply(a)"),
    ],
)
def test_stack_says_why_and_where(cell: Any, why: str, line: str) -> None:
    """Our words and the author's line, in place of a paragraph of torch's that asks to file an issue."""
    with pytest.raises(Refused) as refused:
        stack.prepare(blueprint(cell), optimizer=OPTIMIZERS["adam"], clip_norm=1.0)
    assert why in str(refused.value)
    assert line in str(refused.value)
    assert "cells.py:" in str(refused.value)
    assert "pytorch" not in str(refused.value)


class Complex(Cell):
    """One complex weight matrix."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.turn = nn.Parameter(torch.randn(hidden_size, hidden_size, dtype=torch.complex64))
        self.new = nn.Linear(input_size, hidden_size)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh((h.to(torch.complex64) @ self.turn).real + self.new(x))
        return h, h


def test_stack_names_a_complex_parameter() -> None:
    """It was torch's `expected scalar type Float but found ComplexFloat`."""
    with pytest.raises(Refused, match=r"the parameter cell\.turn is complex"):
        stack.prepare(blueprint(Complex), optimizer=OPTIMIZERS["adam"], clip_norm=1.0)


def test_golden_trajectory() -> None:
    """The reference engine's first losses; if they change beyond rounding, numbers_version must rise."""
    plan = blueprint(lstm, 4)
    x, y = data(1, 50)
    ready = reference.prepare(plan, optimizer=OPTIMIZERS["adam"], clip_norm=1.0)
    losses = ready.begin([plan.build("golden", 0)], [0.03]).advance(x, y, np.zeros(1, np.int64)).losses[0]
    np.testing.assert_allclose(losses[[0, 9, 24, 49]], [0.7011386, 0.7003537, 0.6755829, 0.6676654], rtol=1e-4)
