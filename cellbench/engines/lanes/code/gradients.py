"""The gradients of a step's uses of parameters, summed over time.

The gradient of a matrix is an outer product in each time step. These are put off: the backward half keeps the two
vectors of each step, and one matrix product computes the sum at the end of the sequence. Other gradients are added up
step by step.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx

from cellbench.engines.lanes.code import products
from cellbench.engines.lanes.code.function import Function
from cellbench.engines.lanes.code.nodes import Nodes
from cellbench.engines.lanes.code.operations import indices, loops
from cellbench.engines.lanes.code.products import Outer
from cellbench.engines.lanes.code.values import Value, contiguous, reshaped

_STEPS = {
    "x": "x, INPUTS",
    "s": "h, STATES",
    "n": "h + STATES, STATES",
    "r": "r, RESIDUALS",
    "b": "b, BACKWARD",
    "dy": "dy, OUTPUTS",
}
"""Buffers that last for the whole sequence: the pointer to the first step's part, and the stride to the next step's."""


class Terms:
    """The gradients of the uses.

    Args:
        nodes: facts of the step's nodes.
        gradients: one node per use.
        places: where in the gradient of the parameters each of them is added.
    """

    def __init__(self, nodes: Nodes, gradients: Sequence[fx.Node], places: Sequence[Value]) -> None:
        self._nodes = nodes
        self.outer: list[Outer] = []
        self.plain: list[tuple[fx.Node, Value]] = []
        for node, place in zip(gradients, places, strict=True):
            known = nodes.known.get(node)
            if known is not None and not known.any():
                continue  # always 0
            peeled, target = products.peeled(node, place)
            found = products.outer_product(peeled, target) if nodes.lane[peeled] else None
            if found is not None:
                self.outer.append(found)
            else:
                self.plain.append((peeled, target))

    def summed(self) -> set[fx.Node]:
        """List the nodes that are added up step by step."""
        return {node for term, _ in self.plain for node in (term, self._nodes.root(term))}

    def read(self) -> list[fx.Node]:
        """List all nodes that the gradients are computed from."""
        return [*(n for term in self.outer for n in (term.left, term.right)), *(node for node, _ in self.plain)]

    def operands(self) -> set[fx.Node]:
        """List the nodes whose storage the put-off products read."""
        return {self._nodes.root(node) for term in self.outer for node in (term.left, term.right)}

    def write(self, backward: Function) -> tuple[Function, Function]:
        """Let the backward half keep what the gradients need, and write the functions that run after it.

        Returns:
            The function at the end of a sequence (the put-off products, and sums over time), and the one at the end of
            a batch (sums over lanes are added to the gradient).
        """
        put_off, settle = Function(self._nodes, "u"), Function(self._nodes, "u")
        # outer products: one call each, over all steps
        for term in self.outer:
            rows, columns = term.place.shape
            left, right = self._lasting(backward, term.left), self._lasting(backward, term.right)
            put_off.emit(
                f"outer<{rows}, {columns}, {', '.join(map(str, term.place.strides))}, {left.strides[0]}, "
                f"{right.strides[1]}>({term.place.pointer()}, {self._steps(left)}, {self._steps(right)}, T);"
            )
        # all others: sums in lanes, in acc; the driver adds up the lanes, and `settle` puts the totals in their places
        summed: dict[fx.Node, Value] = {}
        for node, place in self.plain:
            # one sum serves all uses with the same gradient
            if node not in summed:
                value = backward.value(node)
                offset = self._nodes.allocate("acc", value.size)
                summed[node] = Value("totals", offset, value.shape, contiguous(value.shape), False)
                flat = reshaped(value, (value.size,)) if value.buffer in _STEPS else None
                # what lasts for the sequence is summed at its end, if it lies in one piece; the rest in each step
                if flat is not None and (flat.size == 1 or flat.strides == (1,)):
                    put_off.emit(f"time_sums<{flat.size}>(acc + {offset}, {self._steps(flat)}, T);")
                else:
                    target = Value("acc", offset, value.shape, contiguous(value.shape), True)
                    backward.copy(value, target, "+=")
            settle.emit(
                f"{loops(place.shape)}{place.at(indices(place.shape))} += {summed[node].at(indices(place.shape))};"
            )
        return put_off, settle

    def _lasting(self, backward: Function, node: fx.Node) -> Value:
        """Find a node's result in a buffer that lasts for the sequence; copy it to one if need be."""
        value = backward.value(node)
        if value.lane and value.buffer in _STEPS:
            return value
        place = Value("b", self._nodes.allocate("b", value.size), value.shape, contiguous(value.shape), True)
        backward.copy(value, place)
        return place

    def _steps(self, value: Value) -> str:
        """Write the two arguments of C++ for all steps of a value: the first step's pointer, and the stride."""
        start, step = _STEPS[value.buffer].split(", ")
        return f"{start} + {value.offset}, {step}"
