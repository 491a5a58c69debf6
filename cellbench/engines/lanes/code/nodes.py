"""Facts about the nodes of the traced graphs: constants, lanes, views, and where each result is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx

from cellbench.engines.engine import Refused
from cellbench.engines.lanes.code.operations import OPERATIONS, View, arguments
from cellbench.engines.lanes.code.values import TABLE, Value, contiguous, number, reshaped
from cellbench.engines.lanes.graph.graphs import operation, shape_of
from cellbench.engines.lanes.graph.lines import of_node
from cellbench.engines.lines import at

_FOLDS = frozenset(("sum", "mean", "amax", "amin"))
"""Reductions; over axes of length 1 they change nothing but the shape."""
_SHAPED = frozenset(("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"))
"""Operations that use only the shape of their argument."""


class Nodes:
    """Facts about nodes, filled in graph by graph, and the sizes of the buffers that hold their results.

    Attributes:
        lane: whether a node differs between the examples of a batch.
        known: the tensors of nodes that are constant.
        places: where results are, as far as that is decided.
        sizes: elements allocated so far, by buffer.
        constants: C++ definitions of tables.
    """

    def __init__(self) -> None:
        self.lane: dict[fx.Node, bool] = {}
        self.known: dict[fx.Node, torch.Tensor] = {}
        self.places: dict[fx.Node, Value | tuple[Value, ...]] = {}
        self.sizes = dict.fromkeys(("u", "gu", "r", "b", "acc", "tmp"), 0)
        self.constants: list[str] = []
        self._views: set[fx.Node] = set()

    def place(self, node: fx.Node, value: Value) -> None:
        """Set where an input is."""
        self.places[node], self.lane[node] = value, value.lane

    def classify(self, module: fx.GraphModule) -> None:
        """Find out which nodes are constant, which differ between lanes, and which are views of others."""
        dense: dict[fx.Node, Any] = {}
        for node in module.graph.nodes:
            if node.op == "get_attr":
                self.known[node], self.lane[node] = getattr(module, str(node.target)), False
            elif node.op == "call_function":
                parents = node.all_input_nodes
                self.lane[node] = any(self.lane[parent] for parent in parents)
                if operation(node) in _SHAPED:
                    self.lane[node] = False
                    given = [torch.empty(shape_of(a)) if isinstance(a, fx.Node) else a for a in node.args]
                    self.known[node] = node.target(*given, **node.kwargs)
                elif all(parent in self.known for parent in parents):
                    given = fx.node.map_arg(node.args, self.known.__getitem__)
                    self.known[node] = node.target(*given, **node.kwargs)
                    if operation(node).startswith("empty"):  # its numbers must not matter, but must not vary
                        self.known[node] = torch.zeros(shape_of(node))

            # a view shares its argument's place, if that works with all results taken for dense
            if node.op == "call_function" and node not in self.known:
                dense[node] = seen(node, [dense.get(parent, _dense(parent)) for parent in node.all_input_nodes[:1]])
                if dense[node] is None:
                    dense[node] = _dense(node)
                else:
                    self._views.add(node)

    def is_view(self, node: fx.Node) -> bool:
        """Return whether a node is a view: its result is in its argument's place."""
        return node in self._views

    def root(self, node: fx.Node) -> fx.Node:
        """Find the node whose storage a view shares; a node that is no view is its own root."""
        while self.is_view(node):
            node = node.all_input_nodes[0]
        return node

    def allocate(self, buffer: str, size: int) -> int:
        """Allocate elements in a buffer, and return their offset."""
        offset = self.sizes[buffer]
        self.sizes[buffer] += size
        return offset

    def constant_value(self, node: fx.Node) -> Value:
        """Turn the tensor of a constant node into a literal, if its numbers are all equal, or a table of floats."""
        tensor = self.known[node]
        shape, mask = tuple(tensor.shape), tensor.dtype == torch.bool
        numbers = tensor.detach().to(torch.float32).flatten().tolist()
        if all(value == numbers[0] for value in numbers):
            literal = numbers[0] if numbers else 0.0
            return Value("", 0, shape, (0,) * len(shape), False, mask, literal)
        name = self.table("float", [number(value) for value in numbers])
        return Value(name, 0, shape, contiguous(shape), False, mask)

    def table(self, kind: str, texts: Sequence[str]) -> str:
        """Define a constant table of numbers in C++, and return its name."""
        name = f"{TABLE}{len(self.constants)}"
        self.constants.append(f"static const {kind} {name}[] = {{{', '.join(texts)}}};")
        return name


def _dense(node: fx.Node) -> Value | tuple[Value, ...] | None:
    """Describe the dense places that a node's results will get; None for what is no tensor."""

    def place(value: Any) -> Value | tuple[Value, ...] | None:
        if isinstance(value, list | tuple):
            found = [place(one) for one in value]
            return tuple(one for one in found if isinstance(one, Value)) if None not in found else None
        if not isinstance(value, torch.Tensor):
            return None
        return Value("", 0, tuple(value.shape), contiguous(tuple(value.shape)), True)

    return place(node.meta.get("val"))


def seen(node: fx.Node, sources: Sequence[Any]) -> Value | tuple[Value, ...] | None:
    """Describe a node as a view of its first argument, given that argument's place; None if it is no view."""
    entry, name = OPERATIONS.get(operation(node)), operation(node)
    shape = shape_of(node) if isinstance(node.meta["val"], torch.Tensor) else ()
    if not sources or sources[0] is None:
        return None
    source = sources[0]
    if isinstance(entry, View):
        place: Value | tuple[Value, ...] | None = entry.place(arguments(node), source, shape)
        return place
    same_size = isinstance(source, Value) and source.size == math.prod(shape)
    if name in _FOLDS and same_size and len(node.all_input_nodes) == 1:
        return reshaped(source, shape)
    if name == "_to_copy" and node.meta["val"].dtype == node.all_input_nodes[0].meta["val"].dtype:
        return source if isinstance(source, Value) else None
    return None


def refuse_type(node: fx.Node, known: Mapping[fx.Node, torch.Tensor]) -> None:
    """Refuse a result that is neither float32 nor a truth value; counts and choices of constant integers may pass.

    Raises:
        Refused: it has another type.
    """
    value = node.meta["val"]
    if not isinstance(value, torch.Tensor) or value.dtype in (torch.float32, torch.bool):
        return
    if operation(node) == "sum" and node.all_input_nodes[0].meta["val"].dtype == torch.bool:
        return
    if operation(node) == "where" and all(argument in known for argument in node.all_input_nodes[1:]):
        return
    kind = str(value.dtype).removeprefix("torch.")
    raise Refused(f"{operation(node)} gives {kind}, not float32{at(of_node(node))}")
