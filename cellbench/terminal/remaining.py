"""How many seconds are left, learnt from what the finished chunks took."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heapreplace
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from cellbench.records import Chunk

Place = tuple[str, int, str]
"""A cell, its hidden size and its point: replicas there take alike."""

_VECTOR = 8
"""The shortest batch that a chunk's guessed cost counts."""


def features(chunk: Chunk) -> NDArray[np.float64]:
    """What a chunk's seconds are made of: training by its guessed cost, a share a replica, evaluation by its sizes."""
    width = max(chunk.point.batch_size, _VECTOR)
    return np.array([chunk.cost, float(len(chunk.replicas)), chunk.cost / width])


_MANY = 20
"""With more chunks waiting for each worker, it does not matter who takes which."""


class Pace:
    """Seconds left.

    Where replicas of the same cell, size and point are done, their mean counts. Elsewhere a fit over all that is done:
    seconds = a · guessed cost + b · replicas + c · evaluation, none below 0, then scaled to the seconds really taken.
    Guessed costs alone are wrong by a factor of ten for the smallest cells, which come last.

    Chunks begin in the order of the plan, each when another ends, so what is under way is known, and since when.
    Times are seconds since the plan.

    Args:
        workers: how many chunks are worked on side by side, as far as is known at the start.
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._ahead: dict[Place, NDArray[np.float64]] = {}
        self._done: dict[Place, tuple[float, float]] = {}  # replicas, seconds
        self._rows: list[NDArray[np.float64]] = []
        self._seconds: list[float] = []
        self._waiting: dict[str, Chunk] = {}
        self._begun: dict[str, tuple[Chunk, float]] = {}

    def plan(self, chunks: Sequence[Chunk]) -> None:
        """These are to be done, in this order, from now on."""
        for chunk in chunks:
            self._ahead[_place(chunk)] = self._ahead.get(_place(chunk), np.zeros(3)) + features(chunk)
            self._waiting[_name(chunk)] = chunk
        self._begin(0.0)

    def finish(self, chunk: Chunk, seconds: float, at: float) -> None:
        """A chunk is done; it took so many seconds of a worker."""
        place, row = _place(chunk), features(chunk)
        self._ahead[place] = np.maximum(self._ahead.get(place, row) - row, 0.0)
        self._waiting.pop(_name(chunk), None)
        self._begun.pop(_name(chunk), None)
        if seconds > 0:
            replicas, before = self._done.get(place, (0.0, 0.0))
            self._done[place] = (replicas + len(chunk.replicas), before + seconds)
            self._rows.append(row)
            self._seconds.append(seconds)
        self._begin(at)

    def _begin(self, at: float) -> None:
        for name in list(islice(self._waiting, max(0, self.workers - len(self._begun)))):
            self._begun[name] = (self._waiting.pop(name), at)

    def left(self, at: float) -> float | None:
        """Seconds left; None before anything is done."""
        if not self._rows or at <= 0:
            return None
        rows, seconds = np.array(self._rows), np.array(self._seconds)
        # each feature to one scale: where few chunks are done, and several features explain them, the cost comes first
        scales = np.linalg.norm(rows, axis=0)
        weights = nnls(rows / scales, seconds)[0] / scales
        scale = seconds.sum() / float((rows @ weights).sum())

        def expected(place: Place, row: NDArray[np.float64]) -> float:
            replicas, taken = self._done.get(place, (0.0, 0.0))
            return taken / replicas * float(row[1]) if replicas else scale * float(row @ weights)

        spent, rests = float(seconds.sum()), []
        ahead = sum(expected(place, row) for place, row in self._ahead.items())
        for chunk, since in self._begun.values():
            whole = expected(_place(chunk), features(chunk))
            rests.append(max(whole - (at - since), 0.1 * whole))
            ahead, spent = ahead - whole + rests[-1], spent + at - since
        workers = max(self.workers, len(rests))
        # less than 1 where they wait for work, or where there are fewer than was thought
        busy = min(1.0, spent / at / workers)
        if len(self._waiting) > _MANY * workers:
            return ahead / workers / busy
        # the last chunks end one after the other: whoever is free first takes the next
        free = rests + [0.0] * (workers - len(rests))
        heapify(free)
        for chunk in self._waiting.values():
            heapreplace(free, free[0] + expected(_place(chunk), features(chunk)))
        return max(free) / busy


def _name(chunk: Chunk) -> str:
    return chunk.replicas[0].key


def _place(chunk: Chunk) -> Place:
    return chunk.cell.label, chunk.hidden_size, repr(chunk.point)
