"""The contract of an engine, which trains many replicas of one model at once.

Three modules keep it: `lanes`, `stack` and `reference`. Each has two functions. The first is

    prepare(
        blueprint: Blueprint,
        *,
        optimizer: Optimizer,
        clip_norm: float | None,
        batch_sizes: Sequence[int] = USUAL_BATCHES,
        longest: int = LONGEST,
        device: str = CPU,
    ) -> Engine

which raises `Refused` with a reason of one line if the engine cannot carry the cell on sequences of `longest` steps.
It gets ready for these batch sizes; replicas may be trained at others, which then takes longer to begin. `lanes`
computes on the CPU alone, and takes no device. The second is

    together(batch_size: int) -> int

the number of replicas that are trained at a time; a smaller group takes as long as a full one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cellbench.model import Model
from cellbench.task import Floats

Targets = NDArray[np.float32] | NDArray[np.int64]
"""Bits and numbers, or classes."""
Mask = NDArray[np.bool_]
"""Which steps are trained and scored."""

USUAL_BATCHES = (16,)
"""What an engine is prepared for if nobody says at which batch sizes it will train."""
LONGEST = 100
"""Time steps of the longest sequence for which an engine is made ready, unless it is told of a longer one."""


class Refused(Exception):
    """The engine cannot carry this cell; the message is one line and names the operation or the cause."""


class RefusedOnce(Refused):
    """A refusal that may not repeat: libraries turn an interrupt into errors of their own. It is not remembered."""


def first_line(error: BaseException) -> str:
    """Put an error on one line: its type, and the first line of its message cut after 200 characters.

    Errors of torch go on for many lines, which explain nothing about the cell.

    >>> first_line(ValueError("one\\ntwo"))
    'ValueError: one'
    >>> first_line(AssertionError())
    'AssertionError'
    """
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


@dataclass(frozen=True)
class Advanced:
    """The result of training replicas through one block of steps.

    Attributes:
        losses: shape (replicas, steps): the training loss before each update; NaN after a replica went non-finite.
        broke: shape (replicas,): the first step of the block (from 0) whose loss or gradient was not finite, or -1. No
            update was made at that step or after it.
    """

    losses: NDArray[np.float64]
    broke: NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """Results of an evaluation, each of shape (replicas,).

    Attributes:
        loss: mean over all answers that count: nats per bit, nats per class, or squared error.
        bit_accuracy: share of answers that are right, as `cellbench.model.Objective.right` judges: bits, classes or
            numbers.
        sequence_accuracy: share of examples with all answers right.
    """

    loss: NDArray[np.float64]
    bit_accuracy: NDArray[np.float64]
    sequence_accuracy: NDArray[np.float64]


Trained = object
"""A replica after training, as the engine that trained it keeps it: parameters, buffers, whatever else it holds."""


class Replicas(Protocol):
    """R replicas in training. The numbers of one never depend on the others."""

    def advance(self, inputs: Floats, targets: Targets, which: NDArray[np.int64], mask: Mask | None = None) -> Advanced:
        """Train every replica through a block of steps.

        Args:
            inputs: shape (seeds, steps, time, batch, input_size).
            targets: shape (seeds, steps, time, batch, output_size); classes: (seeds, steps, time, batch).
            which: shape (replicas,): whose seed's data each replica trains on, an index of the first axis.
            mask: shape (seeds, steps, time, batch); None where all steps count. All of it True is None to the bit.
        """

    def evaluate(self, inputs: Floats, targets: Targets, which: NDArray[np.int64], mask: Mask | None = None) -> Scores:
        """Score every replica.

        Args:
            inputs: shape (seeds, time, examples, input_size).
            targets: shape (seeds, time, examples, output_size); classes: (seeds, time, examples).
            which: shape (replicas,), as for `advance`.
            mask: shape (seeds, time, examples), as for `advance`.
        """

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these replicas alone, in this order."""

    def trained(self, rows: Sequence[int]) -> list[Trained]:
        """Hand out some replicas as they are now, with all that they hold; they must not be trained any further."""

    def parameters(self) -> list[dict[str, Floats]]:
        """Copy each replica's parameters, by the names of `Model.named_parameters`."""

    def tensors(self, rows: Sequence[int]) -> list[dict[str, NDArray[np.generic]]]:
        """Copy the tensors of some replicas by path: parameters, and whatever else may differ from a new model's."""


class Engine(Protocol):
    """An engine made ready for one model: one cell, its options, one hidden size, one optimizer.

    Attributes:
        name: `lanes`, `stack` or `reference`.
        isa: the instruction set that its numbers depend on.
        device: what it computes on: `cpu`, or the name of a card.
        compiler: the compiler and its version, or the versions of the library that does the arithmetic.
        width: how many replicas one chunk should hold to keep the engine busy.
        padded: replicas are trained in groups of this size; a smaller group takes as long as a full one.
        owns_models: whether it trains the models that `begin` is given, rather than copies of their numbers; then no
            two replicas may share one.
    """

    name: str
    isa: str
    device: str
    compiler: str
    width: int
    padded: int
    owns_models: bool

    def begin(self, models: Sequence[Model], learning_rates: Sequence[float]) -> Replicas:
        """Start replicas at the weights of `models`, each with its learning rate."""

    def resume(self, trained: Sequence[Trained]) -> Replicas:
        """Take trained replicas back, to evaluate them."""
