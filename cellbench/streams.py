"""Named randomness: a draw depends on its name and on its example, never on earlier draws.

A stream is named by axes such as `("data", "binary_addition", {"bits": 8}, 16, 0)`. The name is hashed to a key of
numpy's Philox, a counter-based generator (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), and each
example owns a fixed run of its counter. The examples of many steps can therefore be drawn in one call, in blocks of any
size.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Axis = str | int | float | None | tuple["Axis", ...]
"""One axis of a stream's name."""


def digest(*axes: Axis) -> bytes:
    """Hash the axes to 32 bytes: SHA-256 of their JSON text.

    >>> digest("data", 3).hex()[:16]
    '764afe7298903466'
    """
    return hashlib.sha256(json.dumps(axes, separators=(",", ":"), ensure_ascii=True).encode()).digest()


def seed(*axes: Axis) -> int:
    """Derive a seed in [0, 2^63) from a name, for generators that take one, such as torch's."""
    return int.from_bytes(digest(*axes)[:8], "little") >> 1


class Stream:
    """Randomness for the examples `start` to `start + count` of a named stream.

    Each method returns one row per example. A second call gives fresh numbers: calls are numbered.

    Args:
        axes: the name.
        start: the first example.
        count: how many examples.

    Attributes:
        count: how many examples.
    """

    def __init__(self, *axes: Axis, start: int = 0, count: int) -> None:
        self._axes = axes
        self._start = start
        self.count = count
        self._calls = 0

    @property
    def purpose(self) -> str:
        """What the examples are for, the name's first axis: `data` to train, `evaluation` or `final` to measure."""
        return str(self._axes[0])

    def _words(self, per_example: int) -> NDArray[np.uint64]:
        """Draw words of 64 random bits, shape (count, per_example)."""
        key = int.from_bytes(digest(*self._axes, self._calls)[:16], "little")
        self._calls += 1
        first = self._start * per_example
        # one tick of Philox's counter gives four words, so an example's first may come in the middle of a tick
        skip = first % 4
        raw = np.random.Philox(key=key, counter=first // 4).random_raw(self.count * per_example + skip)
        return np.asarray(raw, dtype=np.uint64)[skip:].reshape(self.count, per_example)

    def bits(self, width: int) -> NDArray[np.uint8]:
        """Draw fair bits, shape (count, width)."""
        words = self._words(-(-width // 64)).astype("<u8", copy=False)
        # as bytes, little-endian on every machine
        octets = np.ascontiguousarray(words).view(np.uint8)[:, : -(-width // 8)]
        return np.unpackbits(octets, axis=1, count=width, bitorder="little")

    def uniform(self, width: int) -> NDArray[np.float64]:
        """Draw numbers uniform in [0, 1) with 53 bits, shape (count, width)."""
        return np.asarray((self._words(width) >> np.uint64(11)) * 2.0**-53, np.float64)

    def integers(self, width: int, low: int, high: int) -> NDArray[np.int64]:
        """Draw whole numbers in [low, high), uniform to within 2^-53 (high - low), shape (count, width)."""
        return low + np.floor(self.uniform(width) * (high - low)).astype(np.int64)


class Joined(Stream):
    """Several streams, one after the other: first come the rows of the first, then those of the second, and so on.

    An example's numbers do not depend on what is drawn beside it, so one call serves all.

    Args:
        streams: to draw from, with one purpose.

    >>> a, b = Stream("data", 0, count=2), Stream("data", 1, count=1)
    >>> both = Joined([Stream("data", 0, count=2), Stream("data", 1, count=1)])
    >>> bool((both.bits(5) == np.concatenate([a.bits(5), b.bits(5)])).all())
    True
    """

    def __init__(self, streams: Sequence[Stream]) -> None:
        super().__init__(streams[0].purpose, count=sum(stream.count for stream in streams))
        self._streams = streams

    def _words(self, per_example: int) -> NDArray[np.uint64]:
        return np.concatenate([stream._words(per_example) for stream in self._streams])
