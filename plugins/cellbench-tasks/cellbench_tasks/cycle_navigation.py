"""Cycle navigation: where a walk on a cycle of five places has come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from cellbench.streams import Stream
from cellbench.task import Batch, Parameters, Task, Value
from cellbench_tasks.values import check_whole

PLACES = 5
"""On the cycle, as in the paper."""


class CycleNavigation(Task):
    """Moves stay (0), right (1) and left (2), each as likely; after each move, the place, from 0.

    The original asks once, at the end of walks of many lengths. Asked after each move, one walk of `length` moves is a
    walk of every length up to it.

    References:
        Delétang et al. 2023, "Neural Networks and the Chomsky Hierarchy", arXiv:2207.02098.
    """

    kind: ClassVar[Literal["bits", "classes", "numbers"]] = "classes"
    tokens: ClassVar[bool] = True
    input_size: ClassVar[int] = 3
    output_size: ClassVar[int] = PLACES
    parameters: ClassVar[Mapping[str, str]] = {"length": "moves of the walk"}
    final: ClassVar[Mapping[str, tuple[Value, ...]]] = {"length": (16, 64, 256)}

    def check_parameter(self, name: str, value: object) -> None:
        """`length` is a whole number of 1 or more."""
        check_whole(name, value, 1)

    def batch(self, stream: Stream, examples: int, parameters: Parameters) -> Batch:
        """Draw moves and the places after them; see `Task.batch`."""
        moves = np.ascontiguousarray(stream.integers(int(parameters["length"]), 0, 3).T)
        steps = np.where(moves == 2, -1, moves)
        return moves, np.cumsum(steps, axis=0) % PLACES

    def reference_accuracies(self, parameters: Parameters) -> Mapping[str, float]:
        """Give the accuracy of the best predictor that sees the last k moves and how many there were.

        It is right as often as the likeliest place before these k moves: 1 at first, then towards 1/5.

        >>> round(CycleNavigation().reference_accuracies({"length": 2})["sees this move only"], 6)
        0.666667
        """
        n = int(parameters["length"])
        place = np.zeros(PLACES)
        place[0] = 1.0
        likeliest = []
        for _ in range(n):
            likeliest.append(float(place.max()))
            place = (place + np.roll(place, 1) + np.roll(place, -1)) / 3
        named = {f"sees the last {k}" if k > 1 else "sees this move only": k for k in (1, 4)}
        seen = {name: float(np.mean([likeliest[max(0, t - k)] for t in range(1, n + 1)])) for name, k in named.items()}
        return {"chance": 1 / PLACES, **seen}
