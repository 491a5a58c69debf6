"""Binary addition with inputs -1 and +1."""

from __future__ import annotations

from cellbench.streams import Stream
from cellbench.task import Batch, Parameters
from cellbench.tasks.binary_addition import BinaryAddition


class BinaryAdditionSigned(BinaryAddition):
    """The built-in task, each input bit 0 or 1 given as -1 or +1: the mean of the inputs is 0, but for the last step.

    References:
        LeCun et al. 1998, "Efficient BackProp", section 4.3.
    """

    def batch(self, stream: Stream, examples: int, parameters: Parameters) -> Batch:
        """Draw as the built-in task does."""
        return _signed(super().batch(stream, examples, parameters))

    def batch_of_difficulty(self, stream: Stream, examples: int, parameters: Parameters, difficulty: int) -> Batch:
        """Draw as the built-in task does."""
        return _signed(super().batch_of_difficulty(stream, examples, parameters, difficulty))


def _signed(batch: Batch) -> Batch:
    inputs, targets = batch[:2]
    return 2 * inputs - 1, targets
