"""What a cell answered to a law, before it was trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cellbench.records.settings import Source

STEP = "takes-a-step"
"""The law that is asked first, at each hidden size: a step and a gradient can be computed, and are finite."""


@dataclass(frozen=True)
class Law:
    """A law: its name, what it demands in words, and its own text."""

    name: str
    shows: str
    text: Source


@dataclass(frozen=True)
class Answer:
    """The answer of a cell to a law.

    Attributes:
        law: the law.
        hidden_size: of the cell that was asked.
        torch, cellbench: the versions that it was asked with.
        status: `pass`; `fail`: the law is broken; `skip`: the cell does not allow the question; `raised`: the cell's
            own code raised in its factory, its first step or its gradient.
        message: how the law is broken, or what was raised, on one line.
        place: of what raised: the user's file and line, its code, and the shapes that came in; several lines.
    """

    law: Law
    hidden_size: int
    torch: str
    cellbench: str
    status: Literal["pass", "fail", "skip", "raised"]
    message: str = ""
    place: str = ""
