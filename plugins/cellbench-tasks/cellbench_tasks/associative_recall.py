"""Multi-query associative recall: keys with values, then all keys again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from cellbench.streams import Stream
from cellbench.task import Batch, Parameters, Task, Value
from cellbench_tasks.values import check_whole

KEYS = 16
"""Keys 0 to 15 and values 16 to 31: the original's vocabulary of 8,192 has as many of the one as of the other."""
BLANK = 2 * KEYS
POWER = 0.01
"""Of the law by which queries come soon: the original's `power_a`."""


class AssociativeRecall(Task):
    """Pairs of a key and a value, all different, then each key once among blanks; asked there is its value.

    After the pairs there are `pairs` * `spread` places. Key i is asked for at a place that it draws, after the keys
    before it and without the places that these have, with a probability proportional to place^(0.01 - 1): soon, and
    with a long tail. Steps without a query are not scored.

    The original has a second, unscored step after each query, and fills all other steps with random symbols.

    References:
        Arora et al. 2023, "Zoology: Measuring and Improving Recall in Efficient Language Models", arXiv:2312.04927.
    """

    kind: ClassVar[Literal["bits", "classes", "numbers"]] = "classes"
    tokens: ClassVar[bool] = True
    input_size: ClassVar[int] = 2 * KEYS + 1
    output_size: ClassVar[int] = KEYS
    parameters: ClassVar[Mapping[str, str]] = {
        "pairs": "keys, each with a value",
        "spread": "steps after the pairs, per pair, in which the keys are asked for",
    }
    final: ClassVar[Mapping[str, tuple[Value, ...]]] = {"pairs": (2, 4, 8)}

    def check_parameter(self, name: str, value: object) -> None:
        """`pairs` is a whole number from 1 to 16, `spread` one of 1 or more."""
        check_whole(name, value, 1, KEYS if name == "pairs" else None)

    def batch(self, stream: Stream, examples: int, parameters: Parameters) -> Batch:
        """Draw pairs and queries; see `Task.batch`."""
        pairs, places = int(parameters["pairs"]), int(parameters["pairs"]) * int(parameters["spread"])
        # the order of uniform numbers is a uniform order
        keys = np.argsort(stream.uniform(KEYS), axis=1, kind="stable")[:, :pairs].T
        values = np.argsort(stream.uniform(KEYS), axis=1, kind="stable")[:, :pairs].T
        # the first arrivals at rates p_i are draws without replacement with probabilities proportional to p_i
        arrival = -np.log1p(-stream.uniform(places)) / np.arange(1, places + 1) ** (POWER - 1)
        asked = np.argsort(arrival, axis=1, kind="stable")[:, :pairs].T + 2 * pairs
        inputs = np.full((2 * pairs + places, examples), BLANK)
        targets, mask = np.zeros(inputs.shape, np.int64), np.zeros(inputs.shape, np.uint8)
        inputs[0 : 2 * pairs : 2], inputs[1 : 2 * pairs : 2] = keys, KEYS + values
        rows = np.arange(examples)[None, :]
        inputs[asked, rows], targets[asked, rows], mask[asked, rows] = keys, values, 1
        return inputs, targets, mask

    def reference_accuracies(self, parameters: Parameters) -> Mapping[str, float]:
        """Give the accuracies of any answer, and of one who knows all values but not whose they are."""
        return {"chance": 1 / KEYS, "knows the values, not whose": 1 / int(parameters["pairs"])}
