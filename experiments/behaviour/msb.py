"""Binary addition read from the other end: most significant bit first, and the sum's bit at each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from cellbench.streams import Stream
from cellbench.task import Batch, Parameters
from cellbench.tasks.binary_addition import BinaryAddition


class MostSignificantFirst(BinaryAddition):
    """The examples of binary_addition in reverse order: what is carried comes from bits that are not read yet."""

    difficulty: ClassVar[str | None] = None

    def batch(self, stream: Stream, examples: int, parameters: Parameters) -> Batch:
        """Uniform summands; see `Task.batch`."""
        inputs, targets = super().batch(stream, examples, parameters)
        return inputs[::-1].copy(), targets[::-1].copy()

    def reference_accuracies(self, parameters: Parameters) -> Mapping[str, float]:
        """Bit accuracy of the best answer, that nothing is carried: right in (1 + 2^-i) / 2 above i lower bits."""
        bits = int(parameters["bits"])
        return {"knows all that was read": sum((1 + 2.0**-i) / 2 for i in range(bits)) / bits}
