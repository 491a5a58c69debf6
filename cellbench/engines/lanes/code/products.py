"""Matrix products, and sums of them: `x @ A + h @ B + bias` becomes one pass that keeps its sums in registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import fx

from cellbench.engines.lanes.code.operations import Body, arguments, kernel
from cellbench.engines.lanes.code.values import Shape, Value, expanded
from cellbench.engines.lanes.graph.graphs import operation, shape_of

PRODUCTS = frozenset(("mm", "addmm", "bmm"))


@dataclass
class Sum:
    """A sum of products that one pass computes.

    Attributes:
        products: pairs of matrices to multiply.
        addends: other nodes, broadcast to the sum's shape.
        absorbed: the nodes within the sum; they need neither code nor a place of their own.
    """

    products: list[tuple[fx.Node, fx.Node]] = field(default_factory=list)
    addends: list[fx.Node] = field(default_factory=list)
    absorbed: list[fx.Node] = field(default_factory=list)


def _plain(node: fx.Node) -> bool:
    """Return whether a product or an addition has no factors (alpha, beta) other than 1."""
    factors = {"add": (2,), "addmm": (3, 4)}.get(operation(node), ())
    given = arguments(node)
    return all(given[place] == 1 for place in factors)


def sum_at(node: fx.Node, together: set[fx.Node]) -> Sum | None:
    """Find the sum of products that ends in a node; None if there is no product in it.

    Args:
        node: a product, or an addition of products and other things.
        together: the nodes computed in the same function.
    """
    found = Sum()

    def gather(part: Any, root: bool) -> bool:
        """Take a node and all below it into the sum; False if it has to stay an addend."""
        name = operation(part) if isinstance(part, fx.Node) and part.op == "call_function" else ""
        inside = root or (part in together and len(part.users) == 1 and shape_of(part) == shape_of(node))
        # a part is absorbed if only this sum reads it, so that no other code misses its result
        if not inside or not (name in PRODUCTS or name == "add") or not _plain(part):
            return False
        given = arguments(part)
        if name == "add":
            # x + 1, and x + x, are left to the loops of pointwise operations
            if not all(isinstance(term, fx.Node) for term in given[:2]) or given[0] is given[1]:
                return False
            for term in given[:2]:
                if not gather(term, root=False):
                    found.addends.append(term)
        else:
            found.products.append((given[-2], given[-1]) if name in ("mm", "bmm") else (given[1], given[2]))
            if name == "addmm":
                found.addends.append(given[0])
        if not root:
            found.absorbed.append(part)
        return True

    return found if gather(node, root=True) and found.products else None


@kernel(*PRODUCTS)
def _product(body: Body, node: fx.Node, args: Sequence[Any]) -> Value:
    found = sum_at(node, set())
    if found is None:
        raise NotImplementedError(f"{node.target} with factors")
    return write_sum(body, node, found, [body.value(addend) for addend in found.addends])


def write_sum(body: Body, node: fx.Node, found: Sum, addends: Sequence[Value]) -> Value:
    """Write a sum of products; `addends` are the values of `found.addends`, perhaps added up already."""
    target = body.home(node)
    addends = [expanded(addend, target.shape) for addend in addends]
    pairs = [(body.value(a), body.value(b)) for a, b in found.products]
    *stack, rows, columns = target.shape
    for index in _indices(stack):
        place, extra = _inside(target, index), [_inside(addend, index) for addend in addends]
        inside = [(_inside(a, index), _inside(b, index)) for a, b in pairs]
        if not target.lane:
            _scalar_loops(body, place, extra, inside)
        elif all(not b.lane for _, b in inside):
            # weights on the right: one pass per row of the left
            for row in range(rows):
                terms = [_term(_row(a, row), b.strides[1], b.strides[0], b) for a, b in inside]
                _pass(body, _row(place, row), [_row(addend, row) for addend in extra], terms)
        elif all(not a.lane for a, _ in inside):
            # weights on the left: one pass per column of the right
            for column in range(columns):
                terms = [_term(_column(b, column), a.strides[0], a.strides[1], a) for a, b in inside]
                _pass(body, _column(place, column), [_column(addend, column) for addend in extra], terms)
        else:
            _lane_loops(body, place, extra, inside)
    return target


def _indices(stack: Sequence[int]) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = [()]
    for length in stack:
        found = [(*index, i) for index in found for i in range(length)]
    return found


def _inside(value: Value, index: tuple[int, ...]) -> Value:
    """View one matrix of a stack of matrices."""
    offset = sum(i * stride for i, stride in zip(index, value.strides[: len(index)], strict=True))
    return value.viewed(value.shape[len(index) :], value.strides[len(index) :], offset)


def _row(value: Value, row: int) -> Value:
    return value.viewed(value.shape[1:], value.strides[1:], row * value.strides[0])


def _column(value: Value, column: int) -> Value:
    return value.viewed(value.shape[:1], value.strides[:1], column * value.strides[1])


def _term(vector: Value, output_stride: int, input_stride: int, weights: Value) -> str:
    """Write one product of a pass: a vector of lanes times a matrix of weights."""
    if vector.literal is not None or weights.literal is not None:
        raise NotImplementedError("a product with a constant matrix of equal numbers")
    return (
        f"term<{vector.shape[0]}, {vector.strides[0]}, {output_stride}, {input_stride}>"
        f"({vector.pointer()}, {weights.pointer()})"
    )


def _pass(body: Body, target: Value, addends: Sequence[Value], terms: Sequence[str]) -> None:
    """Write one call of `product` (kernels.h): the addends plus the terms, for a vector of outputs."""
    # the index has a name of those of `loops`: no buffer's, as `n`, the state after, would be
    start = " + ".join(_element(addend, "i0") for addend in addends) or "S(0.f)"
    body.emit(
        f"product<{target.shape[0]}, {target.strides[0]}>({target.pointer()}, "
        f"[&](int i0) INLINED -> vf {{ return {start}; }}, {', '.join(terms)});"
    )


def _element(value: Value, *index: str) -> str:
    text = value.at(index)
    return text if value.lane else f"S({text})"


def _scalar_loops(body: Body, target: Value, addends: Sequence[Value], pairs: Sequence[tuple[Value, Value]]) -> None:
    """Write products of parameters with parameters, as plain loops: they run once per training step.

    The columns are innermost, side by side, and each element's sum has its terms in the usual order.
    """
    rows, columns = target.shape
    start = " + ".join(addend.number_at(("i", "j")) for addend in addends) or "all<number>(0.f)"
    inner = " ".join(
        f"for (int k = 0; k < {a.shape[1]}; k++) for (int j = 0; j < {columns}; j++) "
        f"a[j] += {a.number_at(('i', 'k'))} * {b.number_at(('k', 'j'))};"
        for a, b in pairs
    )
    body.emit(
        f"for (int i = 0; i < {rows}; i++) {{ number a[{columns}]; for (int j = 0; j < {columns}; j++) a[j] = {start}; "
        f"{inner} for (int j = 0; j < {columns}; j++) {target.at(('i', 'j'))} = a[j]; }}"
    )


def _lane_loops(body: Body, target: Value, addends: Sequence[Value], pairs: Sequence[tuple[Value, Value]]) -> None:
    """Write products of which both factors differ between examples, as in attention or fast weights."""
    rows, columns = target.shape
    start = " + ".join(_element(addend, "i", "j") for addend in addends) or "S(0.f)"
    inner = " ".join(
        f"for (int k = 0; k < {a.shape[1]}; k++) a += {_element(a, 'i', 'k')} * {_element(b, 'k', 'j')};"
        for a, b in pairs
    )
    body.emit(
        f"for (int i = 0; i < {rows}; i++) for (int j = 0; j < {columns}; j++) "
        f"{{ vf a = {start}; {inner} {target.at(('i', 'j'))} = a; }}"
    )


@dataclass(frozen=True)
class Outer:
    """A gradient that is a sum over time and batch of outer products; computed at the end of the sequence.

    Attributes:
        left, right: one column and one row, both of this time step.
        place: where in the gradient the result is added, shape (rows, columns).
    """

    left: fx.Node
    right: fx.Node
    place: Value


def outer_product(node: fx.Node, place: Value) -> Outer | None:
    """Describe a gradient as an outer product over the batch (of one); None if it is none."""
    if operation(node) != "mm" or shape_of(arguments(node)[0])[1] != 1:
        return None
    left, right = arguments(node)
    return Outer(left, right, place)


def peeled(node: fx.Node, place: Value) -> tuple[fx.Node, Value]:
    """Move the permutations at the end of a gradient to the place where it is added.

    Returns:
        The node before them, and the place permuted to match.
    """
    while node.op == "call_function" and operation(node) in ("permute", "t", "transpose", "alias", "detach", "clone"):
        if operation(node) in ("permute", "t", "transpose"):
            rank = len(place.shape)
            order = list(range(rank))
            if operation(node) == "permute":
                order = [axis % rank for axis in arguments(node)[1]]
            elif rank > 1:
                a, b = arguments(node)[1:3] if operation(node) == "transpose" else (0, 1)
                order[a], order[b] = order[b], order[a]
            shape, strides = [0] * rank, [0] * rank
            for axis, origin in enumerate(order):
                shape[origin], strides[origin] = place.shape[axis], place.strides[axis]
            place = place.viewed(shape, strides)
        node = arguments(node)[0]
    return node, place


def squeezed(shape: Shape) -> Shape:
    """Drop the axes of length 1 from a shape."""
    return tuple(length for length in shape if length != 1)
