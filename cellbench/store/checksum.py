"""A checksum of each stored replica: sqlite detects a torn page, but not a changed number."""

from __future__ import annotations

import hashlib
import itertools
import math
import sys
from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from cellbench.store.schema import LATER

Row = Sequence[Any]


def of(who: Row, numbers: Row, curve: Sequence[Row], evaluations: Sequence[Row]) -> str:
    """Hash a stored replica to 16 hexadecimal digits.

    Args:
        who: the columns that identify it.
        numbers: the columns `NUMBERS` of its outcome, as sqlite returns them.
        curve, evaluations: its rows in order, as sqlite returns them; the last two columns of an evaluation are shares.

    Raises:
        TypeError: a value that must be a number is something else.
    """
    numbers = _without_unknown(numbers)
    # floats are hashed as their eight bytes: writing them as text took most of the time of storing a replica
    words = [... if type(x) is float else x for x in numbers]
    text = repr((*who, *words, len(curve), [row[:-2] for row in evaluations]))
    fractions = [x for x in numbers if type(x) is float]
    values = chain(fractions, chain.from_iterable(curve), chain.from_iterable([row[-2:] for row in evaluations]))
    digest = hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8)
    digest.update(_bytes(list(values)))
    return digest.hexdigest()


def _without_unknown(numbers: Row) -> Row:
    """Leave out the columns that older stores do not have, where they are NULL."""
    later = [x for x in zip(LATER, numbers[-len(LATER) :], strict=True) if x[1] is not None]
    return [*numbers[: -len(LATER)], *later]


def _bytes(values: list[Any]) -> bytes:
    """Convert doubles to bytes, least significant first; None, as which sqlite returns NaN, becomes the usual NaN."""
    try:
        found = array("d", values)
    except TypeError:
        found = array("d", [math.nan if x is None else x for x in values])
    if sys.byteorder == "big":
        found.byteswap()
    return found.tobytes()


def by_replica(rows: Iterable[tuple[Any, ...]]) -> Callable[[int], list[tuple[Any, ...]]]:
    """Return a function `replica -> its rows` that reads rows sorted by replica once.

    It must be called with rising replicas.
    """
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
