"""Weight decay where there is no gradient: torch's optimizers pass over such parameters, and so does every engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cellbench import Cell, SequenceCell
from cellbench.engines import prepare
from cellbench.engines.optimizers import optimizer_of
from cellbench.records import Train
from tests.helpers.oracle import ENGINES, Data, blueprint, data

RATE, STEPS = 0.03, 15
WAYS: dict[str, tuple[dict[str, Any], Any]] = {
    "adam": ({"weight_decay": 0.1}, lambda p: torch.optim.Adam(p, RATE, weight_decay=0.1)),
    "adamw": ({}, lambda p: torch.optim.AdamW(p, RATE)),
    "sgd": ({"weight_decay": 0.1}, lambda p: torch.optim.SGD(p, RATE, momentum=0.9, weight_decay=0.1)),
    "rmsprop": ({"weight_decay": 0.1}, lambda p: torch.optim.RMSprop(p, RATE, weight_decay=0.1)),
}


class Idle(Cell):
    """Parameters that are never read, read without a gradient, frozen, and read with a gradient of 0."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.never = nn.Parameter(torch.randn(3))
        self.detached = nn.Parameter(torch.randn(hidden_size))
        self.x, self.h = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)
        self.frozen = nn.Parameter(torch.randn(hidden_size), requires_grad=False)
        self.zero = nn.Parameter(torch.randn(hidden_size))
        self.last = nn.Parameter(torch.randn(5))

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.x(x) + self.h(state) + self.frozen)
        return h + self.detached.detach() + 0 * self.zero, h


class Convolution(nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.never = nn.Parameter(torch.randn(3))
        self.of = nn.Conv1d(input_size, hidden_size, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.of(nn.functional.pad(x.permute(1, 2, 0), (2, 0)))).permute(2, 0, 1)


def convolution(input_size: int, hidden_size: int) -> SequenceCell:
    return SequenceCell(Convolution(input_size, hidden_size), input_size)


def by_torch(model: nn.Module, make: Any, given: Data) -> dict[str, Any]:
    """The parameters after a plain loop."""
    by = make(model.parameters())
    for x, y in zip(*(torch.from_numpy(part[0]) for part in given), strict=True):
        by.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(model(x), y).backward()
        by.step()
    return {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("optimizer", WAYS)
@pytest.mark.parametrize(
    ("cell", "layers", "engine"),
    [
        *((Idle, 1, engine) for engine in ENGINES),
        *(pytest.param(Idle, 2, engine, marks=pytest.mark.slow) for engine in ENGINES),
        *(pytest.param(convolution, 1, engine, marks=pytest.mark.slow) for engine in ENGINES[1:]),
    ],
)
def test_no_gradient_no_decay(cell: Any, layers: int, engine: str, optimizer: str) -> None:
    """Replicas at batches that share a vector and at one that fills it end with the parameters of a plain loop."""
    keys, make = WAYS[optimizer]
    how = Train.read(
        {"max_steps": STEPS, "optimizer": optimizer, "clip_norm": None, "stop_when_solved": False, "timeout": 60.0}
        | keys
    )
    batch = 8 if optimizer in ("adam", "sgd") else 20
    plan, given = blueprint(cell, layers=layers), data(STEPS, batch=batch)
    ready = prepare(engine, plan, optimizer_of(how), None, (batch,))
    replicas = ready.begin([plan.build("reach", seed) for seed in range(2)], [RATE] * 2)
    replicas.advance(*(part[:, :7] for part in given), np.zeros(2, np.int64))
    replicas.advance(*(part[:, 7:] for part in given), np.zeros(2, np.int64))
    for seed, found in enumerate(replicas.parameters()):
        first = dict(plan.build("reach", seed).named_parameters())
        for name, wanted in by_torch(plan.build("reach", seed), make, given).items():
            np.testing.assert_allclose(found[name], wanted, atol=2e-5, err_msg=name)
            if name.endswith(("never", "detached", "frozen", "last")):
                assert np.array_equal(found[name], first[name].detach().numpy())
