"""Operations with code of their own, except matrix products (those are in `products`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from cellbench.engines.lanes.code.operations import Body, indices, kernel, loops
from cellbench.engines.lanes.code.values import Shape, Value, contiguous, expanded, number, sliced
from cellbench.engines.lanes.code.views import placed_slice


@kernel("cat")
def _cat(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    target = body.home(node)
    axis, start = args[1] % len(target.shape), 0
    for part in args[0]:
        value = body.value(part)
        if value.size == 0:
            continue
        place = sliced(target, axis, start, value.shape[axis])
        if value != place:  # else the part was computed in its place
            body.copy(value, place)
        start += value.shape[axis]
    return target


def _axes(given: Any, rank: int) -> list[int]:
    """Turn an argument of axes (none, one or several, perhaps negative) into sorted axes; none means all."""
    if given is None or given == []:
        return list(range(rank))
    return sorted(axis % rank for axis in ([given] if isinstance(given, int) else given))


@dataclass(frozen=True)
class _Fold:
    """A reduction in C++: the accumulator `a` begins at `start`, takes each element {e} by `update`, gives `end`."""

    start: str
    update: str
    end: str = "{a}"


def _reduction(body: Body, node: fx.Node, given: Any, fold: _Fold) -> Value:
    """Write a reduction over the axes that were given."""
    source = body.value(node.args[0])
    target = body.home(node)
    axes = _axes(given, len(source.shape))
    kept = tuple(1 if axis in axes else n for axis, n in enumerate(source.shape))
    folded = tuple(n if axis in axes else 1 for axis, n in enumerate(source.shape))
    place = target.viewed(kept, contiguous(kept))
    element = source.at(indices(source.shape)) if source.lane else source.number_at(indices(source.shape))
    if source.mask and source.lane:  # a sum of truth values is a count
        element = f"vselect((vi){element}, S(1.f), S(0.f))"
    kind, splat = ("vf", "S") if target.lane else ("number", "all<number>")
    body.emit(
        f"{loops(kept)}{{ {kind} a = {splat}({fold.start}); {loops(folded)}{{ {fold.update.format(e=element)}; }} "
        f"{place.at(indices(kept))} = {fold.end.format(a='a')}; }}"
    )
    return target


@kernel("sum")
def _sum(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    return _reduction(body, node, args[1] if len(args) > 2 else None, _Fold("0.f", "a += {e}"))


@kernel("mean")
def _mean(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    count = _count(body.value(args[0]), args[1] if len(args) > 2 else None)
    fold = _Fold("0.f", "a += {e}", f"{{a}} * {number(1 / count)}")
    return _reduction(body, node, args[1] if len(args) > 2 else None, fold)


@kernel("amax")
def _amax(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    return _reduction(body, node, args[1], _Fold("-INFINITY", "a = vmax(a, {e})"))


@kernel("amin")
def _amin(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    return _reduction(body, node, args[1], _Fold("INFINITY", "a = vmin(a, {e})"))


def _count(value: Value, given: Any) -> int:
    return math.prod(value.shape[axis] for axis in _axes(given, len(value.shape)))


@kernel("cumsum")
def _cumsum(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    source, target = body.value(args[0]), body.home(node)
    axis = args[1] % len(source.shape)
    outer = tuple(1 if k == axis else n for k, n in enumerate(source.shape))
    index = [f"i{axis}" if k == axis else i for k, i in enumerate(indices(source.shape))]
    kind, zero = ("vf", "S(0.f)") if target.lane else ("number", "all<number>(0.f)")
    body.emit(
        f"{loops(outer)}{{ {kind} a = {zero}; for (int i{axis} = 0; i{axis} < {source.shape[axis]}; i{axis}++) "
        f"{{ a += {source.at(index)}; {target.at(index)} = a; }} }}"
    )
    return target


@kernel("slice_scatter")
def _slice_scatter(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    target, part = body.home(node), body.value(args[1])
    body.copy(body.value(args[0]), target)
    place = placed_slice([None, args[2], args[3], args[4], args[5]], target, part.shape)
    body.copy(part, place)
    return target


@kernel("constant_pad_nd")
def _constant_pad(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    source, target = body.value(args[0]), body.home(node)
    body.copy(Value("", 0, target.shape, (0,) * len(target.shape), False, literal=float(args[2])), target)
    place = target
    for pair in range(len(args[1]) // 2):
        axis = len(target.shape) - 1 - pair
        before, after = args[1][2 * pair : 2 * pair + 2]  # a negative one cuts off
        length = source.shape[axis] + min(before, 0) + min(after, 0)
        source = sliced(source, axis, max(-before, 0), length)
        place = sliced(place, axis, max(before, 0), length)
    body.copy(source, place)
    return target


def _numbered(body: Body, node: fx.Node, shape: Shape) -> torch.Tensor:
    """Apply an operation that only moves elements to an array of their numbers, to see where each one goes.

    Args:
        body: knows the constants.
        node: the operation; its tensors other than the first must be constant.
        shape: of its first tensor.
    """

    def known(argument: fx.Node) -> torch.Tensor:
        tensor = body.constant(argument)
        if tensor is None:
            raise NotImplementedError(f"{node.target} with an index that is computed")
        return tensor

    count = math.prod(shape)
    rest = fx.node.map_arg(node.args[1:], known)
    return torch.as_tensor(node.target(torch.arange(count).reshape(shape), *rest, **node.kwargs))  # type: ignore[operator]


MOVES = "index index_select gather repeat diagonal"
"""Operations that only move elements."""


@kernel(*MOVES.split())
def _move(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    """Copy elements by a table that says which element of the source each element of the result is."""
    source, target = body.dense(body.value(args[0])), body.home(node)
    table = body.table(_numbered(body, node, source.shape).flatten().tolist())
    base = source.pointer()
    body.emit(f"for (int i = 0; i < {target.size}; i++) ({target.pointer()})[i] = ({base})[{table}[i]];")
    return target


@kernel("index_put")
def _index_put(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    known = [None if index is None else body.constant(index) for index in args[1]]
    if any(index is not None and known[i] is None for i, index in enumerate(args[1])):
        raise NotImplementedError("an index that is computed")
    target = body.home(node)
    places = torch.ops.aten.index(torch.arange(target.size).reshape(target.shape), known)
    body.copy(body.value(args[0]), target)
    return _scatter(body, target, places, args[2], "+=" if args[3] else "=")


@kernel("scatter_add")
def _scatter_add(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    index = body.constant(args[2])
    if index is None:
        raise NotImplementedError("an index that is computed")
    target = body.home(node)
    places = torch.gather(torch.arange(target.size).reshape(target.shape), args[1], index)
    body.copy(body.value(args[0]), target)
    return _scatter(body, target, places, args[3], "+=")


@kernel("diagonal_scatter")
def _diagonal_scatter(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    target = body.home(node)
    places = torch.diagonal(torch.arange(target.size).reshape(target.shape), *args[2:])
    body.copy(body.value(args[0]), target)
    return _scatter(body, target, places, args[1], "=")


def _scatter(body: Body, target: Value, places: torch.Tensor, part: fx.Node, operator: str) -> Value:
    """Store each element of `part` at an index of the flat target; a table of `places` gives the indices."""
    table = body.table(places.flatten().tolist())
    value = expanded(body.value(part), tuple(places.shape))
    flat = [f"i{k} * {s}" for k, (n, s) in enumerate(zip(value.shape, contiguous(value.shape), strict=True)) if n != 1]
    element = value.at(indices(value.shape)) if target.lane else value.number_at(indices(value.shape))
    element = f"S({element})" if target.lane and not value.lane else element
    index = f"{table}[{' + '.join(flat) or '0'}]"
    body.emit(f"{loops(value.shape)}({target.pointer()})[{index}] {operator} {element};")
    return target


@kernel("linalg_inv_ex")
def _inverse(body: Body, node: fx.Node, args: Sequence[Any]) -> tuple[Value, ...]:
    """Invert matrices of numbers, one after the other; the second result, whether it went well, is not computed."""
    source = body.value(args[0])
    if source.lane:
        raise NotImplementedError("of a matrix that differs between examples")
    source, size = body.dense(source), source.shape[-1]
    target = body.scratch(source.shape)
    for first in range(0, source.size, size * size):
        body.emit(f"inverse<{size}>({target.pointer()} + {first}, {source.pointer()} + {first});")
    return target, target
