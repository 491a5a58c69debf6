"""What is to be trained: replicas, planned at a point, cut into chunks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cellbench.records.key import ReplicaKey
from cellbench.records.settings import CPU, CellSpec, Point, Settings


@dataclass(frozen=True)
class Replica:
    """One model to train: a cell at a point, with a seed and a learning rate."""

    key: str
    seed: int
    learning_rate: float


@dataclass(frozen=True)
class Fit:
    """A cell at a size, measured: hidden size, parameters, numbers of state, multiply-adds per step.

    A cell that cannot be made, or whose first step raises, has no sizes; `broken` says why, in one line. Its replicas
    are planned nevertheless, and end as failed.
    """

    hidden_size: int
    parameters: int | None
    state: int | None
    multiply_adds: int | None
    broken: str = ""


@dataclass(frozen=True)
class Planned:
    """A cell at a point with its replicas, seeds outermost.

    Attributes:
        cell, point, fit: what is planned.
        key: the replicas' key, except for the seed and the learning rate.
        replicas: in order.
    """

    cell: CellSpec
    point: Point
    fit: Fit
    key: ReplicaKey
    replicas: tuple[Replica, ...]


def models(planned: Iterable[Planned]) -> list[tuple[CellSpec, int]]:
    """List the distinct models of what is planned, cell and hidden size of each, in order of layers and hidden size."""
    return sorted({(p.cell, p.fit.hidden_size) for p in planned}, key=lambda model: (model[0].layers, model[1]))


@dataclass(frozen=True)
class Chunk:
    """Replicas of one cell at one point, trained together by one worker.

    Attributes:
        cell, point, hidden_size, settings: what they share.
        engine: `lanes`, `stack` or `reference`.
        device: that it computes on: `cpu` or `cuda`.
        replicas: in the order of the plan.
        attempt: 1, or more after a failure of the machine.
        cost: a rough guess of its seconds, for the order of chunks and the time left.
        keep_weights: whether outcomes hold the trained tensors.
    """

    cell: CellSpec
    point: Point
    hidden_size: int
    settings: Settings
    engine: str
    replicas: tuple[Replica, ...]
    attempt: int = 1
    cost: float = 0.0
    keep_weights: bool = False
    device: str = CPU
