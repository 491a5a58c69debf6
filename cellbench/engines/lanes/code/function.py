"""Writing one C++ function from a list of nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from cellbench.engines.engine import Refused
from cellbench.engines.lanes.code import kernels, products, views  # noqa: F401 (they fill the table)
from cellbench.engines.lanes.code.nodes import Nodes, refuse_type, seen
from cellbench.engines.lanes.code.operations import (
    OPERATIONS,
    Expression,
    Kernel,
    Pointwise,
    View,
    arguments,
    indices,
    loops,
)
from cellbench.engines.lanes.code.products import Sum, squeezed
from cellbench.engines.lanes.code.values import Shape, Value, broadcast, contiguous, expanded, number, reshaped
from cellbench.engines.lanes.graph.graphs import operation, shape_of
from cellbench.engines.lanes.graph.lines import of_node
from cellbench.engines.lines import at

_LONG = frozenset(("sigmoid", "tanh", "exp", "expm1"))
"""Operations whose instructions wait for one another, so that several elements are faster in step (several.h)."""


@dataclass
class _Group:
    """Pointwise nodes that share one loop.

    Attributes:
        shape: of all of them, without axes of length 1.
        lane: whether their elements are vectors.
        nodes: in the order of their code.
        in_step: whether several elements of the last axis are computed at a time.
    """

    shape: Shape
    lane: bool
    nodes: list[fx.Node] = field(default_factory=list)
    in_step: bool = False

    @property
    def vector(self) -> str:
        """The C++ type of an element."""
        return ("some_vf" if self.in_step else "vf") if self.lane else "number"

    @property
    def integers(self) -> str:
        """The C++ type of an element's truth value."""
        return ("some_vi" if self.in_step else "vi") if self.lane else "Truth<number>"


class Function:
    """One C++ function: walks its nodes, joins pointwise ones into loops, and gives each result a place in memory.

    It is the `Body` that the operations write to.

    Args:
        nodes: facts of the graph's nodes.
        buffer: the buffer for results, unless `buffers` names another.
        buffers: the buffers of some nodes' results.
        prologue: runs once per training step; takes sums that do not change within it.

    Attributes:
        lines: the C++ written so far.
    """

    def __init__(
        self,
        nodes: Nodes,
        buffer: str,
        buffers: dict[fx.Node, str] | None = None,
        prologue: Function | None = None,
    ) -> None:
        self.nodes = nodes
        self.lines: list[str] = []
        self._buffer = buffer
        self._buffers = buffers or {}
        self._prologue = prologue
        self._claimed: dict[fx.Node, Value] = {}

    # ------------------------------------------------------------------------------ the methods of `Body`

    def emit(self, line: str) -> None:
        """Add a line of C++."""
        self.lines.append(line)

    def value(self, argument: Any) -> Value:
        """Find where a node's result is, or turn a number into a literal."""
        if not isinstance(argument, fx.Node):
            return Value("", 0, (), (), False, literal=float(argument))
        place = self._place(argument)
        assert isinstance(place, Value), f"{argument} is no single tensor"
        return place

    def home(self, node: fx.Node) -> Value:
        """Find the dense place where a node's result must be stored, or give it one."""
        if node not in self.nodes.places:
            self.nodes.places[node] = self._claimed.get(node) or self._new(node)
        return self.value(node)

    def copy(self, source: Value, target: Value, operator: str = "=") -> None:
        """Write a loop that stores one value in another, broadcast if need be."""
        source = expanded(source, target.shape) if len(source.shape) <= len(target.shape) else source
        if source.lane:
            element = source.at(indices(source.shape))
        elif target.lane:
            element = f"S({source.at(indices(source.shape))})"
        else:
            element = source.number_at(indices(source.shape))
        self.emit(f"{loops(target.shape)}{target.at(indices(target.shape))} {operator} {element};")

    def dense(self, value: Value) -> Value:
        """Return the value if it is contiguous, else a temporary copy."""
        if value.strides == contiguous(value.shape) and value.literal is None:
            return value
        offset = self.nodes.allocate("tmp" if value.lane else "u", value.size)
        copied = Value(
            "tmp" if value.lane else "u", offset, value.shape, contiguous(value.shape), value.lane, value.mask
        )
        self.copy(value, copied)
        return copied

    def scratch(self, shape: Shape) -> Value:
        """Make room for numbers that lanes share."""
        return Value("u", self.nodes.allocate("u", math.prod(shape)), shape, contiguous(shape), False)

    def constant(self, node: fx.Node) -> torch.Tensor | None:
        """Return the tensor of a node that is constant, else None."""
        return self.nodes.known.get(node)

    def table(self, numbers: Sequence[int]) -> str:
        """Define a constant table of integers, and return its name."""
        return self.nodes.table("int", [str(number) for number in numbers])

    # ------------------------------------------------------------------------------------------------- writing

    def claim(self, node: fx.Node, place: Value, mine: set[fx.Node]) -> None:
        """Ask for a node's result to be computed in a given place, if it is among `mine` and has no place yet."""
        if node in mine and not self.nodes.is_view(node) and node not in self.nodes.known:
            self._claimed.setdefault(node, place)

    def write(self, nodes: Sequence[fx.Node], kept: set[fx.Node]) -> None:
        """Write the code of some nodes.

        Args:
            nodes: in the order of the graph.
            kept: nodes whose results must be in memory, because code outside this function reads them.

        Raises:
            Refused: an operation is not in the table, or gives numbers that are not float32.
        """
        nodes = [node for node in nodes if node.op == "call_function" and node not in self.nodes.known]
        # find sums of products first, from their ends: each becomes one pass, and the nodes within it need no code
        together = {node for node in nodes if self.nodes.lane[node]}
        sums: dict[fx.Node, Sum] = {}
        absorbed: set[fx.Node] = set()
        for node in reversed(nodes):
            if (
                node in together
                and node not in absorbed
                and (found := products.sum_at(node, together - kept)) is not None
            ):
                sums[node] = found
                absorbed.update(found.absorbed)
        nodes = [node for node in nodes if node not in absorbed]
        # then decide places and order, and write loops, sums, copies and kernels
        self._claim_parts(nodes)
        for item in self._plan(nodes, sums):
            if isinstance(item, _Group):
                self._write_group(item, kept)
            elif item in sums:
                self.nodes.places[item] = products.write_sum(self, item, sums[item], self._addends(sums[item]))
            elif not self.nodes.is_view(item):
                entry = OPERATIONS.get(operation(item))
                if isinstance(entry, View):  # strides cannot express it (a transposed matrix as a vector, say): copy
                    source = self.value(item.all_input_nodes[0])
                    place = reshaped(self.home(item), source.shape)
                    assert place is not None
                    self.copy(source, place)
                    continue
                if not isinstance(entry, Kernel):
                    raise Refused(f"the operation {operation(item)} is not in the table of lanes{at(of_node(item))}")
                refuse_type(item, self.nodes.known)
                try:
                    self.nodes.places[item] = entry.write(self, item, arguments(item))
                except NotImplementedError as error:
                    raise Refused(f"{operation(item)}: {error}{at(of_node(item))}") from error

    def _claim_parts(self, nodes: Sequence[fx.Node]) -> None:
        """Let the parts of a concatenation be computed in their places within it, so that nothing is copied."""
        mine = set(nodes)
        for node in reversed(nodes):
            if operation(node) != "cat":
                continue
            parts, axis = arguments(node)[0], arguments(node)[1] % len(shape_of(node))
            whole = self.home(node)
            start = 0
            for part in parts:
                length = shape_of(part)[axis]
                place = whole.viewed(shape_of(part), whole.strides, start * whole.strides[axis])
                # only a dense part, since `Nodes.classify` took all results for dense
                dense = math.prod(shape_of(part)[:axis]) == 1
                if dense and self._buffers.get(part, self._buffer) in (self._buffer, whole.buffer):
                    self.claim(part, place, mine)
                start += length

    def _addends(self, found: Sum) -> list[Value]:
        """List the addends of a sum; those that all lanes share, such as biases, become one, in the prologue."""
        shared = [node for node in found.addends if not self.nodes.lane[node]]
        rest = [self.value(node) for node in found.addends if self.nodes.lane[node]]
        values = [self.value(node) for node in shared]
        if len(shared) < 2 or self._prologue is None:
            return values + rest
        shape = broadcast(*(value.shape for value in values))
        place = Value("u", self.nodes.allocate("u", math.prod(shape)), shape, contiguous(shape), False)
        self._prologue.copy(values[0], place)
        for value in values[1:]:
            self._prologue.copy(value, place, "+=")
        return [place, *rest]

    def _plan(self, nodes: Sequence[fx.Node], sums: dict[fx.Node, Sum]) -> list[_Group | fx.Node]:
        """Order the nodes so that pointwise ones of one shape come together, as groups that share a loop."""
        waiting = list(nodes)
        done: set[fx.Node] = set()
        mine = set(nodes)
        needs = {node: _needs(node, sums, mine) for node in nodes}
        plan: list[_Group | fx.Node] = []
        group: _Group | None = None

        def joins(node: fx.Node) -> bool:
            if group is None or not self._pointwise(node, sums):
                return False
            if squeezed(shape_of(node)) != group.shape or self.nodes.lane[node] != group.lane:
                return False
            # a result that is read through a view must be in memory before the loop, not in a register of it
            return not any(p not in group.nodes and self.nodes.root(p) in group.nodes for p in node.all_input_nodes)

        # of the nodes whose arguments are done: views first (they cost nothing), then those that join the group at hand
        while waiting:
            ready = [node for node in waiting if needs[node] <= done]
            node = next((n for n in ready if self.nodes.is_view(n)), None) or next((n for n in ready if joins(n)), None)
            if node is None:
                # nothing joins: the group is complete, and the first node that is ready begins what comes next
                node = ready[0]
                group = None
                if self._pointwise(node, sums):
                    group = _Group(squeezed(shape_of(node)), self.nodes.lane[node])
                    plan.append(group)
                else:
                    plan.append(node)
            if not self.nodes.is_view(node) and self._pointwise(node, sums):
                assert group is not None
                group.nodes.append(node)
            waiting.remove(node)
            done.add(node)
        return plan

    def _pointwise(self, node: fx.Node, sums: dict[fx.Node, Sum]) -> bool:
        return node not in sums and isinstance(OPERATIONS.get(operation(node)), Pointwise)

    def _write_group(self, group: _Group, kept: set[fx.Node]) -> None:
        """Write one loop for a group; results are stored only if something outside the loop reads them."""
        # each result is a register of the loop, t0, t1, ..., by its node
        names: dict[fx.Node, str] = {}
        parts: list[str] = []
        mine = set(group.nodes)
        group.in_step = group.lane and bool(group.shape) and any(operation(node) in _LONG for node in group.nodes)
        for node in group.nodes:
            refuse_type(node, self.nodes.known)
            entry = OPERATIONS[operation(node)]
            assert isinstance(entry, Pointwise)
            given = [
                None if argument is None else self._element(argument, node, names, group, position in entry.masks)
                for position, argument in enumerate(arguments(node))
            ]
            # absent arguments at the end are left to the defaults of the expression
            while given and given[-1] is None:
                given.pop()
            name = f"t{len(names)}"
            mask = node.meta["val"].dtype == torch.bool
            kind = group.integers if mask else group.vector
            parts.append(f"{kind} {name} = {entry.expression(*given)};")
            names[node] = name
            # stored only for readers beyond the loop
            if node in kept or node in self._claimed or any(user not in mine for user in node.users):
                place = self._squeezed(self.home(node), shape_of(node))
                target = place.at(indices(group.shape))
                result = name if not mask else f"({group.vector}){name}" if group.lane else f"of_truth({name})"
                if group.in_step:
                    parts.append(f"put<count.value, {place.strides[-1]}>(&{target}, {result});")
                else:
                    parts.append(f"{target} = {result};")
        code = " ".join(parts)
        if group.in_step:
            *outer, last = group.shape
            self.emit(
                f"{loops(tuple(outer))}in_step<vf, {last}>([&](auto count, int i{len(outer)}) INLINED {{ "
                f"typedef Some<vf, count.value> some_vf; typedef Ints<some_vf> some_vi; {code} }});"
            )
        else:
            self.emit(f"{loops(group.shape)}{{ {code} }}")

    def _element(
        self, argument: Any, node: fx.Node, names: dict[fx.Node, str], group: _Group, as_mask: bool
    ) -> Expression | Any:
        """Write one argument of a pointwise node as C++: a register of this loop, or a read from memory."""
        if isinstance(argument, bool | str | torch.dtype | torch.device | torch.layout | torch.memory_format):
            return argument if isinstance(argument, str) else Expression(str(argument))
        if isinstance(argument, int | float):
            text = number(float(argument))
            expression = Expression(f"{group.vector}(S({text}))" if group.lane else f"all<number>({text})")
            expression.number = float(argument)
            return expression
        # masks that lanes share are numbers in memory, 1 and 0; in registers, masks are vectors of integers, or bool
        mask = argument.meta["val"].dtype == torch.bool
        if argument in names:
            text = names[argument]
        else:
            value = self._squeezed(expanded(self.value(argument), shape_of(node)), shape_of(node))
            text = self._read(value, group, mask)
        one, zero = (f"{group.vector}(S({digit}.f))" for digit in (1, 0))
        if mask and not as_mask:
            text = f"vselect({text}, {one}, {zero})" if group.lane else f"of_truth({text})"
        elif as_mask and not mask:
            text = f"({text} != {zero if group.lane else '0.f'})"
        return Expression(text)

    @staticmethod
    def _read(value: Value, group: _Group, mask: bool) -> str:
        """Write the read of an element in a group's loop."""
        text, stride = value.at(indices(group.shape)), value.strides[-1] if value.strides else 0
        if not group.lane:
            text = value.number_at(indices(group.shape))
            return f"({text} != 0.f)" if mask else text
        if value.lane:
            if group.in_step:
                text = f"some<count.value, {stride}>(&{text})"
            return f"({group.integers}){text}" if mask else text
        # in a loop over vectors, a number that lanes share is copied to all of them
        if group.in_step and stride and value.literal is None:
            text = f"some_numbers<vf, count.value, {stride}>(&{text})"
        else:
            text = f"{group.vector}(S({text}))"
        return f"({text} != {group.vector}(S(0.f)))" if mask else text

    @staticmethod
    def _squeezed(value: Value, shape: Shape) -> Value:
        """Drop the axes that have length 1 in a shape."""
        kept = [axis for axis, length in enumerate(shape) if length != 1]
        return value.viewed([value.shape[axis] for axis in kept], [value.strides[axis] for axis in kept])

    def _place(self, node: fx.Node) -> Value | tuple[Value, ...]:
        """Find or decide where a node's result is: a constant, a view of another place, or a place of its own."""
        places = self.nodes.places
        if node in places:
            return places[node]
        if node in self.nodes.known:
            places[node] = self.nodes.constant_value(node)
        elif self.nodes.is_view(node):
            place = seen(node, [self._place(node.all_input_nodes[0])])
            assert place is not None, f"{node} was a view when its argument was dense"
            places[node] = place
        else:
            # its code is not written yet: it gets its place now, and the plan puts the code before its readers'
            places[node] = self._claimed.get(node) or self._new(node)
        return places[node]

    def _new(self, node: fx.Node) -> Value:
        """Allocate a dense place for a node's result."""
        shape, lane = shape_of(node), self.nodes.lane[node]
        buffer = self._buffers.get(node, self._buffer) if lane else "u"
        offset = self.nodes.allocate(buffer, math.prod(shape))
        return Value(buffer, offset, shape, contiguous(shape), lane, node.meta["val"].dtype == torch.bool)


def _needs(node: fx.Node, sums: dict[fx.Node, Sum], mine: set[fx.Node]) -> set[fx.Node]:
    """Find the nodes of the same function that must come before a node."""
    if node in sums:
        found = sums[node]
        parents = [*found.addends, *(n for pair in found.products for n in pair)]
    else:
        parents = node.all_input_nodes
    return {parent for parent in parents if parent in mine}
