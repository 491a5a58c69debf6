"""A checksum of each stored replica: sqlite notices a torn page, not a changed number."""

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
    """16 hexadecimal digits.

    Args:
        who: the replica's key, and what else says which one it is.
        numbers: the columns `NUMBERS`: what became of it, as sqlite gives it back.
        curve, evaluations: their rows, in order, likewise; two shares end an evaluation.

    Raises:
        TypeError: where a number should be there is something else.
    """
    numbers = _without_unknown(numbers)
    # numbers with a fraction as their eight bytes: to write them out took most of the time of storing a replica
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
    """Of doubles, the least significant first; None, which is sqlite's NaN, as the usual one."""
    try:
        found = array("d", values)
    except TypeError:
        found = array("d", [math.nan if x is None else x for x in values])
    if sys.byteorder == "big":
        found.byteswap()
    return found.tobytes()


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
