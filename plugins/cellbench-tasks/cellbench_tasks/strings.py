"""Strings of bits that are read to their end, then written in another order."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cellbench.streams import Stream
from cellbench.task import Batch, Parameters, Task, Value
from cellbench_tasks.values import check_whole

WRITE = 2
"""The token of each step at which a bit is to be written, after those of the bits 0 and 1."""


class Rewritten(Task):
    """Uniform bits, then as many steps with the token 2, at which the same bits are asked for in another order.

    The first answer is due at the first token 2. Steps before it are not scored.
    """

    kind: ClassVar[Literal["bits", "classes", "numbers"]] = "bits"
    tokens: ClassVar[bool] = True
    input_size: ClassVar[int] = 3
    output_size: ClassVar[int] = 1
    parameters: ClassVar[Mapping[str, str]] = {"length": "bits of the string; as many steps follow to write it"}
    final: ClassVar[Mapping[str, tuple[Value, ...]]] = {"length": (4, 8, 16, 32)}

    @staticmethod
    @abstractmethod
    def order(length: int) -> NDArray[np.int64]:
        """Return the places of the string, from 0, in the order in which they are written."""

    def check_parameter(self, name: str, value: object) -> None:
        """`length` is a whole number of 1 or more."""
        check_whole(name, value, 1)

    def batch(self, stream: Stream, examples: int, parameters: Parameters) -> Batch:
        """Draw strings; see `Task.batch`."""
        length = int(parameters["length"])
        bits = np.ascontiguousarray(stream.bits(length).T)
        inputs = np.concatenate([bits.astype(np.int64), np.full((length, examples), WRITE)])
        targets = np.concatenate([np.zeros_like(bits), bits[self.order(length)]])
        mask = np.repeat(np.array([0, 1], np.uint8), length)[:, None] * np.ones((1, examples), np.uint8)
        return inputs, targets.astype(np.float32)[:, :, None], mask

    def reference_accuracies(self, parameters: Parameters) -> Mapping[str, float]:
        """Give the accuracy of the best predictor that sees the last steps, as many as the string has bits."""
        length = int(parameters["length"])
        distance = length + np.arange(length) - self.order(length)
        known = float(np.mean(distance < length))
        return {"chance": 0.5, f"sees the last {length}": known + (1 - known) / 2}


class ReverseString(Rewritten):
    """The bits in reverse: the last one first. A stack does it, and no finite memory does at every length.

    References:
        Delétang et al. 2023, "Neural Networks and the Chomsky Hierarchy", arXiv:2207.02098.
    """

    @staticmethod
    def order(length: int) -> NDArray[np.int64]:
        """Return the places from the last to the first."""
        return np.arange(length)[::-1]


class OddsFirst(Rewritten):
    """The first, third, fifth, ... bit, then the second, fourth, ...

    The released code of the paper writes the second, fourth, ... first; its text and its examples are followed here.

    References:
        Delétang et al. 2023, "Neural Networks and the Chomsky Hierarchy", arXiv:2207.02098.
    """

    @staticmethod
    def order(length: int) -> NDArray[np.int64]:
        """Return the odd places, counted from 1, then the even ones."""
        return np.concatenate([np.arange(0, length, 2), np.arange(1, length, 2)])
