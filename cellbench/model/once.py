"""What is measured on a blueprint's models, once per process."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

from cellbench.model.blueprint import Blueprint

Measured = TypeVar("Measured")


def once(measure: Callable[[Blueprint], Measured]) -> Callable[[Blueprint], Measured]:
    """Remember what a function found of each blueprint; one with options that cannot be hashed is measured anew."""
    remembered = functools.lru_cache(maxsize=256)(measure)

    @functools.wraps(measure)
    def found(blueprint: Blueprint) -> Measured:
        try:
            hash(blueprint)
        except TypeError:
            return measure(blueprint)
        return remembered(blueprint)

    return found
