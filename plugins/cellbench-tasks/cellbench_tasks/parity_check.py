"""Parity: is the number of ones so far odd?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from cellbench.streams import Stream
from cellbench.task import Batch, Parameters, Task, Value
from cellbench_tasks.values import check_whole


class ParityCheck(Task):
    """Uniform bits; after each, the parity of all bits so far.

    The original asks once, at the end of strings of many lengths. Asked after each bit, one string of `length` bits is
    a string of every length up to it.

    References:
        Delétang et al. 2023, "Neural Networks and the Chomsky Hierarchy", arXiv:2207.02098.
    """

    kind: ClassVar[Literal["bits", "classes", "numbers"]] = "bits"
    tokens: ClassVar[bool] = True
    input_size: ClassVar[int] = 2
    output_size: ClassVar[int] = 1
    parameters: ClassVar[Mapping[str, str]] = {"length": "bits of the string"}
    final: ClassVar[Mapping[str, tuple[Value, ...]]] = {"length": (16, 64, 256)}

    def check_parameter(self, name: str, value: object) -> None:
        """`length` is a whole number of 1 or more."""
        check_whole(name, value, 1)

    def batch(self, stream: Stream, examples: int, parameters: Parameters) -> Batch:
        """Draw bits and their running parity; see `Task.batch`."""
        bits = np.ascontiguousarray(stream.bits(int(parameters["length"])).T)
        parity = np.bitwise_xor.accumulate(bits, axis=0)
        return bits.astype(np.int64), parity.astype(np.float32)[:, :, None]

    def reference_accuracies(self, parameters: Parameters) -> Mapping[str, float]:
        """Give the accuracy of the best predictor that sees the last k bits: right while that is all, else by chance.

        >>> ParityCheck().reference_accuracies({"length": 8})["sees the last 4"]
        0.75
        """
        n = int(parameters["length"])
        known = {f"sees the last {k}" if k > 1 else "sees this bit only": min(k, n) for k in (1, 4)}
        return {"chance": 0.5, **{name: (k + (n - k) / 2) / n for name, k in known.items()}}
