"""Arrays that were made lately and may be wanted again, as many as some bytes have room for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np
from numpy.typing import NDArray

Arrays = tuple[NDArray[np.float32], ...]

_OF_EACH = 1024
"""Bytes that an entry takes beside its numbers, roughly."""


class Recent:
    """A cache that forgets what was longest not asked for. `functools.lru_cache` counts entries, whatever their size.

    Args:
        most: bytes to hold.
    """

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self._entries: OrderedDict[Hashable, Arrays] = OrderedDict()
        """The one asked for last comes last."""
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Arrays]) -> Arrays:
        """The arrays of this key: kept ones, or new ones, which are then kept if there is room for them at all."""
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
                return found
        made = make()
        with self._lock:
            if key not in self._entries and _size(made) <= self._most:
                self._entries[key] = made
                self._held += _size(made)
            while self._held > self._most:
                self._held -= _size(self._entries.popitem(last=False)[1])
        return made


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays) + _OF_EACH
