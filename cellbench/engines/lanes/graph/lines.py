"""The user's own line behind an operation, so that a refusal says where to look."""

from __future__ import annotations

import linecache
import os
import re
import sys
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import fx

from cellbench.engines.lanes.graph.tape import Recording
from cellbench.model import Model, seeded

_HOUSE = str(Path(__file__).resolve().parents[3])
_MODEL = os.path.join(_HOUSE, "model")
_NOT_THEIRS = (
    os.path.dirname(os.path.abspath(torch.__file__)),
    os.path.join(_HOUSE, "engines"),
    _MODEL,
    os.path.join(_HOUSE, "cell.py"),
)


def _theirs(path: str) -> bool:
    return not path.startswith(("<frozen", *_NOT_THEIRS)) and "contextlib.py" not in path


def _written(path: str, line: int) -> str:
    """Name a line as `file:line: what it says`."""
    text = linecache.getline(path, line).strip()
    return f"{os.path.basename(path)}:{line}" + (f": {text[:80]}" if text else "")


def of_frame(frame: FrameType | None) -> str | None:
    """Find the innermost line that is neither torch's nor ours, from a frame outwards, within a run of a model."""
    found: str | None = None
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(_MODEL):
            return found
        if found is None and _theirs(path):
            found = _written(path, frame.f_lineno)
        frame = frame.f_back
    return None


def of_traceback(traceback: TracebackType | None) -> str | None:
    """Find the innermost such line that an exception came through, beyond the model's own."""
    found, within = None, False
    while traceback is not None:
        path = traceback.tb_frame.f_code.co_filename
        within = within or path.startswith(_MODEL)
        if within and _theirs(path):
            found = _written(path, traceback.tb_lineno)
        traceback = traceback.tb_next
    return found


def of_node(node: fx.Node) -> str | None:
    """Find the innermost such line of a traced node, from the stack that was recorded with it."""
    stack = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or node.stack_trace or "")
    for path, line in reversed(stack):
        if _theirs(path):
            return _written(path, int(line))
    return None


def at(line: str | None) -> str:
    """Write a line in brackets, to be added to a reason; nothing if none is known."""
    return f" ({line})" if line else ""


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
