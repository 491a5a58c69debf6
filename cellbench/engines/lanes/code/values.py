"""Where a tensor of the traced graph is in the generated C++, and views as arithmetic on that place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

Shape = tuple[int, ...]
TABLE = "c"
"""The names of tables of constants begin with this, and those of no buffer do."""


def contiguous(shape: Sequence[int]) -> Shape:
    """Compute the strides of a dense array of this shape, in elements.

    >>> contiguous((2, 3))
    (3, 1)
    """
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def broadcast(*shapes: Shape) -> Shape:
    """Compute the shape of a sum of tensors of these shapes.

    >>> broadcast((3,), (2, 1))
    (2, 3)
    """
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(max(lengths) for lengths in zip(*padded, strict=True))


@dataclass(frozen=True)
class Value:
    """A strided view of a buffer of the generated code.

    Attributes:
        buffer: the name of the C++ pointer.
        offset: the offset of the first element.
        shape: as in the graph, which was traced at batch 1.
        strides: in elements; 0 for a broadcast axis.
        lane: whether an element is a vector with one lane per example (`vf`); otherwise a replica's lanes share it.
        mask: whether the elements are truth values.
        literal: the number that all elements are; the value then has no buffer.
    """

    buffer: str
    offset: int
    shape: Shape
    strides: Shape
    lane: bool
    mask: bool = False
    literal: float | None = None

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def at(self, indices: Sequence[str | None]) -> str:
        """Write the C++ expression of one element, given one index per axis; None for axes of length 1."""
        if self.literal is not None:
            return number(self.literal)
        terms = [
            index if stride == 1 else f"{index} * {stride}"
            for index, stride, length in zip(indices, self.strides, self.shape, strict=True)
            if index is not None and length != 1 and stride != 0
        ]
        if self.offset or not terms:
            terms.insert(0, str(self.offset))
        return f"{self.buffer}[{' + '.join(terms)}]"

    def number_at(self, indices: Sequence[str | None]) -> str:
        """Write one element that lanes share as C++'s `number`; literals and tables have one float for all replicas."""
        text = self.at(indices)
        return f"all<number>({text})" if self.constant else text

    @property
    def constant(self) -> bool:
        """Whether it is a literal or a table of constants (see `Nodes.table`)."""
        return self.literal is not None or self.buffer.startswith(TABLE)

    def pointer(self) -> str:
        """Write the C++ expression of the address of the first element."""
        return f"{self.buffer} + {self.offset}" if self.offset else self.buffer

    def viewed(self, shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> Value:
        """View the same storage with another shape, `offset` elements further on."""
        return replace(self, shape=tuple(shape), strides=tuple(strides), offset=self.offset + offset)


def number(value: float) -> str:
    """Write a float literal of C++.

    >>> number(0.5), number(float("-inf"))
    ('0.5f', '(-INFINITY)')
    """
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "(-INFINITY)"
    text = repr(float(value))
    return f"{text}f" if value >= 0 else f"({text}f)"


def reshaped(value: Value, shape: Shape) -> Value | None:
    """View a value in another shape of the same size; None if only a copy can have that shape."""
    if value.literal is not None:
        return value.viewed(shape, (0,) * len(shape))
    axes = [(n, s) for n, s in zip(value.shape, value.strides, strict=True) if n != 1]
    strides: list[int] = []
    # walk both shapes from the right; a new axis must fit into old axes that are dense among themselves
    i = len(axes) - 1
    room, stride = (axes[i][0], axes[i][1]) if axes else (1, 0)
    for length in reversed(shape):
        if length == 1:
            strides.append(0)
            continue
        while room % length and i > 0 and axes[i - 1][1] == axes[i][1] * axes[i][0]:
            i -= 1
            room *= axes[i][0]
        # the new axis would cross a gap between old ones
        if room % length:
            return None
        strides.append(stride)
        room //= length
        stride *= length
        if room == 1 and i > 0:
            i -= 1
            room, stride = axes[i]
    return value.viewed(shape, tuple(reversed(strides)))


def permuted(value: Value, order: Sequence[int]) -> Value:
    """Permute axes: axis i of the result is axis `order[i]` of the value."""
    order = [axis % len(value.shape) for axis in order]
    return value.viewed([value.shape[axis] for axis in order], [value.strides[axis] for axis in order])


def expanded(value: Value, shape: Shape) -> Value:
    """Broadcast a value to a shape, aligned at the right."""
    padding = len(shape) - len(value.shape)
    strides = [0 if length == 1 else stride for length, stride in zip(value.shape, value.strides, strict=True)]
    return value.viewed(shape, [0] * padding + strides)


def sliced(value: Value, axis: int, start: int, length: int, step: int = 1) -> Value:
    """Take `length` elements of one axis, every `step`-th from `start` on."""
    shape, strides = list(value.shape), list(value.strides)
    offset = start * strides[axis]
    shape[axis] = length
    strides[axis] *= step
    return value.viewed(shape, strides, offset)


def selected(value: Value, axis: int, index: int) -> Value:
    """Take one index of an axis, and drop the axis."""
    one = sliced(value, axis, index, 1)
    return one.viewed(one.shape[:axis] + one.shape[axis + 1 :], one.strides[:axis] + one.strides[axis + 1 :])
