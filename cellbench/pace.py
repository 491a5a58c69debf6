"""How many seconds of work are left, learnt from what the finished chunks took."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cellbench.records import Chunk

Place = tuple[str, int, str]
"""A cell, its hidden size and its point: replicas there take alike."""

_VECTOR = 8
"""The shortest batch that a chunk's guessed cost counts."""


def features(chunk: Chunk) -> NDArray[np.float64]:
    """What a chunk's seconds are made of: training by its guessed cost, a share a replica, evaluation by its sizes."""
    width = max(chunk.point.batch_size, _VECTOR)
    return np.array([chunk.cost, float(len(chunk.replicas)), chunk.cost / width])


class Pace:
    """Seconds of work left.

    Where replicas of the same cell, size and point are done, their mean counts. Elsewhere a fit over all that is done:
    seconds = a · guessed cost + b · replicas + c · evaluation, none below 0, then scaled to the seconds really taken.
    Guessed costs alone are wrong by a factor of ten for the smallest cells, which come last.
    """

    def __init__(self) -> None:
        self._ahead: dict[Place, NDArray[np.float64]] = {}
        self._done: dict[Place, tuple[float, float]] = {}  # replicas, seconds
        self._rows: list[NDArray[np.float64]] = []
        self._seconds: list[float] = []

    @property
    def worked(self) -> float:
        """Seconds of work done."""
        return sum(self._seconds)

    def plan(self, chunk: Chunk) -> None:
        """A chunk is to be done."""
        self._ahead[_place(chunk)] = self._ahead.get(_place(chunk), np.zeros(3)) + features(chunk)

    def finish(self, chunk: Chunk, seconds: float) -> None:
        """A chunk is done."""
        place, row = _place(chunk), features(chunk)
        self._ahead[place] = np.maximum(self._ahead.get(place, row) - row, 0.0)
        if seconds > 0:
            replicas, before = self._done.get(place, (0.0, 0.0))
            self._done[place] = (replicas + len(chunk.replicas), before + seconds)
            self._rows.append(row)
            self._seconds.append(seconds)

    def left(self) -> float | None:
        """Seconds of work left; None before anything is done."""
        if not self._rows:
            return None
        rows, seconds = np.array(self._rows), np.array(self._seconds)
        weights = fit(rows, seconds)
        scale = seconds.sum() / float((rows @ weights).sum())
        total = 0.0
        for place, row in self._ahead.items():
            replicas, taken = self._done.get(place, (0.0, 0.0))
            total += taken / replicas * row[1] if replicas else scale * float(row @ weights)
        return total


def _place(chunk: Chunk) -> Place:
    return chunk.cell.label, chunk.hidden_size, repr(chunk.point)


def fit(rows: NDArray[np.float64], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights, none below 0, with which the rows come nearest to the seconds in least squares.

    >>> fit(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([3.0, 5.0])).round(3).tolist()
    [3.0, 2.0]
    >>> fit(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([3.0, 1.0])).round(3).tolist()
    [2.0, 0.0]
    """
    best: tuple[float, NDArray[np.float64]] | None = None
    for columns in _subsets(rows.shape[1]):
        chosen = rows[:, list(columns)]
        found = np.linalg.lstsq(chosen, seconds, rcond=None)[0]
        error = float(((chosen @ found - seconds) ** 2).sum())
        if (found >= 0).all() and (best is None or error < best[0] - 1e-12):
            weights = np.zeros(rows.shape[1])
            weights[list(columns)] = found
            best = error, weights
    assert best is not None  # a single column of positive numbers has a positive weight
    return best[1]


def _subsets(n: int) -> Sequence[tuple[int, ...]]:
    return [columns for size in range(1, n + 1) for columns in combinations(range(n), size)]
