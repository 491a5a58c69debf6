"""From the traced graphs to C++: five functions and the sizes of their buffers.

Buffers of the generated code, each element of the lane ones a vector of batch lanes:

| name | what | lives |
| --- | --- | --- |
| p, u | parameters and frozen tensors; what is derived from them, and the initial state | a training step |
| g, gu | gradients of p and u | a training step |
| x, s, n, y | input, state before, state after, logits of a time step | the sequence (y: the step) |
| r, b | what the backward half reads of the forward half; what the put-off products read of the backward half | the sequence |
| dy, dn, ds | cotangents of logits, of the state after and of the state before | the step (dy: the sequence) |
| acc | sums over time of gradients that are no products | a training step |
| tmp | everything else | the step |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from cellbench.training.engines import Refused
from cellbench.training.engines.lanes import products
from cellbench.training.engines.lanes.operations import (
    OPERATIONS,
    Expression,
    Kernel,
    Pointwise,
    View,
    arguments,
    indices,
    loops,
    shape_of,
)
from cellbench.training.engines.lanes.products import Outer, Sum, squeezed
from cellbench.training.engines.lanes.trace import Traced, Use, operation
from cellbench.training.engines.lanes.values import Shape, Value, contiguous, expanded, number, reshaped

PADDING = 16
"""Rows of parameters are padded to whole vectors of the widest kind."""
_FOLDS = frozenset("sum mean amax amin prod".split())
_SHAPED = frozenset("zeros_like ones_like full_like new_zeros new_ones new_full empty_like".split())
"""Operations that look at the shape of their argument alone."""

SIGNATURES = {
    "prologue": "const float *__restrict p, float *__restrict u",
    "forward": "const float *__restrict p, const float *__restrict u, const vf *__restrict x, const vf *__restrict s, "
    "vf *__restrict n, vf *__restrict r, vf *__restrict y, vf *__restrict tmp",
    "backward": "const float *__restrict p, const float *__restrict u, const vf *__restrict x, const vf *__restrict s, "
    "const vf *__restrict n, const vf *__restrict r, vf *__restrict b, const vf *__restrict dy, "
    "const vf *__restrict dn, vf *__restrict ds, vf *__restrict acc, vf *__restrict tmp",
    "products": "float *__restrict g, float *__restrict gu, const vf *x, const vf *h, const vf *r, const vf *b, "
    "const vf *dy, long T",
    "settle": "float *__restrict g, float *__restrict gu, const vf *__restrict acc",
    "epilogue": "const float *__restrict p, float *__restrict u, const float *__restrict gu, float *__restrict g",
}


@dataclass(frozen=True)
class Lowered:
    """A program in C++.

    Attributes:
        source: the text between the headers.
        trained, frozen: name and number of each tensor, in the order in which they lie in a replica's row.
        row: floats in a replica's row; trained ones fill its first `trained_row`.
        trained_row: floats of the trained part, padding included.
    """

    source: str
    trained: list[tuple[str, int]]
    frozen: list[tuple[str, int]]
    row: int
    trained_row: int


@dataclass
class _Group:
    """Pointwise nodes that share one loop."""

    shape: Shape
    lane: bool
    nodes: list[fx.Node] = field(default_factory=list)


def lower(traced: Traced) -> Lowered:
    """Write the program.

    Raises:
        Refused: it needs an operation that is not in the table.
    """
    return _Program(traced).write()


class _Program:
    """What the functions share: places of inputs, sizes of buffers, constants."""

    def __init__(self, traced: Traced) -> None:
        self.traced = traced
        self.sizes = dict.fromkeys(("u", "r", "b", "acc", "tmp"), 0)
        self.constants: list[str] = []
        self.places: dict[fx.Node, Value | tuple[Value, ...]] = {}
        self.known: dict[fx.Node, torch.Tensor] = {}
        self.lane: dict[fx.Node, bool] = {}
        self._views: set[fx.Node] = set()
        trained, frozen = traced.tensors.trained, traced.tensors.frozen
        self.parameters: list[Value] = []
        offset = 0
        for tensors in (trained, frozen):
            for tensor in tensors.values():
                shape = tuple(tensor.shape)
                self.parameters.append(Value("p", offset, shape, contiguous(shape), False))
                offset += tensor.numel()
            offset = -(-offset // PADDING) * PADDING
            if tensors is trained:
                self.trained_row = offset
        self.row = offset
        self.cotangents: list[Value] = []
        offset = 0
        for shape in traced.derived:
            self.cotangents.append(Value("gu", offset, shape, contiguous(shape), False))
            offset += math.prod(shape)
        self.sizes["gu"] = offset

    def write(self) -> Lowered:
        traced = self.traced
        prologue, epilogue, derived = self._prologue()
        bodies = {"prologue": prologue, "epilogue": epilogue}
        bodies |= self._step(prologue, derived)
        defined = {
            "INPUTS": traced.inputs,
            "OUTPUTS": traced.outputs,
            "STATES": sum(math.prod(shape) for shape in traced.states),
            "TRAINED": self.trained_row,
            "ROW": self.row,
            "FIRST": self.first,
            "FIRST_GRADIENT": self.first_gradient,
            "DERIVED": self.sizes["u"],
            "DERIVED_GRADIENTS": self.sizes["gu"],
            "RESIDUALS": self.sizes["r"],
            "BACKWARD": self.sizes["b"],
            "SUMS": self.sizes["acc"],
            "TEMPORARY": self.sizes["tmp"],
        }
        lines = [
            f"enum : long {{ {', '.join(f'{name} = {size}' for name, size in defined.items())} }};",
            *self.constants,
        ]
        for name, signature in SIGNATURES.items():
            text = "\n".join(f"  {line}" for line in bodies[name].lines)
            lines.append(f"static void {name}({signature}) {{\n{text}\n}}")
        return Lowered(
            source="\n".join(lines) + "\n",
            trained=[(name, tensor.numel()) for name, tensor in traced.tensors.trained.items()],
            frozen=[(name, tensor.numel()) for name, tensor in traced.tensors.frozen.items()],
            row=self.row,
            trained_row=self.trained_row,
        )

    # ------------------------------------------------------------------------------------------- the two graphs

    def _prologue(self) -> tuple[_Body, _Body, list[Value]]:
        traced, graph = self.traced, self.traced.prologue.graph
        inputs, results = _ends(graph)
        for node, place in zip(inputs, [*self.parameters, *self.cotangents], strict=True):
            self.places[node], self.lane[node] = place, False
        self._classify(traced.prologue)
        count = len(traced.derived)
        early = _needed(results[:count])
        late = _needed(results[count:]) - early
        prologue = _Body(self, "u")
        prologue.write([node for node in graph.nodes if node in early], kept=early)
        derived = [prologue.value(node) for node in results[:count]]
        # the initial state: one run of numbers that the driver copies to all lanes
        states = len(traced.states)
        self.first, self.first_gradient = self.sizes["u"], sum(math.prod(s) for s in traced.derived[: count - states])
        for value in derived[count - states :]:
            prologue.copy(
                value, Value("u", self.allocate("u", value.size), value.shape, contiguous(value.shape), False)
            )
        epilogue = _Body(self, "u")
        epilogue.write([node for node in graph.nodes if node in late], kept=late)
        for node, place in zip(results[count:], self.parameters, strict=False):
            value = epilogue.value(node)
            if value.literal != 0:
                epilogue.copy(value, Value("g", place.offset, place.shape, place.strides, False), "+=")
        return prologue, epilogue, derived

    def _step(self, prologue: _Body, derived: Sequence[Value]) -> dict[str, _Body]:
        traced, graph = self.traced, self.traced.step.graph
        inputs, results = _ends(graph)
        states, uses = len(traced.states), len(traced.uses)
        gradients: list[Value] = []
        for node, use in zip(inputs, traced.uses, strict=False):
            place, gradient = self._across(use, derived)
            self.places[node], self.lane[node] = place, False
            if use.kind != "frozen":
                gradients.append(gradient)
        lanes = iter(inputs[uses:])
        self._place_lane(next(lanes), "x", 0)
        for buffer in ("s", "dn"):
            offset = 0
            if buffer == "dn":
                self._place_lane(next(lanes), "dy", 0)
            for shape in traced.states:
                self._place_lane(next(lanes), buffer, offset)
                offset += math.prod(shape)
        self._classify(traced.step)

        logits, after = results[0], results[1 : 1 + states]
        of_uses, before = results[1 + states : 1 + states + len(gradients)], results[1 + states + len(gradients) :]
        terms = _Terms(self, of_uses, gradients)
        early = _needed([logits, *after])
        late = _needed([*before, *terms.nodes()]) - early
        shared = {node for node in early | late if not self.lane[node]}
        prologue.write([node for node in graph.nodes if node in shared], kept=shared)

        early, late = early - shared, late - shared
        operands = terms.operands()
        across = {self.root(parent) for node in late for parent in node.all_input_nodes} | operands
        forward = _Body(self, "tmp", buffers={node: "r" for node in across}, prologue=prologue)
        offset = 0
        for node, shape in zip(after, traced.states, strict=True):
            forward.claim(node, Value("n", offset, shape, contiguous(shape), True), early)
            offset += math.prod(shape)
        if logits not in across:
            forward.claim(logits, Value("y", 0, shape_of(logits), contiguous(shape_of(logits)), True), early)
        forward.write([node for node in graph.nodes if node in early], kept={*across, *after, logits})
        self._deliver(forward, [logits], "y")
        self._deliver(forward, after, "n")

        backward = _Body(self, "tmp", buffers={node: "b" for node in operands}, prologue=prologue)
        offset = 0
        for node, shape in zip(before, traced.states, strict=True):
            if node not in operands:
                backward.claim(node, Value("ds", offset, shape, contiguous(shape), True), late)
            offset += math.prod(shape)
        backward.write([node for node in graph.nodes if node in late], kept={*operands, *before, *terms.plain_nodes()})
        self._deliver(backward, before, "ds")
        put_off, settle = terms.write(backward)
        return {"forward": forward, "backward": backward, "products": put_off, "settle": settle}

    def _deliver(self, body: _Body, nodes: Sequence[fx.Node], buffer: str) -> None:
        """Copy results to where the driver looks for them, unless they were computed there."""
        offset = 0
        for node in nodes:
            value, shape = body.value(node), shape_of(node)
            place = Value(buffer, offset, shape, contiguous(shape), True)
            if value != place:
                body.copy(value, place)
            offset += math.prod(shape)

    def _place_lane(self, node: fx.Node, buffer: str, offset: int) -> None:
        shape = shape_of(node)
        self.places[node], self.lane[node] = Value(buffer, offset, shape, contiguous(shape), True), True

    def _across(self, use: Use, derived: Sequence[Value]) -> tuple[Value, Value]:
        """Where a use is read, and where its gradient is added."""
        if use.kind == "derived":
            ends: list[Any] = [derived[use.index], self.cotangents[use.index]]
        else:
            place = self.parameters[use.index + (len(self.traced.tensors.trained) if use.kind == "frozen" else 0)]
            ends = [place, Value("g", place.offset, place.shape, place.strides, False)]
        for view in use.views:
            entry = OPERATIONS[operation(view)]
            assert isinstance(entry, View)
            shape = shape_of(view) if isinstance(view.meta["val"], torch.Tensor) else ()
            ends = [entry.place(arguments(view), end, shape) for end in ends]
            if any(end is None for end in ends):
                raise Refused(f"{operation(view)} of a parameter cannot be seen in place")
        return ends[0], ends[1]

    # ------------------------------------------------------------------------------------------------ node facts

    def _classify(self, module: fx.GraphModule) -> None:
        """Which nodes are constant, which differ between lanes, which are views of others."""
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
                    self.known[node] = node.target(*given, **node.kwargs)  # type: ignore[operator]
                elif all(parent in self.known for parent in parents):
                    given = fx.node.map_arg(node.args, self.known.__getitem__)
                    self.known[node] = node.target(*given, **node.kwargs)  # type: ignore[operator]

            if node.op == "call_function" and node not in self.known:
                dense[node] = _seen(node, [dense.get(parent, _dense(parent)) for parent in node.all_input_nodes[:1]])
                if dense[node] is None:
                    dense[node] = _dense(node)
                else:
                    self._views.add(node)

    def is_view(self, node: fx.Node) -> bool:
        """Whether a node is seen in its argument's place."""
        return node in self._views

    def root(self, node: fx.Node) -> fx.Node:
        """The node whose storage a view sees."""
        while self.is_view(node):
            node = node.all_input_nodes[0]
        return node

    def allocate(self, buffer: str, size: int) -> int:
        """Room in a buffer; the offset."""
        offset = self.sizes[buffer]
        self.sizes[buffer] += size
        return offset

    def constant_value(self, node: fx.Node) -> Value:
        """A known tensor as a literal or as a table of floats."""
        tensor = self.known[node]
        shape, mask = tuple(tensor.shape), tensor.dtype == torch.bool
        numbers = tensor.detach().to(torch.float32).flatten().tolist()
        if all(value == numbers[0] for value in numbers):
            literal = numbers[0] if numbers else 0.0
            return Value("", 0, shape, (0,) * len(shape), False, mask, literal)
        name = f"c{len(self.constants)}"
        self.constants.append(f"static const float {name}[] = {{{', '.join(map(number, numbers))}}};")
        return Value(name, 0, shape, contiguous(shape), False, mask)


class _Body:
    """One C++ function: walks its nodes, joins pointwise ones into loops, gives results a place."""

    def __init__(
        self,
        program: _Program,
        buffer: str,
        buffers: dict[fx.Node, str] | None = None,
        prologue: _Body | None = None,
    ) -> None:
        self.program = program
        self.lines: list[str] = []
        self._buffer = buffer
        self._buffers = buffers or {}
        self._prologue = prologue
        self._claimed: dict[fx.Node, Value] = {}

    # ---------------------------------------------------------------------------- what operations need (`Body`)

    def emit(self, line: str) -> None:
        self.lines.append(line)

    def value(self, argument: Any) -> Value:
        if not isinstance(argument, fx.Node):
            return Value("", 0, (), (), False, literal=float(argument))
        place = self._place(argument)
        assert isinstance(place, Value), f"{argument} is no single tensor"
        return place

    def home(self, node: fx.Node) -> Value:
        if node not in self.program.places:
            self.program.places[node] = self._claimed.get(node) or self._new(node)
        return self.value(node)

    def copy(self, source: Value, target: Value, operator: str = "=") -> None:
        source = expanded(source, target.shape) if len(source.shape) <= len(target.shape) else source
        element = source.at(indices(source.shape))
        if target.lane and not source.lane:
            element = f"S({element})"
        self.emit(f"{loops(target.shape)}{target.at(indices(target.shape))} {operator} {element};")

    def constant(self, node: fx.Node) -> torch.Tensor | None:
        return self.program.known.get(node)

    def table(self, numbers: Sequence[int]) -> str:
        name = f"c{len(self.program.constants)}"
        self.program.constants.append(f"static const int {name}[] = {{{', '.join(map(str, numbers))}}};")
        return name

    # ------------------------------------------------------------------------------------------------- writing

    def claim(self, node: fx.Node, place: Value, mine: set[fx.Node]) -> None:
        """Ask for a node's result to be computed in a certain place, if it is computed here and has no other."""
        if node in mine and not self.program.is_view(node) and node not in self.program.known:
            self._claimed.setdefault(node, place)

    def write(self, nodes: Sequence[fx.Node], kept: set[fx.Node]) -> None:
        """Code for these nodes; `kept` ones are read by others than nodes."""
        nodes = [node for node in nodes if node.op == "call_function" and node not in self.program.known]
        together = {node for node in nodes if self.program.lane[node]}
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
        self._claim_parts(nodes)
        for item in self._plan(nodes, sums):
            if isinstance(item, _Group):
                self._write_group(item, kept)
            elif item in sums:
                self.program.places[item] = products.write_sum(self, item, sums[item], self._addends(sums[item]))
            elif not self.program.is_view(item):
                entry = OPERATIONS.get(operation(item))
                if isinstance(entry, View):  # one that cannot be seen in place: a dense copy in its shape
                    source = self.value(item.all_input_nodes[0])
                    place = reshaped(self.home(item), source.shape)
                    assert place is not None
                    self.copy(source, place)
                    continue
                if not isinstance(entry, Kernel):
                    raise Refused(f"the operation {operation(item)} is not in the table of lanes")
                _refuse_type(item)
                try:
                    self.program.places[item] = entry.write(self, item, arguments(item))
                except NotImplementedError as error:
                    raise Refused(f"{operation(item)}: {error}") from error

    def _claim_parts(self, nodes: Sequence[fx.Node]) -> None:
        """Let the parts of a concatenation be computed where they end."""
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
                # a part is claimed only if it stays dense, which `_classify` took for granted
                dense = math.prod(shape_of(part)[:axis]) == 1
                if dense and self._buffers.get(part, self._buffer) in (self._buffer, whole.buffer):
                    self.claim(part, place, mine)
                start += length

    def _addends(self, found: Sum) -> list[Value]:
        """What a sum starts from; biases that all lanes share are added to each other once a training step."""
        shared = [node for node in found.addends if not self.program.lane[node]]
        rest = [self.value(node) for node in found.addends if self.program.lane[node]]
        values = [self.value(node) for node in shared]
        if len(shared) < 2 or self._prologue is None:
            return values + rest
        shape = tuple(torch.broadcast_shapes(*(value.shape for value in values)))
        place = Value("u", self.program.allocate("u", math.prod(shape)), shape, contiguous(shape), False)
        self._prologue.copy(values[0], place)
        for value in values[1:]:
            self._prologue.copy(value, place, "+=")
        return [place, *rest]

    def _plan(self, nodes: Sequence[fx.Node], sums: dict[fx.Node, Sum]) -> list[_Group | fx.Node]:
        """An order that keeps pointwise nodes of one shape together."""
        waiting = list(nodes)
        done: set[fx.Node] = set()
        mine = set(nodes)
        needs = {node: _needs(node, sums, mine) for node in nodes}
        plan: list[_Group | fx.Node] = []
        group: _Group | None = None

        def joins(node: fx.Node) -> bool:
            if group is None or not self._pointwise(node, sums):
                return False
            if squeezed(shape_of(node)) != group.shape or self.program.lane[node] != group.lane:
                return False
            # what is read through a view has to be in memory
            return not any(p not in group.nodes and self.program.root(p) in group.nodes for p in node.all_input_nodes)

        while waiting:
            ready = [node for node in waiting if needs[node] <= done]
            node = next((n for n in ready if self.program.is_view(n)), None) or next(
                (n for n in ready if joins(n)), None
            )
            if node is None:
                node = ready[0]
                group = None
                if self._pointwise(node, sums):
                    group = _Group(squeezed(shape_of(node)), self.program.lane[node])
                    plan.append(group)
                else:
                    plan.append(node)
            if not self.program.is_view(node) and self._pointwise(node, sums):
                assert group is not None
                group.nodes.append(node)
            waiting.remove(node)
            done.add(node)
        return plan

    def _pointwise(self, node: fx.Node, sums: dict[fx.Node, Sum]) -> bool:
        return node not in sums and isinstance(OPERATIONS.get(operation(node)), Pointwise)

    def _write_group(self, group: _Group, kept: set[fx.Node]) -> None:
        names: dict[fx.Node, str] = {}
        parts: list[str] = []
        mine = set(group.nodes)
        for node in group.nodes:
            _refuse_type(node)
            entry = OPERATIONS[operation(node)]
            assert isinstance(entry, Pointwise)
            given = [
                None if argument is None else self._element(argument, node, names, group, position in entry.masks)
                for position, argument in enumerate(arguments(node))
            ]
            while given and given[-1] is None:
                given.pop()
            name = f"t{len(names)}"
            mask = node.meta["val"].dtype == torch.bool
            kind = ("vi" if mask else "vf") if group.lane else ("bool" if mask else "float")
            parts.append(f"{kind} {name} = {entry.expression(*given)};")
            names[node] = name
            if node in kept or node in self._claimed or any(user not in mine for user in node.users):
                place = self._squeezed(self.home(node), shape_of(node))
                parts.append(f"{place.at(indices(group.shape))} = {'(vf)' if mask and group.lane else ''}{name};")
        self.emit(f"{loops(group.shape)}{{ {' '.join(parts)} }}")

    def _element(
        self, argument: Any, node: fx.Node, names: dict[fx.Node, str], group: _Group, as_mask: bool
    ) -> Expression | Any:
        """One argument of a pointwise node as C++: a register of this loop, or read from memory."""
        if isinstance(argument, bool | str | torch.dtype | torch.device | torch.layout | torch.memory_format):
            return argument if isinstance(argument, str) else Expression(str(argument))
        if isinstance(argument, int | float):
            text = number(float(argument))
            expression = Expression(f"S({text})" if group.lane else text)
            expression.number = float(argument)
            return expression
        mask = argument.meta["val"].dtype == torch.bool
        if argument in names:
            text = names[argument]
        else:
            value = self.value(argument)
            value = self._squeezed(expanded(value, shape_of(node)), shape_of(node))
            text = value.at(indices(group.shape))
            if value.mask:
                text = f"(vi){text}" if value.lane else f"({text} != 0.f)"
            if group.lane and not value.lane:
                text = f"M({text})" if value.mask else f"S({text})"
        if mask and not as_mask:
            text = f"vselect({text}, {'S(1.f), S(0.f)' if group.lane else '1.f, 0.f'})"
        elif as_mask and not mask:
            text = f"({text} != {'S(0.f)' if group.lane else '0.f'})"
        return Expression(text)

    @staticmethod
    def _squeezed(value: Value, shape: Shape) -> Value:
        kept = [axis for axis, length in enumerate(shape) if length != 1]
        return value.viewed([value.shape[axis] for axis in kept], [value.strides[axis] for axis in kept])

    def _place(self, node: fx.Node) -> Value | tuple[Value, ...]:
        places = self.program.places
        if node in places:
            return places[node]
        if node in self.program.known:
            places[node] = self.program.constant_value(node)
        elif self.program.is_view(node):
            place = _seen(node, [self._place(node.all_input_nodes[0])])
            assert place is not None, f"{node} was a view when its argument was dense"
            places[node] = place
        else:
            # read before it is written: the place is given now, the plan sees to the order
            places[node] = self._claimed.get(node) or self._new(node)
        return places[node]

    def _new(self, node: fx.Node) -> Value:
        shape, lane = shape_of(node), self.program.lane[node]
        buffer = self._buffers.get(node, self._buffer) if lane else "u"
        offset = self.program.allocate(buffer, math.prod(shape))
        return Value(buffer, offset, shape, contiguous(shape), lane, node.meta["val"].dtype == torch.bool)


class _Terms:
    """The gradients of the uses: put-off outer products, and plain sums over time."""

    STEPS: dict[str, str] = {
        "x": "x, INPUTS",
        "s": "h, STATES",
        "n": "h + STATES, STATES",
        "r": "r, RESIDUALS",
        "b": "b, BACKWARD",
        "dy": "dy, OUTPUTS",
    }
    """Buffers that last for the sequence: where the first step's part is, and how far to the next step's."""

    def __init__(self, program: _Program, nodes: Sequence[fx.Node], places: Sequence[Value]) -> None:
        self.program = program
        self.outer: list[Outer] = []
        self.plain: list[tuple[fx.Node, Value]] = []
        for node, place in zip(nodes, places, strict=True):
            known = program.known.get(node)
            if known is not None and not known.any():
                continue
            peeled, target = products.peeled(node, place)
            found = products.outer_product(peeled, target) if program.lane[peeled] else None
            if found is not None:
                self.outer.append(found)
            else:
                self.plain.append((peeled, target))

    def plain_nodes(self) -> set[fx.Node]:
        return {self.program.root(node) for node, _ in self.plain} | {node for node, _ in self.plain}

    def nodes(self) -> list[fx.Node]:
        return [*(n for term in self.outer for n in (term.left, term.right)), *(node for node, _ in self.plain)]

    def operands(self) -> set[fx.Node]:
        """The nodes whose storage the put-off products read."""
        return {self.program.root(node) for term in self.outer for node in (term.left, term.right)}

    def write(self, backward: _Body) -> tuple[_Body, _Body]:
        """Let the backward half keep what is needed; the functions that come after it."""
        put_off, settle = _Body(self.program, "u"), _Body(self.program, "u")
        for term in self.outer:
            rows, columns = term.place.shape
            left, right = self._lasting(backward, term.left), self._lasting(backward, term.right)
            put_off.emit(
                f"outer<{rows}, {columns}, {left.strides[0]}, {right.strides[1]}>("
                f"{term.place.pointer()}, {term.place.strides[0]}, {term.place.strides[1]}, "
                f"{self._steps(left)}, {self._steps(right)}, T);"
            )
        summed: dict[fx.Node, Value] = {}
        for node, place in self.plain:
            if node not in summed:
                value = backward.value(node)
                offset = self.program.allocate("acc", value.size)
                target = Value("acc", offset, value.shape, contiguous(value.shape), True)
                backward.copy(value, target, "+=")
                summed[node] = target
            source = summed[node]
            settle.emit(
                f"{loops(place.shape)}{place.at(indices(place.shape))} += lane_sum({source.at(indices(source.shape))});"
            )
        return put_off, settle

    def _lasting(self, backward: _Body, node: fx.Node) -> Value:
        value = backward.value(node)
        if value.lane and value.buffer in self.STEPS:
            return value
        place = Value("b", self.program.allocate("b", value.size), value.shape, contiguous(value.shape), True)
        backward.copy(value, place)
        return place

    def _steps(self, value: Value) -> str:
        start, step = self.STEPS[value.buffer].split(", ")
        return f"{start} + {value.offset}, {step}"


def _dense(node: fx.Node) -> Value | None:
    """A stand-in for where a node's result will lie."""
    if not isinstance(node.meta.get("val"), torch.Tensor):
        return None
    return Value("", 0, shape_of(node), contiguous(shape_of(node)), True)


def _seen(node: fx.Node, sources: Sequence[Any]) -> Value | tuple[Value, ...] | None:
    """A node as a view of its first argument, or None if it is none."""
    entry, name = OPERATIONS.get(operation(node)), operation(node)
    shape = shape_of(node) if isinstance(node.meta["val"], torch.Tensor) else ()
    if not sources or sources[0] is None:
        return None
    source = sources[0]
    if isinstance(entry, View):
        return entry.place(arguments(node), source, shape)
    same_size = isinstance(source, Value) and source.size == math.prod(shape)
    if name in _FOLDS and same_size and len(node.all_input_nodes) == 1:
        return reshaped(source, shape)
    if name == "_to_copy" and node.meta["val"].dtype == node.all_input_nodes[0].meta["val"].dtype:
        return source
    return None


def _ends(graph: fx.Graph) -> tuple[list[fx.Node], list[fx.Node]]:
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    output = next(node for node in reversed(graph.nodes) if node.op == "output")
    return inputs, list(pytree.tree_leaves(output.args[0]))


def _needed(nodes: Sequence[fx.Node]) -> set[fx.Node]:
    """These nodes and all they depend on."""
    found: set[fx.Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(node.all_input_nodes)
    return found


def _needs(node: fx.Node, sums: dict[fx.Node, Sum], mine: set[fx.Node]) -> set[fx.Node]:
    """The nodes of the same function that have to come before a node."""
    if node in sums:
        found = sums[node]
        parents = [*found.addends, *(n for pair in found.products for n in pair)]
    else:
        parents = node.all_input_nodes
    return {parent for parent in parents if parent in mine}


def _refuse_type(node: fx.Node) -> None:
    value = node.meta["val"]
    if isinstance(value, torch.Tensor) and value.dtype not in (torch.float32, torch.bool):
        raise Refused(f"{operation(node)} gives {str(value.dtype).removeprefix('torch.')}, not float32")
