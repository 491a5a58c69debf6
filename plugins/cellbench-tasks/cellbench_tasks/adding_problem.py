"""The adding problem: the sum of two marked numbers, far apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from cellbench.streams import Stream
from cellbench.task import Batch, Parameters, Task, Value
from cellbench_tasks.values import check_whole


class AddingProblem(Task):
    """Pairs of a number in [-1, 1) and a mark, 1 at two steps and 0 at the others; asked at the last step.

    The answer is 0.5 + (X + Y) / 4 for the marked numbers X and Y, right if it is off by at most 0.04: numbers, answer
    and rule are those of Hochreiter & Schmidhuber. The marks are uniform, one in each half of the sequence, and the
    length is fixed, as in Arjovsky, Shah & Bengio 2016 (arXiv:1511.06464, section 4.2).

    References:
        Hochreiter & Schmidhuber 1997, "Long Short-Term Memory", experiment 4.
    """

    kind: ClassVar[Literal["bits", "classes", "numbers"]] = "numbers"
    tolerance: ClassVar[float] = 0.04
    input_size: ClassVar[int] = 2
    output_size: ClassVar[int] = 1
    parameters: ClassVar[Mapping[str, str]] = {"length": "steps of the sequence"}
    final: ClassVar[Mapping[str, tuple[Value, ...]]] = {"length": (10, 50, 200)}

    def check_parameter(self, name: str, value: object) -> None:
        """`length` is a whole number of 2 or more."""
        check_whole(name, value, 2)

    def batch(self, stream: Stream, examples: int, parameters: Parameters) -> Batch:
        """Draw numbers and marks; see `Task.batch`."""
        length = int(parameters["length"])
        inputs = np.zeros((length, examples, 2), np.float32)
        inputs[:, :, 0] = 2 * stream.uniform(length).T - 1
        rows, middle = np.arange(examples), length // 2
        first, second = stream.integers(1, 0, middle)[:, 0], stream.integers(1, middle, length)[:, 0]
        inputs[first, rows, 1] = inputs[second, rows, 1] = 1
        targets, mask = np.zeros((length, examples, 1), np.float32), np.zeros((length, examples), np.uint8)
        targets[-1, :, 0] = 0.5 + (inputs[first, rows, 0] + inputs[second, rows, 0]) / 4
        mask[-1] = 1
        return inputs, targets, mask

    def reference_accuracies(self, parameters: Parameters) -> Mapping[str, float]:
        """Give the shares within the tolerance of an answer of 0.5, and of one who sees the last step too.

        X + Y has a triangular density on [-2, 2]; where the last step is marked, one number is known.

        >>> round(AddingProblem().reference_accuracies({"length": 10})["always 0.5"], 4)
        0.1536
        """
        length = int(parameters["length"])
        always = 1 - (1 - 2 * self.tolerance) ** 2
        marked = 1 / (length - length // 2)
        return {"always 0.5": always, "sees the last step only": marked * 4 * self.tolerance + (1 - marked) * always}
