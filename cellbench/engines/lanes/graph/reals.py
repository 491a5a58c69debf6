"""Complex numbers as pairs of reals: a graph with complex tensors becomes one that has none.

It is done before the graph is differentiated. The gradient by the two reals is what torch calls the gradient of a
complex parameter, and torch's optimizers and the norm of a gradient take a complex number for two reals, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from cellbench.engines.engine import Refused
from cellbench.engines.lanes.graph.graphs import graph_of, operation, placeholders_of, results_of
from cellbench.engines.lanes.graph.lines import of_node
from cellbench.engines.lines import at


@dataclass(frozen=True)
class Pair:
    """A complex tensor: its real and its imaginary part."""

    re: Tensor
    im: Tensor


def without_complex(module: fx.GraphModule, examples: Sequence[Tensor]) -> fx.GraphModule:
    """Rewrite a graph whose inputs and results are real and whose nodes may be complex.

    Raises:
        Refused: an operation has no rule here.
    """
    if not any(_is_complex(node.meta.get("val")) for node in module.graph.nodes):
        return module
    nodes = [node for node in module.graph.nodes if node.op in ("call_function", "get_attr")]

    def real(*values: Tensor) -> list[Any]:
        environment: dict[fx.Node, Any] = dict(zip(placeholders_of(module.graph), values, strict=True))
        for node in nodes:
            if node.op == "get_attr":
                constant = getattr(module, str(node.target))
                environment[node] = Pair(constant.real, constant.imag) if constant.is_complex() else constant
                continue
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), environment.__getitem__)
            with fx.traceback.set_current_meta(node):
                environment[node] = _run(node, args, kwargs)
        return [environment[node] for node in results_of(module.graph)]

    return graph_of(real, examples, decomposed=False)


def _is_complex(value: Any) -> bool:
    return any(isinstance(leaf, Tensor) and leaf.is_complex() for leaf in pytree.tree_leaves(value))


def _run(node: fx.Node, args: Any, kwargs: Any) -> Any:
    """Compute one node: by its rule if complex numbers go in or come out, else as it is."""
    given = pytree.tree_leaves((args, kwargs))
    name = operation(node)
    if not _is_complex(node.meta.get("val")) and not any(isinstance(leaf, Pair | complex) for leaf in given):
        return node.target(*args, **kwargs)  # type: ignore[operator]
    if name in _RULES:
        return _RULES[name](*args, **kwargs)
    if name in _OF_PARTS:
        # each part by itself: the operation adds and moves, and no number of one part meets the other
        def parts(which: str) -> Any:
            def part(leaf: Any) -> Any:
                return getattr(leaf, which) if isinstance(leaf, Pair) else leaf

            return pytree.tree_map(part, (args, kwargs))

        one, two = (node.target(*some, **options) for some, options in (parts("re"), parts("im")))  # type: ignore[operator]
        return Pair(one, two) if isinstance(one, Tensor) else [Pair(a, b) for a, b in zip(one, two, strict=True)]
    if name in _MADE:
        made = node.target(*args, **{**kwargs, "dtype": torch.float32})  # type: ignore[operator]
        return Pair(made, torch.zeros_like(made))
    raise Refused(f"the operation {name} on complex numbers: write it with two reals{at(of_node(node))}")


# fmt: off
_OF_PARTS = frozenset([
    "view", "reshape", "_unsafe_view", "unsqueeze", "squeeze", "expand", "t", "transpose", "permute", "slice", "select",
    "split", "split_with_sizes", "unbind", "diagonal", "flip", "roll", "index", "index_select", "gather", "repeat",
    "sum", "mean", "cumsum", "clone", "detach", "alias", "tril", "triu", "neg", "diag_embed", "as_strided",
    "lift_fresh_copy", "movedim", "narrow", "constant_pad_nd",
])
# fmt: on
_MADE = frozenset(("zeros", "ones", "empty", "eye"))


def _pair(value: Any) -> Pair:
    """Take a tensor or a number as a complex one."""
    if isinstance(value, Pair):
        return value
    if isinstance(value, Tensor):
        return Pair(value, torch.zeros_like(value))
    number = complex(value)
    return Pair(torch.tensor(number.real), torch.tensor(number.imag))


def _add(a: Any, b: Any, alpha: Any = 1) -> Pair:
    a, b = _pair(a), _mul(_pair(b), alpha) if alpha != 1 else _pair(b)
    return Pair(a.re + b.re, a.im + b.im)


def _sub(a: Any, b: Any, alpha: Any = 1) -> Pair:
    a, b = _pair(a), _mul(_pair(b), alpha) if alpha != 1 else _pair(b)
    return Pair(a.re - b.re, a.im - b.im)


def _mul(a: Any, b: Any) -> Pair:
    if not isinstance(a, Pair) and not isinstance(a, complex):
        a, b = b, a
    if not isinstance(b, Pair | complex):  # a real factor
        a = _pair(a)
        return Pair(a.re * b, a.im * b)
    a, b = _pair(a), _pair(b)
    return Pair(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re)


def _reciprocal(a: Any) -> Pair:
    a = _pair(a)
    size = a.re * a.re + a.im * a.im
    return Pair(a.re / size, -a.im / size)


def _div(a: Any, b: Any) -> Pair:
    if not isinstance(b, Pair | complex):
        a = _pair(a)
        return Pair(a.re / b, a.im / b)
    return _mul(a, _reciprocal(b))


def _abs(a: Pair) -> Tensor:
    """Compute the absolute value, whose gradient at 0 is 0."""
    size = a.re * a.re + a.im * a.im
    nothing = size == 0
    return torch.where(nothing, 0.0, torch.where(nothing, 1.0, size).sqrt())


def _angle(a: Pair) -> Tensor:
    """Compute the angle, whose gradient at 0 is 0."""
    nothing = (a.re == 0) & (a.im == 0)
    return torch.atan2(torch.where(nothing, 0.0, a.im), torch.where(nothing, 1.0, a.re))


def _sgn(a: Pair) -> Pair:
    size = _abs(a)
    size = torch.where(size == 0, 1.0, size)
    return Pair(a.re / size, a.im / size)


def _polar(size: Tensor, angle: Tensor) -> Pair:
    return Pair(size * torch.cos(angle), size * torch.sin(angle))


def _exp(a: Pair) -> Pair:
    return _polar(torch.exp(a.re), a.im)


def _log(a: Pair) -> Pair:
    return Pair(torch.log(_abs(a)), _angle(a))


def _tanh(a: Pair) -> Pair:
    real, tangent = torch.tanh(a.re), torch.tan(a.im)
    return _div(Pair(real, tangent), Pair(torch.ones_like(real), real * tangent))


def _sigmoid(a: Pair) -> Pair:
    return _reciprocal(_add(_exp(Pair(-a.re, -a.im)), 1.0))


def _pow(a: Any, exponent: Any) -> Pair:
    if isinstance(exponent, int | float) and exponent == int(exponent) and 0 < abs(exponent) <= 8:
        found = a
        for _ in range(abs(int(exponent)) - 1):
            found = _mul(found, a)
        return found if exponent > 0 else _reciprocal(found)
    return _exp(_mul(_log(_pair(a)), exponent))


def _product(a: Any, b: Any) -> Pair:
    if not isinstance(a, Pair):
        return Pair(a @ b.re, a @ b.im)
    if not isinstance(b, Pair):
        return Pair(a.re @ b, a.im @ b)
    return Pair(a.re @ b.re - a.im @ b.im, a.re @ b.im + a.im @ b.re)


def _added_product(c: Any, a: Any, b: Any, *, beta: Any = 1, alpha: Any = 1) -> Pair:
    return _add(_mul(_pair(c), beta), _mul(_product(a, b), alpha))


def _joined(function: Callable[..., Tensor]) -> Callable[..., Pair]:
    def join(parts: Sequence[Any], axis: int = 0) -> Pair:
        pairs = [_pair(part) for part in parts]
        return Pair(function([p.re for p in pairs], axis), function([p.im for p in pairs], axis))

    return join


def _where(condition: Tensor, a: Any, b: Any) -> Pair:
    a, b = _pair(a), _pair(b)
    return Pair(torch.where(condition, a.re, b.re), torch.where(condition, a.im, b.im))


def _to_copy(a: Any, dtype: torch.dtype | None = None, **options: Any) -> Any:
    if dtype is not None and not dtype.is_complex:
        return _pair(a).re.to(dtype)
    return _pair(a)


def _of_two(name: str) -> Callable[..., Any]:
    """Make the rule of an operation that puts one tensor into another, in the same way for both parts."""

    def rule(a: Any, b: Any, *rest: Any, **options: Any) -> Pair:
        function = getattr(torch.ops.aten, name)
        a, b = _pair(a), _pair(b)
        return Pair(function(a.re, b.re, *rest, **options), function(a.im, b.im, *rest, **options))

    return rule


def _in_the_shape_of(value: float) -> Callable[..., Pair]:
    def rule(a: Any, *given: Any, **options: Any) -> Pair:
        part = _pair(a).re
        return Pair(torch.full_like(part, value), torch.zeros_like(part))

    return rule


_RULES: dict[str, Callable[..., Any]] = {
    "view_as_complex": lambda x: Pair(x.select(-1, 0), x.select(-1, 1)),
    "view_as_real": lambda a: torch.stack([a.re, a.im], -1),
    "complex": Pair,
    "polar": _polar,
    "real": lambda a: a.re,
    "imag": lambda a: a.im,
    "add": _add,
    "sub": _sub,
    "rsub": lambda a, b, alpha=1: _sub(b, a, alpha),
    "mul": _mul,
    "div": _div,
    "reciprocal": _reciprocal,
    "_conj": lambda a: Pair(a.re, -a.im),
    "_conj_physical": lambda a: Pair(a.re, -a.im),
    "conj_physical": lambda a: Pair(a.re, -a.im),
    "resolve_conj": lambda a: a,
    "resolve_neg": lambda a: a,
    "abs": _abs,
    "angle": _angle,
    "sgn": _sgn,
    "exp": _exp,
    "log": _log,
    "sqrt": lambda a: _polar(_abs(a).sqrt(), _angle(a) / 2),
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "sin": lambda a: Pair(torch.sin(a.re) * torch.cosh(a.im), torch.cos(a.re) * torch.sinh(a.im)),
    "cos": lambda a: Pair(torch.cos(a.re) * torch.cosh(a.im), -torch.sin(a.re) * torch.sinh(a.im)),
    "pow": _pow,
    "mm": _product,
    "bmm": _product,
    "matmul": _product,
    "mv": _product,
    "addmm": _added_product,
    "baddbmm": _added_product,
    "addmv": _added_product,
    "cat": _joined(torch.cat),
    "stack": _joined(torch.stack),
    "where": _where,
    "masked_fill": lambda a, mask, value: _where(mask, value, a),
    "_to_copy": _to_copy,
    "copy": _of_two("copy"),
    "slice_scatter": _of_two("slice_scatter"),
    "select_scatter": _of_two("select_scatter"),
    "zeros_like": _in_the_shape_of(0.0),
    "ones_like": _in_the_shape_of(1.0),
    "empty_like": _in_the_shape_of(0.0),
    "new_zeros": lambda a, size, **options: Pair(torch.zeros(size), torch.zeros(size)),
    "full": lambda size, value, **options: Pair(torch.full(size, value.real), torch.full(size, value.imag)),
    "eq": lambda a, b: (_pair(a).re == _pair(b).re) & (_pair(a).im == _pair(b).im),
    "ne": lambda a, b: (_pair(a).re != _pair(b).re) | (_pair(a).im != _pair(b).im),
}
"""What an operation does with complex numbers, by its name in ATen."""
