"""The contract of a task: the inputs of each step, and the bits that a model has to answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cellbench.records import Value as Value
from cellbench.streams import Stream

Parameters = Mapping[str, Value]
"""Grid parameters by name, for example `{"bits": 8}`."""
Floats = NDArray[np.float32]
"""Numbers that a task draws, a model is trained on, or its weights hold."""
Batch = tuple[Floats, Floats]
"""Inputs of shape (time, batch, input_size) and targets of shape (time, batch, output_size), targets 0 or 1."""


class Task(ABC):
    """A task with binary targets at every step.

    Everything that cellbench knows of a task is in this class. The grid parameters become keys of the experiment file
    and columns of the results, under their own names.
    """

    input_size: ClassVar[int]
    """Features of one step's input."""
    output_size: ClassVar[int]
    """Bits to emit at one step."""
    parameters: ClassVar[Mapping[str, str]]
    """The name of each grid parameter, and its meaning in a few words."""
    difficulty: ClassVar[str | None] = None
    """The name of the difficulty that `batch_of_difficulty` draws examples of, or None."""
    final: ClassVar[Mapping[str, tuple[Value, ...]]] = {}
    """Values of grid parameters at which trained models are evaluated, unless the experiment gives others."""

    @abstractmethod
    def check_parameter(self, name: str, value: object) -> None:
        """Check one value of one grid parameter.

        Raises:
            ValueError: the value cannot be used; the message says which values can.
        """

    @abstractmethod
    def batch(self, stream: Stream, examples: int, parameters: Parameters) -> Batch:
        """Draw examples.

        Take all randomness from `stream`. Its row i belongs to example i and does not depend on how many examples are
        drawn at once, so the batches of many steps can be drawn in one call.

        Args:
            stream: randomness for exactly these examples.
            examples: how many; the length of the batch axis.
            parameters: the grid parameters.

        Returns:
            Inputs (time, examples, input_size) and targets (time, examples, output_size).
        """

    def length(self, parameters: Parameters) -> int:
        """Count the steps of an example at these parameters, by drawing one."""
        inputs, _ = self.batch(Stream("size", count=1), 1, parameters)
        return int(inputs.shape[0])

    def difficulties(self, parameters: Parameters) -> tuple[int, ...]:
        """List the difficulties to measure at these parameters; none by default."""
        return ()

    def batch_of_difficulty(self, stream: Stream, examples: int, parameters: Parameters, difficulty: int) -> Batch:
        """Draw examples as `batch` does, all of exactly this difficulty."""
        raise NotImplementedError(f"{type(self).__name__} makes no examples of a given difficulty")

    def reference_accuracies(self, parameters: Parameters) -> Mapping[str, float]:
        """Compute the bit accuracies of simple predictors, by their names, to compare with; none by default."""
        return {}
