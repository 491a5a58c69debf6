"""The flip-flop language: a bit is written, kept through distractions, and read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from cellbench.streams import Stream
from cellbench.task import Batch, Parameters, Task, Value
from cellbench_tasks.values import check_whole

WRITE, READ, IGNORE = 2, 3, 4
"""The tokens of the instructions, after those of the bits 0 and 1."""


class FlipFlop(Task):
    """Instructions w, r and i with a bit after each; the first is w, the last r. Asked at r: the bit last written.

    Each other instruction is i with probability `ignore`, else w or r, as likely. The bits after w and i are uniform;
    that after r is the one last written. Only the steps of r are scored.

    References:
        Liu et al. 2023, "Exposing Attention Glitches with Flip-Flop Language Modeling", arXiv:2306.00946: trained at
        length 512 with `ignore` 0.8, tested at 0.98 and 0.1 too.
    """

    kind: ClassVar[Literal["bits", "classes", "numbers"]] = "bits"
    tokens: ClassVar[bool] = True
    input_size: ClassVar[int] = 5
    output_size: ClassVar[int] = 1
    parameters: ClassVar[Mapping[str, str]] = {
        "instructions": "instructions of a string, which has a bit after each",
        "ignore": "probability of the instruction to ignore a bit",
    }
    final: ClassVar[Mapping[str, tuple[Value, ...]]] = {"instructions": (16, 64, 256), "ignore": (0.1, 0.8, 0.98)}

    def check_parameter(self, name: str, value: object) -> None:
        """`instructions` is a whole number of 2 or more, `ignore` a number from 0 to 1."""
        if name == "instructions":
            check_whole(name, value, 2)
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"{name} must be a number from 0 to 1")

    def batch(self, stream: Stream, examples: int, parameters: Parameters) -> Batch:
        """Draw strings; see `Task.batch`."""
        count, ignore = int(parameters["instructions"]), float(parameters["ignore"])
        u, bits = stream.uniform(count).T, np.ascontiguousarray(stream.bits(count).T).astype(np.int64)
        which = np.where(u < ignore, IGNORE, np.where(u < (1 + ignore) / 2, WRITE, READ))
        which[0], which[-1] = WRITE, READ
        kept = bits[0]
        targets, mask = np.zeros((2 * count, examples), np.float32), np.zeros((2 * count, examples), np.uint8)
        for i in range(count):
            kept = np.where(which[i] == WRITE, bits[i], kept)
            bits[i] = np.where(which[i] == READ, kept, bits[i])
            targets[2 * i], mask[2 * i] = np.where(which[i] == READ, kept, 0), which[i] == READ
        inputs = np.empty((2 * count, examples), np.int64)
        inputs[::2], inputs[1::2] = which, bits
        return inputs, targets[:, :, None], mask

    def reference_accuracies(self, parameters: Parameters) -> Mapping[str, float]:
        """Give the accuracy of the best predictor that sees the last k instructions with their bits, and the question.

        It is right if one of these wrote or read, else by chance.
        """
        count, ignore = int(parameters["instructions"]), float(parameters["ignore"])
        weights = np.full(count, (1 - ignore) / 2)  # how many questions there are at each place
        weights[0], weights[-1] = 0, 1
        places = np.arange(count)
        found = {"chance": 0.5}
        for k in (1, 4):
            known = np.where(places <= k, 1.0, 1 - ignore**k)
            found[f"sees the last {k}"] = float(np.average(known + (1 - known) / 2, weights=weights))
        return found
