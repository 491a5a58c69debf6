"""Binary addition in sequential layout: "a+b=", then the sum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from cellbench.streams import Stream
from cellbench.task import Batch, Parameters, Task, Value
from cellbench_tasks.values import check_whole

PLUS, EQUALS = 2, 3
"""The tokens after those of the bits 0 and 1."""


class BinaryAdditionSequential(Task):
    """The bits of a, "+", the bits of b, both least significant first, then "=" at each step that asks for a bit.

    "a+b" has `length` symbols. How they are divided between the two numbers is uniform, and so are the numbers, zero
    and leading zeros among them (the original's sampler draws no zero). The sum has one bit more than the longer
    number; steps beyond it, and those before the first "=", are not scored.

    References:
        Delétang et al. 2023, "Neural Networks and the Chomsky Hierarchy", arXiv:2207.02098.
    """

    kind: ClassVar[Literal["bits", "classes", "numbers"]] = "bits"
    tokens: ClassVar[bool] = True
    input_size: ClassVar[int] = 4
    output_size: ClassVar[int] = 1
    parameters: ClassVar[Mapping[str, str]] = {"length": 'symbols of "a+b"; the sum takes up to length - 1 steps more'}
    final: ClassVar[Mapping[str, tuple[Value, ...]]] = {"length": (5, 9, 17, 33)}

    def check_parameter(self, name: str, value: object) -> None:
        """`length` is a whole number of 3 or more."""
        check_whole(name, value, 3)

    def batch(self, stream: Stream, examples: int, parameters: Parameters) -> Batch:
        """Draw sums; see `Task.batch`."""
        length = int(parameters["length"])
        first = stream.integers(1, 1, length - 1)[:, 0]  # bits of a: 1 to length - 2
        second = length - 1 - first
        inputs = np.full((2 * length - 1, examples), EQUALS)
        inputs[:length] = stream.bits(length).T
        inputs[first, np.arange(examples)] = PLUS
        targets, mask = np.zeros(inputs.shape, np.float32), np.zeros(inputs.shape, np.uint8)
        carry, rows = np.zeros(examples, np.int64), np.arange(examples)
        for i in range(length - 1):
            a = np.where(i < first, inputs[np.minimum(i, first - 1), rows], 0)
            b = np.where(i < second, inputs[np.minimum(first + 1 + i, length - 1), rows], 0)
            carry, targets[length + i] = np.divmod(a + b + carry, 2)
            mask[length + i] = i <= np.maximum(first, second)
        return inputs, targets[:, :, None], mask

    def reference_accuracies(self, parameters: Parameters) -> Mapping[str, float]:
        """Give the accuracy of the best predictor that sees "=" and how many there were: it answers 0.

        All bits of a sum are fair but the last, which is the carry out of the longer number.

        >>> BinaryAdditionSequential().reference_accuracies({"length": 3})  # 0+0, 0+1, 1+0, 1+1: 00, 10, 10, 01
        {'always 0': 0.625}
        """
        length = int(parameters["length"])
        right = answers = 0.0
        for first in range(1, length - 1):
            short, long = sorted((first, length - 1 - first))
            carried = (1 - 2.0**-short) / 2 * 2.0 ** (short - long)
            right += long / 2 + (1 - carried)
            answers += long + 1
        return {"always 0": right / answers}
