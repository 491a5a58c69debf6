"""Copying memory: symbols are remembered through a delay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from cellbench.streams import Stream
from cellbench.task import Batch, Parameters, Task, Value
from cellbench_tasks.values import check_whole

SYMBOLS = 8
BLANK, GO = SYMBOLS, SYMBOLS + 1


class CopyingMemory(Task):
    """Uniform symbols 0 to 7, blanks (8), the signal to go (9), then blanks.

    The sequence has `delay` + 2 `items` steps: the items, `delay` - 1 blanks, the signal, `items` blanks. The answer is
    blank until the last `items` steps, which answer the symbols in order. All steps are scored, as in the paper.

    References:
        Hochreiter & Schmidhuber 1997, "Long Short-Term Memory"; Arjovsky, Shah & Bengio 2016, "Unitary Evolution
        Recurrent Neural Networks", arXiv:1511.06464, section 4.1, with 10 items.
    """

    kind: ClassVar[Literal["bits", "classes", "numbers"]] = "classes"
    tokens: ClassVar[bool] = True
    input_size: ClassVar[int] = SYMBOLS + 2
    output_size: ClassVar[int] = SYMBOLS + 1
    parameters: ClassVar[Mapping[str, str]] = {
        "items": "symbols to remember",
        "delay": "steps from the last symbol to the signal to write them",
    }
    final: ClassVar[Mapping[str, tuple[Value, ...]]] = {"delay": (8, 32, 128)}

    def check_parameter(self, name: str, value: object) -> None:
        """Both are whole numbers of 1 or more."""
        check_whole(name, value, 1)

    def batch(self, stream: Stream, examples: int, parameters: Parameters) -> Batch:
        """Draw symbols; see `Task.batch`."""
        items, delay = int(parameters["items"]), int(parameters["delay"])
        symbols = stream.integers(items, 0, SYMBOLS).T
        inputs = np.full((delay + 2 * items, examples), BLANK)
        targets = inputs.copy()
        inputs[:items], targets[-items:] = symbols, symbols
        inputs[items + delay - 1] = GO
        return inputs, targets

    def reference_accuracies(self, parameters: Parameters) -> Mapping[str, float]:
        """Give the accuracy of one who remembers nothing but when to write, and answers any symbol then."""
        items, delay = int(parameters["items"]), int(parameters["delay"])
        steps = delay + 2 * items
        return {"chance": 1 / (SYMBOLS + 1), "remembers no symbol": (delay + items + items / SYMBOLS) / steps}
