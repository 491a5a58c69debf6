"""The user's own line behind a traced operation, so that a refusal says where to look."""

from __future__ import annotations

import re
import sys
from typing import Any

import torch
from torch import fx

from cellbench.engines.lanes.graph.tape import Recording
from cellbench.engines.lines import of_frame, theirs, written
from cellbench.model import Model, seeded


def of_node(node: fx.Node) -> str | None:
    """Find the innermost such line of a traced node, from the stack that was recorded with it."""
    stack = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or node.stack_trace or "")
    for path, line in reversed(stack):
        if theirs(path):
            return written(path, int(line))
    return None


class Lines(Recording):  # type: ignore[no-untyped-call]
    """Lists the operations that run, each with its shapes and numbers, and the line that ran it.

    Attributes:
        operations: for each, what can be compared.
        lines: the line of each.
        drawn: the line of the first that drew random numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Any] = []
        self.lines: list[str | None] = []
        self.drawn: str | None = None

    def describe(self, tensor: torch.Tensor, result: bool) -> Any:
        """Describe a tensor by its shape and type."""
        return (tuple(tensor.shape), tensor.dtype)

    def note(self, func: Any, given: list[Any], made: list[Any]) -> None:
        """Add an operation and its line."""
        line = of_frame(sys._getframe(1))
        self.operations.append((str(func), given, made))
        self.lines.append(line)
        if self.drawn is None and torch.Tag.nondeterministic_seeded in getattr(func, "tags", ()):
            self.drawn = line or str(func)


def recorded(model: Model, inputs: int, batch: int) -> Lines:
    """Run two steps of a model on the data of `tape`, and list what ran."""
    found = Lines()
    x = torch.randn(2, batch, inputs, generator=torch.Generator().manual_seed(0))
    with torch.enable_grad(), seeded("lanes"), found:
        model(x)
    return found


def first_difference(one: Lines, two: Lines) -> str | None:
    """Find the line at which two runs part; None if they do not."""
    for a, b, line, other in zip(one.operations, two.operations, one.lines, two.lines, strict=False):
        if a != b:
            return line or other
    return None
