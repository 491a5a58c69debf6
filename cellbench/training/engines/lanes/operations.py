"""The operations that lanes can carry: one entry an operation, of one of three kinds.

- `pointwise`: a C++ expression of its arguments' elements. Runs of them become one loop.
- `view`: where the result lies, given where the argument lies. No code at all.
- `kernel`: code of its own, written through a `Body`.

To add an operation, add one entry and one case to tests/test_lanes_operations.py. Names are those of ATen without the
overload, after torch's core decompositions; functions starting with `v` are defined in lanes.h for a vector of lanes
(`vf`, truth values `vi`) and for a single float. Anything that only moves elements about is an entry of `MOVES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import fx

from cellbench.training.engines.lanes.values import (
    Shape,
    Value,
    contiguous,
    expanded,
    number,
    permuted,
    reshaped,
    selected,
    sliced,
)


class Expression(str):
    """A C++ expression; of a scalar argument also its number."""

    number: float | None = None


class Body(Protocol):
    """The C++ function that is being written."""

    def value(self, argument: Any) -> Value:
        """Where a node (or a number) lies."""

    def home(self, node: fx.Node) -> Value:
        """The dense place in which a node's result has to be stored."""

    def emit(self, line: str) -> None:
        """Add a line of C++."""

    def copy(self, source: Value, target: Value, operator: str = "=") -> None:
        """Store one value in another of the same shape, broadcast if need be."""

    def constant(self, node: fx.Node) -> torch.Tensor | None:
        """The tensor that a node always is, if it depends on nothing."""

    def table(self, numbers: Sequence[int]) -> str:
        """The name of a constant table of int."""


@dataclass(frozen=True)
class Pointwise:
    """An operation on elements.

    Attributes:
        expression: of the arguments' expressions, in the order of the schema; absent arguments are None.
        masks: the arguments that are truth values; others are numbers, and truth values given for them become 1 and 0.
    """

    expression: Callable[..., str]
    masks: tuple[int, ...] = ()


@dataclass(frozen=True)
class View:
    """A view: (arguments as the node has them, value of the first, result's shape) -> value or values, or None."""

    place: Callable[[Sequence[Any], Value | tuple[Value, ...], Shape], Value | tuple[Value, ...] | None]


@dataclass(frozen=True)
class Kernel:
    """An operation with code of its own, which stores its result and says where."""

    write: Callable[[Body, fx.Node, Sequence[Any]], Value | tuple[Value, ...]]


OPERATIONS: dict[str, Pointwise | View | Kernel] = {}


def arguments(node: fx.Node) -> list[Any]:
    """A node's arguments by their place in the operation's schema, defaults filled in."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return list(node.args)
    given = list(node.args)
    for argument in schema.arguments[len(given) :]:
        given.append(node.kwargs.get(argument.name, argument.default_value))
    return given


def shape_of(node: fx.Node) -> Shape:
    """The shape of a node's result."""
    return tuple(node.meta["val"].shape)


# ---------------------------------------------------------------------------------------------------- pointwise


def _call(function: str) -> Callable[..., str]:
    return lambda *given: f"{function}({', '.join(given)})"


def _infix(symbol: str) -> Callable[[str, str], str]:
    return lambda a, b: f"({a} {symbol} {b})"


def _add(a: str, b: str, alpha: Expression | None = None) -> str:
    return f"({a} + {b})" if alpha is None or alpha.number == 1 else f"({a} + {alpha} * {b})"


def _sub(a: str, b: str, alpha: Expression | None = None) -> str:
    return f"({a} - {b})" if alpha is None or alpha.number == 1 else f"({a} - {alpha} * {b})"


def _clamp(a: str, low: str | None = None, high: str | None = None) -> str:
    a = a if low is None else f"vmax({a}, {low})"
    return a if high is None else f"vmin({a}, {high})"


def _pow(a: str, b: Expression) -> str:
    exponent = b.number
    if exponent is None:
        return f"vpow({a}, {b})"
    if exponent in (1, 2, 3, 4, -1, -2, -3, -4):
        product = "(" + " * ".join([a] * int(abs(exponent))) + ")"
        return product if exponent > 0 else f"vreciprocal({product})"
    if abs(exponent) == 0.5:
        return f"vsqrt({a})" if exponent > 0 else f"vreciprocal(vsqrt({a}))"
    return f"vpow({a}, {b})"


def _div(a: str, b: str, rounding_mode: str | None = None) -> str:
    return {None: f"({a} / {b})", "floor": f"vfloor({a} / {b})", "trunc": f"vtrunc({a} / {b})"}[rounding_mode]


_FUNCTIONS = (
    "sigmoid tanh exp exp2 expm1 log log2 log10 log1p sqrt sin cos tan asin acos atan sinh cosh asinh acosh atanh erf erfc "
    "floor ceil trunc round sign relu reciprocal"
)
for _name in _FUNCTIONS.split():
    OPERATIONS[_name] = Pointwise(_call(f"v{_name}"))
OPERATIONS |= {
    "add": Pointwise(_add),
    "sub": Pointwise(_sub),
    "rsub": Pointwise(lambda a, b, alpha=None: _sub(b, a, alpha)),
    "mul": Pointwise(_infix("*")),
    "div": Pointwise(_div),
    "neg": Pointwise(lambda a: f"(-{a})"),
    "abs": Pointwise(_call("vabs")),
    "rsqrt": Pointwise(lambda a: f"vreciprocal(vsqrt({a}))"),
    "maximum": Pointwise(_call("vmax")),
    "minimum": Pointwise(_call("vmin")),
    "clamp": Pointwise(_clamp),
    "pow": Pointwise(_pow),
    "atan2": Pointwise(_call("vatan2")),
    "fmod": Pointwise(_call("vfmod")),
    "where": Pointwise(_call("vselect"), masks=(0,)),
    "logical_not": Pointwise(_call("vnot"), masks=(0,)),
    "bitwise_not": Pointwise(_call("vnot"), masks=(0,)),
    "logical_and": Pointwise(_infix("&"), masks=(0, 1)),
    "bitwise_and": Pointwise(_infix("&"), masks=(0, 1)),
    "logical_or": Pointwise(_infix("|"), masks=(0, 1)),
    "bitwise_or": Pointwise(_infix("|"), masks=(0, 1)),
    "isnan": Pointwise(lambda a: f"({a} != {a})"),
    "_to_copy": Pointwise(lambda a, *options: a),
}
for _name, _symbol in {"gt": ">", "lt": "<", "ge": ">=", "le": "<=", "eq": "==", "ne": "!="}.items():
    OPERATIONS[_name] = Pointwise(_infix(_symbol))


# -------------------------------------------------------------------------------------------------------- views


def _one(function: Callable[[Sequence[Any], Value, Shape], Value | tuple[Value, ...] | None]) -> View:
    """A view of one value."""

    def place(args: Sequence[Any], value: Value | tuple[Value, ...], shape: Shape) -> Any:
        return function(args, value, shape) if isinstance(value, Value) else None

    return View(place)


def _swap(value: Value, a: int, b: int) -> Value:
    order = list(range(len(value.shape)))
    order[a], order[b] = order[b], order[a]
    return permuted(value, order)


def _slice(args: Sequence[Any], value: Value, shape: Shape) -> Value:
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


for _name in "view _unsafe_view reshape unsqueeze squeeze".split():
    OPERATIONS[_name] = _one(lambda args, value, shape: reshaped(value, shape))
for _name in "alias detach clone lift_fresh_copy contiguous".split():
    OPERATIONS[_name] = _one(lambda args, value, shape: value)
for _name in "split split_with_sizes unsafe_split".split():
    OPERATIONS[_name] = _one(_split)
OPERATIONS |= {
    "t": _one(lambda args, value, shape: permuted(value, range(len(shape))[::-1])),
    "transpose": _one(lambda args, value, shape: _swap(value, args[1], args[2])),
    "permute": _one(lambda args, value, shape: permuted(value, args[1])),
    "expand": _one(lambda args, value, shape: expanded(value, shape)),
    "slice": _one(_slice),
    "select": _one(_select),
    "unbind": _one(_unbind),
    "flip": _one(_flip),
    "getitem": View(_getitem),
}


# ------------------------------------------------------------------------------------------------------ kernels


def kernel(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function (body, node, arguments) -> value as the code of operations."""

    def register(write: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            OPERATIONS[name] = Kernel(write)
        return write

    return register


def loops(shape: Shape, prefix: str = "i") -> str:
    """Nested for loops over the axes longer than 1: `for (int i0 = 0; ...)`."""
    return "".join(
        f"for (int {prefix}{k} = 0; {prefix}{k} < {n}; {prefix}{k}++) " for k, n in enumerate(shape) if n != 1
    )


def indices(shape: Shape, prefix: str = "i") -> list[str | None]:
    """The indices of `loops`."""
    return [f"{prefix}{k}" if n != 1 else None for k, n in enumerate(shape)]


@kernel("cat")
def _cat(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    target = body.home(node)
    axis, start = args[1] % len(target.shape), 0
    for part in args[0]:
        value = body.value(part)
        if value.size == 0:
            continue
        place = sliced(target, axis, start, value.shape[axis])
        if value != place:  # a part that was computed into its place already
            body.copy(value, place)
        start += value.shape[axis]
    return target


def _axes(given: Any, rank: int) -> list[int]:
    if given is None or given == []:
        return list(range(rank))
    return sorted(axis % rank for axis in ([given] if isinstance(given, int) else given))


def _reduction(body: Body, node: fx.Node, given: Any, start: str, update: str, end: str = "{a}") -> Value:
    """Fold some axes: `a = start`, then `update` with each element {e}, then `end`."""
    source = body.value(node.args[0])
    target = body.home(node)
    axes = _axes(given, len(source.shape))
    kept = tuple(1 if axis in axes else n for axis, n in enumerate(source.shape))
    folded = tuple(n if axis in axes else 1 for axis, n in enumerate(source.shape))
    place = target.viewed(kept, contiguous(kept))
    element = source.at(indices(source.shape))
    kind, splat = ("vf", "S") if target.lane else ("float", "")
    body.emit(
        f"{loops(kept)}{{ {kind} a = {splat}({start}); {loops(folded)}{{ {update.format(e=element)}; }} "
        f"{place.at(indices(kept))} = {end.format(a='a')}; }}"
    )
    return target


@kernel("sum")
def _sum(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    return _reduction(body, node, args[1] if len(args) > 2 else None, "0.f", "a += {e}")


@kernel("mean")
def _mean(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    count = _count(body.value(args[0]), args[1] if len(args) > 2 else None)
    return _reduction(body, node, args[1] if len(args) > 2 else None, "0.f", "a += {e}", f"{{a}} * {number(1 / count)}")


@kernel("amax")
def _amax(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    return _reduction(body, node, args[1], "-INFINITY", "a = vmax(a, {e})")


@kernel("amin")
def _amin(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    return _reduction(body, node, args[1], "INFINITY", "a = vmin(a, {e})")


@kernel("prod")
def _prod(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    return _reduction(body, node, args[1] if len(args) > 2 else None, "1.f", "a *= {e}")


def _count(value: Value, given: Any) -> int:
    count = 1
    for axis in _axes(given, len(value.shape)):
        count *= value.shape[axis]
    return count


@kernel("cumsum")
def _cumsum(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    source, target = body.value(args[0]), body.home(node)
    axis = args[1] % len(source.shape)
    outer = tuple(1 if k == axis else n for k, n in enumerate(source.shape))
    index = [f"i{axis}" if k == axis else i for k, i in enumerate(indices(source.shape))]
    kind, zero = ("vf", "S(0.f)") if target.lane else ("float", "0.f")
    body.emit(
        f"{loops(outer)}{{ {kind} a = {zero}; for (int i{axis} = 0; i{axis} < {source.shape[axis]}; i{axis}++) "
        f"{{ a += {source.at(index)}; {target.at(index)} = a; }} }}"
    )
    return target


@kernel("slice_scatter")
def _slice_scatter(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    target, part = body.home(node), body.value(args[1])
    body.copy(body.value(args[0]), target)
    place = _slice([None, args[2], args[3], args[4], args[5]], target, part.shape)
    body.copy(part, place)
    return target


@kernel("select_scatter")
def _select_scatter(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    target = body.home(node)
    body.copy(body.value(args[0]), target)
    body.copy(body.value(args[1]), _select([None, args[2], args[3]], target, ()))
    return target


@kernel("constant_pad_nd")
def _constant_pad(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    source, target = body.value(args[0]), body.home(node)
    body.copy(Value("", 0, target.shape, (0,) * len(target.shape), False, literal=float(args[2])), target)
    place = target
    for pair in range(len(args[1]) // 2):
        axis = len(target.shape) - 1 - pair
        if min(args[1][2 * pair : 2 * pair + 2]) < 0:
            raise NotImplementedError("constant_pad_nd with negative padding")
        place = sliced(place, axis, args[1][2 * pair], source.shape[axis])
    body.copy(source, place)
    return target


def _numbered(body: Body, node: fx.Node, args: Sequence[Any], shape: Shape) -> torch.Tensor:
    """What the operation makes of the numbers of a dense array's elements; its other tensors must be constant."""

    def known(argument: fx.Node) -> torch.Tensor:
        tensor = body.constant(argument)
        if tensor is None:
            raise NotImplementedError(f"{node.target} with an index that is computed")
        return tensor

    count = 1
    for length in shape:
        count *= length
    rest = fx.node.map_arg(tuple(args[1:]), known)
    return torch.as_tensor(node.target(torch.arange(count).reshape(shape), *rest))  # type: ignore[operator]


MOVES = "index index_select gather roll repeat unfold as_strided diagonal repeat_interleave take"


@kernel(*MOVES.split())
def _move(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    """Every element of the result is one of the source's: a table says which."""
    source, target = body.value(args[0]), body.home(node)
    if source.strides != contiguous(source.shape):
        raise NotImplementedError(f"{node.target} of a view")
    table = body.table(_numbered(body, node, args, source.shape).flatten().tolist())
    base = source.pointer()
    body.emit(f"for (int i = 0; i < {target.size}; i++) ({target.pointer()})[i] = ({base})[{table}[i]];")
    return target


@kernel("index_put", "_unsafe_index_put")
def _index_put(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    target = body.home(node)
    body.copy(body.value(args[0]), target)
    known = [None if index is None else body.constant(index) for index in args[1]]
    if any(index is not None and known[i] is None for i, index in enumerate(args[1])):
        raise NotImplementedError("index_put with an index that is computed")
    count = target.size
    places = torch.ops.aten.index(torch.arange(count).reshape(target.shape), known)
    part = expanded(body.value(args[2]), tuple(places.shape))
    table = body.table(places.flatten().tolist())
    flat = " + ".join(
        f"i{k} * {stride}"
        for k, (n, stride) in enumerate(zip(part.shape, contiguous(part.shape), strict=True))
        if n != 1
    )
    element = part.at(indices(part.shape))
    element = f"S({element})" if target.lane and not part.lane else element
    assign = "+=" if args[3] else "="
    body.emit(f"{loops(part.shape)}({target.pointer()})[{table}[{flat or '0'}]] {assign} {element};")
    return target
