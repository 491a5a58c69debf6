"""What a user would write: torch alone, one module, one optimizer, a plain loop; and every engine on the same data."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cellbench.engines import OPTIMIZERS, Refused, prepare
from cellbench.model import Blueprint, double_precision

ENGINES = ("lanes", "stack", "reference")
MAKERS: dict[str, Any] = {
    "adam": lambda p, rate: torch.optim.Adam(p, lr=rate),
    "adamw": lambda p, rate: torch.optim.AdamW(p, lr=rate),
    "sgd": lambda p, rate: torch.optim.SGD(p, lr=rate, momentum=0.9),
    "rmsprop": lambda p, rate: torch.optim.RMSprop(p, lr=rate),
}
Data = tuple[NDArray[np.float32], NDArray[np.float32]]


def blueprint(factory: Any, hidden: int = 6, **keys: Any) -> Blueprint:
    """The blueprint of a cell with two inputs and one output per step."""
    return Blueprint(factory, factory.__name__, (), 2, hidden, 1, **keys)


def data(steps: int = 15, time: int = 9, batch: int = 8) -> Data:
    """Bits for one seed: inputs (1, steps, time, batch, 2) and targets (1, steps, time, batch, 1)."""
    draw = np.random.default_rng(7)
    shape = (1, steps, time, batch)
    return tuple(draw.integers(0, 2, (*shape, n)).astype(np.float32) for n in (2, 1))  # type: ignore[return-value]


class Loop:
    """One module in a plain loop: `train()` and `eval()` as everybody calls them, and torch's optimizer."""

    def __init__(self, model: nn.Module, optimizer: str = "adam", rate: float = 0.01, clip: float | None = 1.0) -> None:
        self.model, self.clip = model, clip
        self.by = MAKERS[optimizer](model.parameters(), rate)

    def train(self, given: Data) -> NDArray[np.float64]:
        """The loss before each update."""
        losses = []
        for x, y in zip(torch.from_numpy(given[0][0]), torch.from_numpy(given[1][0]), strict=True):
            self.by.zero_grad()
            value = nn.functional.binary_cross_entropy_with_logits(self.model(x), y)
            value.backward()
            if self.clip is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
            self.by.step()
            losses.append(value.item())
        return np.array(losses)

    def evaluate(self, given: Data) -> float:
        """The loss on the first batch, in `eval()` mode."""
        self.model.eval()
        with torch.no_grad():
            logits = self.model(torch.from_numpy(given[0][0, 0]))
            value = nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(given[1][0, 0]))
        self.model.train()
        return value.item()


def plain_loop(model: nn.Module, given: Data, **keys: Any) -> NDArray[np.float64]:
    """Train a model in place; returns the loss before each update."""
    return Loop(model, **keys).train(given)


def plain_loop_in_double(model: nn.Module, given: Data, **keys: Any) -> NDArray[np.float64]:
    """Do the same in double precision, which says what rounding alone does; a cell's own first state is in it too."""
    with double_precision():
        wide: Any = tuple(array.astype(np.float64) for array in given)
        return plain_loop(model.double(), wide, **keys)


def started(
    engine: str, plan: Blueprint, seeds: int = 3, *, optimizer: str = "adam", rate: float = 0.01,
    clip: float | None = 1.0, device: str = "cpu",
) -> Any:  # fmt: skip
    """Replicas of an engine, each at the weights of its seed; a Refused if the engine does not carry the cell."""
    try:
        ready = prepare(engine, plan, OPTIMIZERS[optimizer], clip, device=device)
    except Refused as refusal:
        return refusal
    return ready.begin([plan.build("oracle", seed) for seed in range(seeds)], [rate] * seeds)


def module_of(engine: str) -> Any:
    """The engine's module, with its `prepare`."""
    return importlib.import_module(f"cellbench.engines.{engine}")
