"""The rules that say when a replica is solved, and when it has diverged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellbench.records import Solved

DIVERGED_LOSS = 1e4
"""In nats per bit. A coin's loss is 0.69; a model this far off has diverged even if its numbers are still finite."""


class Streaks:
    """Finds, for each of R replicas, the first of `hold` consecutive evaluations at or above the threshold.

    Args:
        rule: metric, threshold, hold.
        replicas: R.
    """

    def __init__(self, rule: Solved, replicas: int) -> None:
        self._rule = rule
        self._length = np.zeros(replicas, np.int64)
        self._start = np.zeros(replicas, np.int64)
        self.solved_at = np.full(replicas, -1, np.int64)
        """Shape (R,): steps to solved, -1 while not solved."""

    def see(self, rows: NDArray[np.int64], step: int, values: NDArray[np.float64]) -> None:
        """Count one evaluation of some replicas.

        Args:
            rows: shape (some,): which of the R replicas.
            step: steps trained so far.
            values: shape (some,): the metric of each; NaN is below every threshold.
        """
        above = values >= self._rule.threshold
        began = above & (self._length[rows] == 0)
        self._start[rows[began]] = step
        self._length[rows] = np.where(above, self._length[rows] + 1, 0)
        done = rows[(self._length[rows] >= self._rule.hold) & (self.solved_at[rows] < 0)]
        self.solved_at[done] = self._start[done]


def first_lost(losses: NDArray[np.float64], broke: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find the first step of a block at which each replica has diverged: not finite, or a loss above `DIVERGED_LOSS`.

    Args:
        losses: shape (replicas, steps).
        broke: shape (replicas,): the first step that was not finite, or -1.

    Returns:
        Shape (replicas,): an index of the block's steps, or -1.
    """
    over = losses > DIVERGED_LOSS
    first_over = np.where(over.any(axis=1), over.argmax(axis=1), losses.shape[1])
    first_broke = np.where(broke >= 0, broke, losses.shape[1])
    first = np.minimum(first_over, first_broke)
    return np.where(first < losses.shape[1], first, -1).astype(np.int64)
