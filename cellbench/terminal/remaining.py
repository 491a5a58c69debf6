"""Estimate how many seconds are left, from what the finished chunks took."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heapreplace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from cellbench.records import Chunk

Place = tuple[str, int, str]
"""A cell, its hidden size and its point: replicas of one place take about the same time."""

_VECTOR = 8
"""The guessed cost of a chunk counts a smaller batch as one of this size."""


def features(chunk: Chunk) -> NDArray[np.float64]:
    """Return what a chunk's seconds consist of: training by its guessed cost, a share per replica, and evaluation."""
    width = max(chunk.point.batch_size, _VECTOR)
    return np.array([chunk.cost, float(len(chunk.replicas)), chunk.cost / width])


_MANY = 20
"""With more chunks per worker than this waiting, which worker takes which does not matter."""


class Pace:
    """Estimates the seconds left.

    Where replicas of the same cell, size and point are done, their mean is used. Elsewhere it is a fit over everything
    done: seconds = a · guessed cost + b · replicas + c · evaluation, with a, b, c at least 0, then scaled to the
    seconds really taken. Guessed costs alone are wrong by a factor of ten for the smallest cells, which come last.

    Chunks begin in the order of the plan, each when another ends, so it is known which are in progress, and since when;
    where some wait for compilers, it is told which begin. Times are seconds since the plan.

    Args:
        workers: how many chunks are trained at the same time, as far as is known at the start.
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._ahead: dict[Place, NDArray[np.float64]] = {}
        self._done: dict[Place, tuple[float, float]] = {}  # replicas, seconds
        self._rows: list[NDArray[np.float64]] = []
        self._seconds: list[float] = []
        self._waiting: dict[str, Chunk] = {}
        self._begun: dict[str, tuple[Chunk, float]] = {}
        self._told = False

    def plan(self, chunks: Sequence[Chunk], told: bool = False) -> None:
        """Take in the chunks to be done, in this order, from now on.

        Args:
            chunks: to be done.
            told: whether `begin` is called for each.
        """
        self._told = told
        for chunk in chunks:
            self._ahead[_place(chunk)] = self._ahead.get(_place(chunk), np.zeros(3)) + features(chunk)
            self._waiting[_name(chunk)] = chunk
        self._begin(0.0)

    def cut_anew(self, label: str, chunks: Sequence[Chunk]) -> None:
        """Take these chunks in, in place of those of a cell, of which none has begun."""
        for name, chunk in list(self._waiting.items()):
            if chunk.cell.label == label:
                del self._waiting[name]
                self._ahead.pop(_place(chunk), None)
        self.plan(chunks, self._told)

    def begin(self, chunk: Chunk, at: float) -> None:
        """Take in that a worker began a chunk."""
        self._waiting.pop(_name(chunk), None)
        self._begun[_name(chunk)] = (chunk, at)

    @property
    def under_way(self) -> list[Chunk]:
        """The chunks that are in progress."""
        return [chunk for chunk, _ in self._begun.values()]

    def finish(self, chunk: Chunk, seconds: float, at: float, whole: bool = True) -> None:
        """Take in that a chunk is done, which took this many seconds of a worker.

        Args:
            chunk: it.
            seconds: of a worker.
            at: when it ended.
            whole: whether it was trained to its end. One that failed or diverged early tells nothing of other cells.
        """
        place, row = _place(chunk), features(chunk)
        self._ahead[place] = np.maximum(self._ahead.get(place, row) - row, 0.0)
        self._waiting.pop(_name(chunk), None)
        self._begun.pop(_name(chunk), None)
        if seconds > 0:
            replicas, before = self._done.get(place, (0.0, 0.0))
            self._done[place] = (replicas + len(chunk.replicas), before + seconds)
        if seconds > 0 and whole:
            self._rows.append(row)
            self._seconds.append(seconds)
        self._begin(at)

    def _begin(self, at: float) -> None:
        """Assume that idle workers begin the next chunks now, where nobody tells."""
        if self._told:
            return
        for name in list(islice(self._waiting, max(0, self.workers - len(self._begun)))):
            self._begun[name] = (self._waiting.pop(name), at)

    def left(self, at: float) -> float | None:
        """Return the seconds left; None before anything is done that others can be judged by."""
        if not self._rows or at <= 0:
            return None
        from scipy.optimize import nnls  # takes as long to import as a cell to compile

        rows, seconds = np.array(self._rows), np.array(self._seconds)
        # scale each feature to length 1, so that the cost is fitted first while few chunks are done
        scales = np.linalg.norm(rows, axis=0)
        weights = nnls(rows / scales, seconds)[0] / scales
        scale = seconds.sum() / float((rows @ weights).sum())

        def expected(place: Place, row: NDArray[np.float64]) -> float:
            """Return the seconds that work at a place takes: by its own replicas if any are done, else by the fit."""
            replicas, taken = self._done.get(place, (0.0, 0.0))
            return taken / replicas * float(row[1]) if replicas else scale * float(row @ weights)

        # work ahead, and of the chunks in progress what is still to do: at least a tenth, since none has ended
        spent, rests = float(seconds.sum()), []
        ahead = sum(expected(place, row) for place, row in self._ahead.items())
        for chunk, since in self._begun.values():
            whole = expected(_place(chunk), features(chunk))
            rests.append(max(whole - (at - since), 0.1 * whole))
            ahead, spent = ahead - whole + rests[-1], spent + at - since
        workers = max(self.workers, len(rests))
        # the share of their time that workers train: below 1 where they wait, or where there are fewer than assumed
        busy = min(1.0, spent / at / workers)
        if len(self._waiting) > _MANY * workers:
            return ahead / workers / busy
        # near the end, play it through: the worker that is free first takes the next chunk
        free = rests + [0.0] * (workers - len(rests))
        heapify(free)
        for chunk in self._waiting.values():
            heapreplace(free, free[0] + expected(_place(chunk), features(chunk)))
        return max(free) / busy


def _name(chunk: Chunk) -> str:
    return chunk.replicas[0].key


def _place(chunk: Chunk) -> Place:
    return chunk.cell.label, chunk.hidden_size, repr(chunk.point)
