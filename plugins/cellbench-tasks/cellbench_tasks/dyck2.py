"""Dyck-2: two kinds of brackets, well nested; which one may close next?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from cellbench.streams import Stream
from cellbench.task import Batch, Parameters, Task, Value
from cellbench_tasks.values import check_whole

NONE = 2
"""The answer where no bracket is open; 0 and 1 are the kinds of the one that must close next."""


class Dyck2(Task):
    """Well-nested strings of "(" (0), "[" (1), ")" (2), "]" (3), uniform among those of their length.

    After each symbol, next-step prediction asks for all symbols that may follow. Both opening ones always may, so the
    answer is which closing one may: of the first kind, the second, or none. Depth is not bounded; the deepest bracket
    grows with the square root of the length, so no finite memory is right at every length.

    References:
        Suzgun et al. 2019, "Memory-Augmented Recurrent Neural Networks Can Learn Generalized Dyck Languages",
        arXiv:1911.03329; Hewitt et al. 2020, "RNNs can generate bounded hierarchical languages with optimal memory",
        arXiv:2010.07515.
    """

    kind: ClassVar[Literal["bits", "classes", "numbers"]] = "classes"
    tokens: ClassVar[bool] = True
    input_size: ClassVar[int] = 4
    output_size: ClassVar[int] = 3
    parameters: ClassVar[Mapping[str, str]] = {"pairs": "pairs of brackets; the string has twice as many symbols"}
    final: ClassVar[Mapping[str, tuple[Value, ...]]] = {"pairs": (4, 8, 16, 32)}

    def check_parameter(self, name: str, value: object) -> None:
        """`pairs` is a whole number of 1 or more."""
        check_whole(name, value, 1)

    def batch(self, stream: Stream, examples: int, parameters: Parameters) -> Batch:
        """Draw strings; see `Task.batch`.

        Of the balanced strings that begin so, at depth d and with r symbols to come, the share (d + 2) (r - d) /
        (2 (d + 1) r) opens a bracket next: counts of the ballot problem.
        """
        pairs = int(parameters["pairs"])
        chance, kinds = stream.uniform(2 * pairs).T, stream.bits(2 * pairs).T
        inputs, targets = np.empty((2 * pairs, examples), np.int64), np.empty((2 * pairs, examples), np.int64)
        stack = np.full((pairs + 1, examples), NONE)  # row d: the kind of the bracket that is open at depth d
        depth, rows = np.zeros(examples, np.int64), np.arange(examples)
        for t in range(2 * pairs):
            rest = 2 * pairs - t
            opens = chance[t] < (depth + 2) * (rest - depth) / (2 * (depth + 1) * rest)
            inputs[t] = np.where(opens, kinds[t], 2 + stack[depth, rows])
            depth += np.where(opens, 1, -1)
            stack[depth[opens], rows[opens]] = kinds[t][opens]
            targets[t] = stack[depth, rows]
        return inputs, targets

    def reference_accuracies(self, parameters: Parameters) -> Mapping[str, float]:
        """Give the accuracy of the best predictor that sees this symbol alone.

        After an opening bracket it is right. After a closing one, no bracket is open in 3 n / (n + 2) of n cases on
        average, and the two kinds are as likely otherwise.
        """
        n = int(parameters["pairs"])
        empty = 3 * n / (n + 2)
        return {"chance": 1 / 3, "sees this symbol only": (n + max(empty, (n - empty) / 2)) / (2 * n)}
