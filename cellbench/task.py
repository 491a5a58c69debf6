"""The contract of a task: the inputs of each step, and what a model has to answer: bits, classes or numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cellbench.records import Value as Value
from cellbench.streams import Stream

Parameters = Mapping[str, Value]
"""Grid parameters by name, for example `{"bits": 8}`."""
Floats = NDArray[np.float32]
"""Numbers that a task draws, a model is trained on, or its weights hold."""
Kind = Literal["bits", "classes", "numbers"]
"""What the answers of a task are; see `Task.kind`."""
Batch = tuple[NDArray[Any], NDArray[Any]] | tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
"""Inputs, targets and, where some steps do not count, a mask; see `Task.batch` for their shapes."""


def answers_per_step(kind: Kind, output_size: int) -> int:
    """Count the answers of one step: a class is one answer, whatever the number of classes."""
    return 1 if kind == "classes" else output_size


def one_hot(tokens: NDArray[np.integer[Any]], size: int) -> Floats:
    """Turn tokens into vectors: whole numbers of any shape, from 0 to size - 1, to floats of shape (..., size).

    >>> one_hot(np.array([0, 2]), 3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    vectors: Floats = np.eye(size, dtype=np.float32)[tokens]
    return vectors


class Task(ABC):
    """A task with a target at every step, or at those steps that its mask leaves.

    Everything that cellbench knows of a task is in this class. The grid parameters become keys of the experiment file
    and columns of the results, under their own names.
    """

    input_size: ClassVar[int]
    """Features of one step's input; of token inputs, the number of tokens."""
    output_size: ClassVar[int]
    """Raw outputs of the readout at one step: bits or numbers to emit, or the number of classes."""
    kind: ClassVar[Kind] = "bits"
    """What the answers are. Each raw output is the logit of a bit (`bits`: sigmoid and cross-entropy), all of a step
    are the logits of one class (`classes`: softmax and cross-entropy), or each is a number itself (`numbers`: mean
    squared error)."""
    tokens: ClassVar[bool] = False
    """Whether `batch` gives inputs as whole numbers from 0 to input_size - 1. They become one-hot vectors before a
    model sees them, so its kernel of the inputs is a table of embeddings."""
    tolerance: ClassVar[float] = 0.04
    """How far from its target a number may be and count as right (kind `numbers`). The default is that of the adding
    problem (Hochreiter & Schmidhuber, Long short-term memory, 1997, section 5.4)."""
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
            Inputs and targets, or inputs, targets and mask. Inputs: shape (time, examples, input_size); tokens:
            whole numbers, shape (time, examples). Targets: shape (time, examples, output_size), bits 0 or 1;
            classes: whole numbers from 0 to output_size - 1, shape (time, examples). Mask: shape (time, examples),
            1 at the steps that are trained and scored, else 0; each example has such a step.
        """

    def length(self, parameters: Parameters) -> int:
        """Count the steps of an example at these parameters, by drawing one."""
        return int(self.batch(Stream("size", count=1), 1, parameters)[0].shape[0])

    def difficulties(self, parameters: Parameters) -> tuple[int, ...]:
        """List the difficulties to measure at these parameters; none by default."""
        return ()

    def batch_of_difficulty(self, stream: Stream, examples: int, parameters: Parameters, difficulty: int) -> Batch:
        """Draw examples as `batch` does, all of exactly this difficulty."""
        raise NotImplementedError(f"{type(self).__name__} makes no examples of a given difficulty")

    def measured_difficulty(self, batch: Batch) -> NDArray[np.int64] | None:
        """Measure the difficulty of each example, shape (examples,), from what was drawn; None if it cannot be told.

        `cellbench check` and every run compare it with the difficulty that was asked for.
        """
        return None

    def reference_accuracies(self, parameters: Parameters) -> Mapping[str, float]:
        """Compute the shares of answers that simple predictors have right, by their names; none by default."""
        return {}
