"""The seeds of an experiment as they are stored: a list of fixed ones, or the first and the most of staged ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def staged(first: int, to: int) -> dict[str, int]:
    """Write seeds until decided as an experiment file has them."""
    return {"from": first, "to": to}


def stages_of(seeds: Any) -> tuple[int, int] | None:
    """Read the seeds of the first look, and the most; None for fixed seeds."""
    return (seeds["from"], seeds["to"]) if isinstance(seeds, Mapping) else None


def seeds_of(seeds: Any) -> list[int]:
    """List all seeds that may be trained.

    >>> seeds_of({"from": 5, "to": 8}), seeds_of([100, 101])
    ([0, 1, 2, 3, 4, 5, 6, 7], [100, 101])
    """
    found = stages_of(seeds)
    return list(seeds) if found is None else list(range(found[1]))
