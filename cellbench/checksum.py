"""A checksum of each stored replica: sqlite notices a torn page, not a changed number."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Row = Sequence[Any]


def of(key: str, key_text: str, numbers: Row, curve: Iterable[Row], evaluations: Iterable[Row]) -> str:
    """16 hexadecimal digits.

    Args:
        key, key_text: the replica's.
        numbers: what became of it, as sqlite gives it back.
        curve, evaluations: their rows, in order, likewise.
    """
    parts = (key, key_text, tuple(numbers), [tuple(row) for row in curve], [tuple(row) for row in evaluations])
    text = "".join([f"{part!r}\0" for part in parts])
    return hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()


def by_replica(rows: Iterable[tuple[Any, ...]]) -> Callable[[int], list[tuple[Any, ...]]]:
    """`replica -> its rows`, for replicas asked in rising order, from rows sorted by replica: one pass."""
    groups = itertools.groupby(rows, key=lambda row: row[0])
    held: tuple[int, list[tuple[Any, ...]]] = (-1, [])

    def of(replica: int) -> list[tuple[Any, ...]]:
        nonlocal held
        while held[0] < replica:
            number, group = next(groups, (None, ()))
            if number is None:
                return []
            held = (number, [row[1:] for row in group])
        return held[1] if held[0] == replica else []

    return of
