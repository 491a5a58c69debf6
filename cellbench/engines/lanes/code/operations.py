"""The table of operations that lanes can carry: one entry per operation, of one of three kinds.

- `Pointwise`: a C++ expression of its arguments' elements. Several in a row become one loop.
- `View`: computes where the result is from where the argument is. It needs no code at all.
- `Kernel`: code of its own, written through a `Body`.

Pointwise operations are below, views in `views`, kernels in `kernels`, matrix products in `products`. To add an
operation, add one entry, and one case to the tests of the operations. Names are those of ATen without the overload,
after torch's core decompositions. Functions whose names begin with `v` are defined in lanes.h, for a vector of lanes
(`vf`, its masks `vi`) and for a single float. An operation that only moves elements is an entry of `kernels.MOVES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import fx

from cellbench.engines.lanes.code.values import Shape, Value


class Expression(str):
    """A C++ expression; for a scalar argument, also its number."""

    number: float | None = None


class Body(Protocol):
    """The C++ function that is being written."""

    def value(self, argument: Any) -> Value:
        """Find where a node's result is, or turn a number into a literal."""

    def home(self, node: fx.Node) -> Value:
        """Find the dense place where a node's result must be stored."""

    def emit(self, line: str) -> None:
        """Add a line of C++."""

    def copy(self, source: Value, target: Value, operator: str = "=") -> None:
        """Write a loop that stores one value in another, broadcast if need be."""

    def dense(self, value: Value) -> Value:
        """Return the value if it is contiguous, else a temporary copy."""

    def scratch(self, shape: Shape) -> Value:
        """Make room for numbers that lanes share."""

    def constant(self, node: fx.Node) -> torch.Tensor | None:
        """Return the tensor of a node that is constant, else None."""

    def table(self, numbers: Sequence[int]) -> str:
        """Define a constant table of integers, and return its name."""


@dataclass(frozen=True)
class Pointwise:
    """An operation on elements.

    Attributes:
        expression: the arguments' expressions, in the order of the schema -> the result's; absent arguments are None.
        masks: positions of the arguments that are truth values. The others are numbers; a truth value given for one
            becomes 1 or 0.
    """

    expression: Callable[..., str]
    masks: tuple[int, ...] = ()


@dataclass(frozen=True)
class View:
    """An operation that shows its argument in another way, in the same place.

    Attributes:
        place: (the node's arguments, value of the first, the result's shape) -> value or values of the result; None if
            strides cannot describe it.
    """

    place: Callable[[Sequence[Any], Value | tuple[Value, ...], Shape], Value | tuple[Value, ...] | None]


@dataclass(frozen=True)
class Kernel:
    """An operation with code of its own.

    Attributes:
        write: (body, node, the node's arguments) -> where the result was stored.
    """

    write: Callable[[Body, fx.Node, Sequence[Any]], Value | tuple[Value, ...]]


OPERATIONS: dict[str, Pointwise | View | Kernel] = {}


def arguments(node: fx.Node) -> list[Any]:
    """List a node's arguments in the order of the operation's schema, defaults filled in."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return list(node.args)
    given = list(node.args)
    for argument in schema.arguments[len(given) :]:
        given.append(node.kwargs.get(argument.name, argument.default_value))
    return given


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
    "sigmoid tanh exp exp2 expm1 log log2 log10 log1p sqrt sin cos tan asin acos atan sinh cosh asinh acosh atanh "
    "erf erfc floor ceil trunc round sign relu reciprocal"
)
for _name in _FUNCTIONS.split():
    OPERATIONS[_name] = Pointwise(_call(f"v{_name}"))
OPERATIONS |= {
    "add": Pointwise(_add),
    "sub": Pointwise(_sub),
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


def kernel(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function (body, node, arguments) -> value as the code of some operations."""

    def register(write: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            OPERATIONS[name] = Kernel(write)
        return write

    return register


def loops(shape: Shape, prefix: str = "i") -> str:
    """Write nested for loops over the axes longer than 1: `for (int i0 = 0; ...)`."""
    return "".join(
        f"for (int {prefix}{k} = 0; {prefix}{k} < {n}; {prefix}{k}++) " for k, n in enumerate(shape) if n != 1
    )


def indices(shape: Shape, prefix: str = "i") -> list[str | None]:
    """List the indices of `loops`, one per axis; None for axes of length 1."""
    return [f"{prefix}{k}" if n != 1 else None for k, n in enumerate(shape)]
