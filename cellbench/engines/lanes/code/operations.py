"""The operations that lanes can carry: one entry an operation, of one of three kinds.

- `pointwise`: a C++ expression of its arguments' elements. Runs of them become one loop.
- `view`: where the result lies, given where the argument lies. No code at all.
- `kernel`: code of its own, written through a `Body`.

Pointwise operations stand below, views in `views`, kernels in `kernels`, matrix products in `products`.
To add an operation, add one entry and one case to tests/engines/lanes/test_operations.py. Names are those of ATen
without the overload, after torch's core decompositions; functions starting with `v` are defined in lanes.h for a vector
of lanes (`vf`, truth values `vi`) and for a single float. What only moves elements about is an entry of
`kernels.MOVES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import fx

from cellbench.engines.lanes.code.values import Shape, Value


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

    def dense(self, value: Value) -> Value:
        """The value itself if its elements lie side by side, else a copy for the time being."""

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
