"""What the tests of lanes share: blueprints, data, and lanes beside the reference engine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.cells.gru import gru
from cellbench.cells.lstm import lstm
from cellbench.cells.rnn import rnn
from cellbench.engines import OPTIMIZERS, lanes, reference
from cellbench.model import Blueprint
from cellbench.streams import Stream
from cellbench.tasks.binary_addition import BinaryAddition

CELLS = {"rnn": rnn, "lstm": lstm, "gru": gru}
Arrays = tuple[NDArray[np.float32], NDArray[np.float32]]


def blueprint(factory: Any, hidden: int = 6, *, inputs: int = 2, outputs: int = 1, **keys: Any) -> Blueprint:
    return Blueprint(factory, factory.__name__, (), inputs, hidden, outputs, **keys)


def addition(seeds: int, steps: int, *, bits: int = 5, batch: int = 4) -> Arrays:
    """Inputs (seeds, steps, time, batch, 2) and targets (seeds, steps, time, batch, 1)."""
    task = BinaryAddition()
    pairs = [task.batch(Stream("lanes", s, count=steps * batch), steps * batch, {"bits": bits}) for s in range(seeds)]
    x, y = (np.stack([p[i].reshape(bits, steps, batch, -1).transpose(1, 0, 2, 3) for p in pairs]) for i in (0, 1))
    return np.ascontiguousarray(x), np.ascontiguousarray(y)


def engine(name: str, plan: Blueprint, optimizer: str = "adam", clip: float | None = 1.0, **keys: Any) -> Any:
    """Ready for the batch size of `addition`, if no other is given."""
    keys.setdefault("batch_sizes", (4,))
    prepare: Any = {"lanes": lanes, "reference": reference}[name].prepare
    return prepare(plan, optimizer=OPTIMIZERS[optimizer], clip_norm=clip, **keys)


def losses(name: str, plan: Blueprint, data: Arrays, rate: float = 0.01, **keys: Any) -> NDArray[np.float64]:
    """The losses of one replica (weights of seed 7) over all steps."""
    replicas = engine(name, plan, batch_sizes=(data[0].shape[3],), **keys).begin([plan.build("test", 7)], [rate])
    found: NDArray[np.float64] = replicas.advance(*data, np.zeros(1, np.int64)).losses[0]
    return found


def ready() -> Any:
    return engine("lanes", blueprint(rnn, 3))


def works(found: Any) -> bool:
    x = np.zeros((1, 1, 2, 3, 2), np.float32)
    replicas = found.begin([blueprint(rnn, 3).build("test", 0)], [0.1])
    return bool(np.isfinite(replicas.advance(x, x[..., :1], np.zeros(1, np.int64)).losses).all())
