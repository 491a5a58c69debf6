"""`after_update()`: bounds that no optimizer keeps, against a plain loop that keeps them by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cellbench
from cellbench.engines import OPTIMIZERS, Refused, prepare
from cellbench.errors import CellError
from cellbench.model import Model
from tests.helpers.commands import Command
from tests.helpers.oracle import MAKERS, Data, blueprint, data, started


class Plain(cellbench.Cell):
    """An Elman network."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.x, self.h = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size, bias=False)
        self.decay = nn.Parameter(torch.rand(hidden_size) * 0.1)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.x(x) + self.h(state)) + self.decay * state
        return h, h


class Clamped(Plain):
    def after_update(self) -> None:
        self.decay.clamp_(0.0, 0.05)


class OfNcps(Plain):
    """As ncps writes it: another tensor behind the same parameter."""

    def after_update(self) -> None:
        for weight in (self.h.weight, self.decay):
            weight.data = torch.relu(weight.data)


class Orthogonal(Plain):
    def after_update(self) -> None:
        u, _, v = torch.linalg.svd(self.h.weight)
        self.h.weight.copy_(u @ v)


class Averaged(Plain):
    """A buffer that follows its weights, and is read by its steps."""

    mean: Tensor

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.register_buffer("mean", torch.zeros(hidden_size))

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        out, after = super().forward(x, state)
        return out + self.mean, after

    def after_update(self) -> None:
        self.mean = 0.9 * self.mean + 0.1 * self.decay


class Counted(Plain):
    """Every second update alone: it counts them in a number of Python's."""

    updates = 0

    def after_update(self) -> None:
        self.updates += 1
        if self.updates % 2 == 0:
            self.decay.clamp_(0.0, 0.05)


class Shaken(Plain):
    def after_update(self) -> None:
        self.decay.add_(torch.rand(self.hidden_size), alpha=0.01)


class Anew(Plain):
    def after_update(self) -> None:
        self.decay = nn.Parameter(self.decay.clamp(0.0, 0.05))


BOUNDED = """\
from cellbench import TorchCell
from torch import nn


class Bounded(TorchCell):
    def __init__(self, input_size, hidden_size):
        super().__init__(nn.RNNCell(input_size, hidden_size))

    def after_update(self):
        self.module.weight_hh.clamp_(min=0)
"""
BY_HAND: dict[type[Plain], Callable[[Any], None]] = {
    kind: kind.after_update for kind in (Clamped, OfNcps, Orthogonal, Averaged, Counted)
}  # type: ignore[attr-defined]


def loop(
    model: Model, by_hand: Callable[[Any], None], given: Data, optimizer: str = "adam"
) -> tuple[list[float], Model]:
    """What everybody writes: a step of the optimizer, then the projection of each layer."""
    by = MAKERS[optimizer](model.parameters(), 0.05)
    losses = []
    for x, y in zip(torch.from_numpy(given[0][0]), torch.from_numpy(given[1][0]), strict=True):
        by.zero_grad()
        value = nn.functional.binary_cross_entropy_with_logits(model(x), y)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        by.step()
        with torch.no_grad():
            for cell in getattr(model.cell, "layers", [model.cell]):
                by_hand(cell)
        losses.append(value.item())
    return losses, model


@pytest.mark.parametrize("engine", ["stack", "reference"])
@pytest.mark.parametrize("kind", BY_HAND)
@pytest.mark.parametrize("layers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_it_is_a_plain_loop_with_it(engine: str, kind: Any, layers: int) -> None:
    """Each replica does it to its own weights, of each layer; without it the losses are others."""
    plan, given = blueprint(kind, layers=layers), data(steps=12, time=5)
    replicas = started(engine, plan, 3, rate=0.05)
    if isinstance(replicas, Refused):
        assert (engine, kind) == ("stack", Counted), replicas
        assert "its after_update() changes cell." in str(replicas)
        assert str(replicas).endswith("updates, which is no tensor of a replica")
        return
    assert kind is not Counted or engine == "reference"
    parts = [(given[0][:, part], given[1][:, part]) for part in (slice(0, 5), slice(5, None))]
    losses = np.concatenate([replicas.advance(*part, np.zeros(3, np.int64)).losses for part in parts], 1)
    for seed in range(3):
        wanted, model = loop(plan.build("oracle", seed), BY_HAND[kind], given)
        np.testing.assert_allclose(losses[seed], wanted, atol=3e-6)
        for name, parameter in model.named_parameters():
            np.testing.assert_allclose(replicas.parameters()[seed][name], parameter.detach().numpy(), atol=3e-5)
    free, _ = loop(plan.build("oracle", 0), lambda cell: None, given)
    assert not np.allclose(losses[0], free, atol=1e-4)


@pytest.mark.parametrize("engine", ["stack", "reference"])
def test_a_replica_that_breaks_stays_as_it_was(engine: str) -> None:
    """Its neighbours go on, each kept in its bounds."""
    plan, given = blueprint(Clamped), data(steps=6, time=4)
    ready = prepare(engine, plan, OPTIMIZERS["sgd"], None)
    replicas = ready.begin([plan.build("oracle", seed) for seed in range(3)], [0.01, float("inf"), 0.01])
    out = replicas.advance(*given, np.zeros(3, np.int64))
    assert out.broke.tolist()[::2] == [-1, -1]
    assert out.broke[1] >= 0
    for row in (0, 2):
        decay = replicas.parameters()[row]["cell.decay"]
        assert decay.min() >= 0
        assert decay.max() <= np.float32(0.05)


def test_who_does_not_carry_it() -> None:
    """Lanes calls no method of Python; a stack has no stream of its own; a new parameter is trained by nobody."""
    with pytest.raises(Refused, match=r"its after_update\(\) is called after each update"):
        prepare("lanes", blueprint(Clamped), OPTIMIZERS["adam"], 1.0)
    with pytest.raises(Refused, match=r"its after_update\(\) draws from torch's generator"):
        prepare("stack", blueprint(Shaken), OPTIMIZERS["adam"], 1.0)
    with pytest.raises(CellError, match=r"puts another parameter in the place of cell\.decay"):
        prepare("reference", blueprint(Anew), OPTIMIZERS["adam"], 1.0)
    given, which = data(steps=4, time=3), np.zeros(1, np.int64)
    first, again = (started("reference", blueprint(Shaken), 1).advance(*given, which).losses for _ in range(2))
    assert np.array_equal(first, again)


def test_a_run_says_which_engine_carries_it(command: Command, write: Callable[..., Path]) -> None:
    """A cell's file with the method is trained by the stack, and the report says why not by lanes."""
    Path("mine.py").write_text(BOUNDED)
    path = write(engine="auto", cells=[{"name": "bounded", "factory": "./mine.py:Bounded"}])
    assert command("run", path, "--workers", 1).status == 0
    assert (
        "stack: not lanes: its after_update() is called after each update"
        in Path("results/tiny/summary.md").read_text()
    )
    model = cellbench.load("results/tiny").model(label="bounded", seed=0, run_code=True)
    assert model.cell.module.weight_hh.min() >= 0
    assert set(cellbench.load("results/tiny").runs.engine) == {"stack"}
