"""How a law is written: a function that takes a cell, and says what it tried or raises `Broken`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cellbench.conformance.subject import Check, Subject

Told = str | tuple[str, Mapping[str, Any]]
"""What a law says of a cell that keeps it, on one line; perhaps with the same as data for JSON."""


def law(shows: str, *, quick: bool = False) -> Callable[[Callable[[Subject], Told]], Check]:
    """Make a function a law, under its own name.

    Args:
        shows: what the law demands, in a few words; the function needs no docstring beside it.
        quick: whether it takes milliseconds, and is asked of every cell before it is trained.
    """

    def make(run: Callable[[Subject], Told]) -> Check:
        return Check(run.__name__.replace("_", "-"), True, shows, run, quick)

    return make
