"""Operations that only view their argument: arithmetic on places, no code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cellbench.engines.lanes.code.operations import OPERATIONS, View
from cellbench.engines.lanes.code.values import Shape, Value, expanded, permuted, reshaped, selected, sliced


def _one(function: Callable[[Sequence[Any], Value, Shape], Value | tuple[Value, ...] | None]) -> View:
    """Make a view of one value, not of a tuple of them."""

    def place(args: Sequence[Any], value: Value | tuple[Value, ...], shape: Shape) -> Any:
        return function(args, value, shape) if isinstance(value, Value) else None

    return View(place)


def _swap(value: Value, a: int, b: int) -> Value:
    order = list(range(len(value.shape)))
    order[a], order[b] = order[b], order[a]
    return permuted(value, order)


def placed_slice(args: Sequence[Any], value: Value, shape: Shape) -> Value:
    """View the result of aten.slice, given its arguments; starts may be negative, and past the end."""
    axis = args[1] % len(value.shape)
    length = value.shape[axis]
    start = 0 if args[2] is None else args[2]
    start = min(max(start + length if start < 0 else start, 0), length)
    return sliced(value, axis, start, shape[axis], args[4])


def _split(args: Sequence[Any], value: Value, shape: Shape) -> tuple[Value, ...]:
    axis = args[2] % len(value.shape)
    length, sizes = value.shape[axis], args[1]
    if isinstance(sizes, int):
        sizes = [min(sizes, length - start) for start in range(0, length, sizes)]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return tuple(sliced(value, axis, start, size) for start, size in zip(starts, sizes, strict=True))


def _unbind(args: Sequence[Any], value: Value, shape: Shape) -> tuple[Value, ...]:
    axis = args[1] % len(value.shape)
    return tuple(selected(value, axis, i) for i in range(value.shape[axis]))


def _select(args: Sequence[Any], value: Value, shape: Shape) -> Value:
    axis = args[1] % len(value.shape)
    return selected(value, axis, args[2] % value.shape[axis])


def _flip(args: Sequence[Any], value: Value, shape: Shape) -> Value:
    strides, offset = list(value.strides), 0
    for axis in args[1]:
        offset += (value.shape[axis] - 1) * strides[axis]
        strides[axis] = -strides[axis]
    return value.viewed(shape, strides, offset)


def _getitem(args: Sequence[Any], value: Value | tuple[Value, ...], shape: Shape) -> Value | None:
    return None if isinstance(value, Value) else value[args[1]]


for _name in ["view", "unsqueeze", "squeeze"]:
    OPERATIONS[_name] = _one(lambda args, value, shape: reshaped(value, shape))
for _name in ["alias", "clone", "lift_fresh_copy"]:
    OPERATIONS[_name] = _one(lambda args, value, shape: value)
for _name in ["split", "split_with_sizes"]:
    OPERATIONS[_name] = _one(_split)
OPERATIONS |= {
    "t": _one(lambda args, value, shape: permuted(value, range(len(shape))[::-1])),
    "transpose": _one(lambda args, value, shape: _swap(value, args[1], args[2])),
    "permute": _one(lambda args, value, shape: permuted(value, args[1])),
    "expand": _one(lambda args, value, shape: expanded(value, shape)),
    "slice": _one(placed_slice),
    "select": _one(_select),
    "unbind": _one(_unbind),
    "flip": _one(_flip),
    "getitem": View(_getitem),
}
