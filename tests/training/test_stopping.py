"""The rule for solved and for lost, by tables."""

from __future__ import annotations

import numpy as np
import pytest

from cellbench.records import Solved
from cellbench.training.stopping import DIVERGED_LOSS, Streaks, first_lost

CASES = [
    ("never", [0.5, 0.98, 0.9], 2, -1),
    ("at once", [0.99, 1.0, 0.2], 2, 10),
    ("the first of the two", [0.5, 0.99, 0.99, 0.0], 2, 20),
    ("a dip begins anew", [0.99, 0.5, 0.99, 0.99], 2, 30),
    ("alternating never holds", [0.99, 0.5] * 3, 2, -1),
    ("the last possible", [0.5, 0.5, 0.99, 0.99], 2, 30),
    ("too late to hold", [0.5, 0.5, 0.5, 0.99], 2, -1),
    ("hold of one", [0.5, 0.99, 0.5], 1, 20),
    ("hold of three", [0.99, 0.99, 0.5, 0.99, 0.99, 0.99], 3, 40),
    ("not a number is below", [0.99, np.nan, 0.99], 2, -1),
    ("the threshold itself counts", [0.99, 0.99], 2, 10),
    ("later streaks change nothing", [0.99, 0.99, 0.5, 0.99, 0.99], 2, 10),
]


@pytest.mark.parametrize(("values", "hold", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_solved(values: list[float], hold: int, expected: int) -> None:
    """Steps to solved: the first of `hold` consecutive evaluations at or above the threshold."""
    streaks = Streaks(Solved("sequence_accuracy", 0.99, hold), 3)
    for i, value in enumerate(values):
        # the replica sits among others that leave: rows are given each time
        rows = np.array([0, 2]) if i else np.array([0, 1, 2])
        streaks.see(rows, 10 * (i + 1), np.full(len(rows), 0.0) + np.where(rows == 2, value, 0.5))
    assert streaks.solved_at.tolist() == [-1, -1, expected]


def test_lost() -> None:
    """Lost at the first step that is not finite or whose loss is beyond the bound, whichever is first."""
    big = DIVERGED_LOSS * 2
    losses = np.array([[0.7, 0.6, 0.5], [0.7, big, 0.5], [0.7, np.nan, np.nan], [0.7, 0.6, big], [big, 1.0, np.nan]])
    broke = np.array([-1, -1, 1, -1, 2])
    assert first_lost(losses, broke).tolist() == [-1, 1, 1, 2, 0]
