"""The contract of a task: what enters at each step, and which bits have to come out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cellbench.streams import Stream

Value = int | float | str
"""A value of a grid parameter."""
Parameters = Mapping[str, Value]
"""Grid parameters by name, for example `{"bits": 8}`."""
Batch = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Inputs of shape (time, batch, input_size) and targets of shape (time, batch, output_size), targets 0 or 1."""


class Task(ABC):
    """A task with binary targets at every step.

    The harness knows a task by this class alone: the grid parameters become keys of the experiment file and columns
    of the results under their own names.
    """

    input_size: ClassVar[int]
    """Features of one step's input."""
    output_size: ClassVar[int]
    """Bits to emit at one step."""
    parameters: ClassVar[Mapping[str, str]]
    """Each grid parameter's name and what it means, in a few words."""
    difficulty: ClassVar[str | None] = None
    """The name of the difficulty that `batch_of_difficulty` can make examples of, if there is one."""
    final: ClassVar[Mapping[str, tuple[Value, ...]]] = {}
    """Values of grid parameters at which trained models are evaluated, unless the experiment gives others."""

    @abstractmethod
    def check_parameter(self, name: str, value: object) -> None:
        """Check one value of one grid parameter.

        Raises:
            ValueError: the value is of no use; the message says what is expected.
        """

    @abstractmethod
    def batch(self, stream: Stream, examples: int, parameters: Parameters) -> Batch:
        """Draw examples.

        Everything random comes from `stream`, whose rows belong to examples: row i is the same however many
        examples are drawn at once, which lets the harness draw many steps' batches in one call.

        Args:
            stream: randomness for exactly these examples.
            examples: how many; the batch axis of what is returned.
            parameters: the grid parameters.

        Returns:
            Inputs (time, examples, input_size) and targets (time, examples, output_size).
        """

    def length(self, parameters: Parameters) -> int:
        """Count the steps of an example at these parameters, by drawing one."""
        inputs, _ = self.batch(Stream("size", count=1), 1, parameters)
        return int(inputs.shape[0])

    def difficulties(self, parameters: Parameters) -> tuple[int, ...]:
        """The difficulties worth measuring at these parameters; none by default."""
        return ()

    def batch_of_difficulty(self, stream: Stream, examples: int, parameters: Parameters, difficulty: int) -> Batch:
        """Like `batch`, but every example has exactly this difficulty."""
        raise NotImplementedError(f"{type(self).__name__} makes no examples of a given difficulty")

    def reference_accuracies(self, parameters: Parameters) -> Mapping[str, float]:
        """Bit accuracies to compare with, by name (what simple predictors reach); none by default."""
        return {}
