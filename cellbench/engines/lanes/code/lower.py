"""From the traced graphs to C++: six functions and the sizes of their buffers.

These are the buffers of the generated code. Elements of p, u, g and gu are numbers, all others are vectors. A vector
has one lane per example, for each of the replicas that share it; a number has one float per replica.

| name | content | lasts for |
| --- | --- | --- |
| p, u | parameters and frozen tensors; tensors derived from them, and the initial state | a training step |
| g, gu | gradients of p and u | a training step |
| x, s, n, y | input, state before, state after, logits of a time step | the sequence (y: the time step) |
| r, b | results of forward that backward reads; those of backward that the put-off products read | the sequence |
| dy, dn, ds | cotangents of logits, of the state after and of the state before | the time step (dy: the sequence) |
| acc | sums over time of gradients that are not products | a training step |
| tmp | everything else | the time step |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx

from cellbench.engines.engine import Refused
from cellbench.engines.lanes.code.function import Function
from cellbench.engines.lanes.code.gradients import Terms
from cellbench.engines.lanes.code.nodes import Nodes
from cellbench.engines.lanes.code.operations import OPERATIONS, View, arguments
from cellbench.engines.lanes.code.values import Shape, Value, contiguous
from cellbench.engines.lanes.graph.graphs import operation, placeholders_of, results_of, shape_of
from cellbench.engines.lanes.graph.trace import Traced, Use

PADDING = 16
"""Rows of parameters are padded to a multiple of this: whole vectors of the widest instruction set."""
SIGNATURES = {
    "prologue": "const number *__restrict p, number *__restrict u",
    "forward": "const number *__restrict p, const number *__restrict u, const vf *__restrict x, "
    "const vf *__restrict s, vf *__restrict n, vf *__restrict r, vf *__restrict y, vf *__restrict tmp",
    "backward": "const number *__restrict p, const number *__restrict u, const vf *__restrict x, "
    "const vf *__restrict s, const vf *__restrict n, const vf *__restrict r, vf *__restrict b, "
    "const vf *__restrict dy, const vf *__restrict dn, vf *__restrict ds, vf *__restrict acc, vf *__restrict tmp",
    "products": "number *__restrict g, number *__restrict gu, vf *__restrict acc, const vf *x, const vf *h, "
    "const vf *r, const vf *b, const vf *dy, long T",
    "settle": "number *__restrict g, number *__restrict gu, const number *__restrict totals",
    "epilogue": "const number *__restrict p, number *__restrict u, const number *__restrict gu, number *__restrict g",
}
OVER_VECTORS = ("forward", "backward", "products")
"""These are templates over the vector and its mask, too: those of lanes.h, or several side by side (several.h)."""


@dataclass(frozen=True)
class Lowered:
    """A program in C++.

    Attributes:
        source: the text between the headers.
        trained, frozen: name and number of elements of each tensor, in the order of a replica's row.
        row: floats in a replica's row; trained ones fill its first `trained_row`.
        trained_row: floats of the trained part, padding included.
    """

    source: str
    trained: list[tuple[str, int]]
    frozen: list[tuple[str, int]]
    row: int
    trained_row: int


def lower(traced: Traced) -> Lowered:
    """Write the C++ program of a traced model.

    Raises:
        Refused: the model needs an operation that is not in the table.
    """
    return _Lowering(traced).write()


class _Lowering:
    """The two graphs of a model while they become C++.

    Attributes:
        traced: the graphs.
        nodes: facts of all their nodes.
        parameters: where the model's tensors are, trained ones first.
        trained_row, row: floats of a replica's trained part, and of all.
        cotangents: where the gradients of the derived tensors are.
        first_gradient: where in gu those of the initial state begin.
    """

    def __init__(self, traced: Traced) -> None:
        self.traced = traced
        self.nodes = Nodes()
        trained, frozen = traced.tensors.trained, traced.tensors.frozen
        self.parameters, self.trained_row = _row([tuple(t.shape) for t in trained.values()], "p", 0)
        more, self.row = _row([tuple(t.shape) for t in frozen.values()], "p", self.trained_row)
        self.parameters += more
        self.cotangents = _in_turn(traced.derived, "gu", lane=False)
        self.nodes.sizes["gu"] = sum(value.size for value in self.cotangents)
        initial = len(traced.derived) - len(traced.states)
        self.first_gradient = sum(value.size for value in self.cotangents[:initial])

    def write(self) -> Lowered:
        """Write the sizes, the tables and the six functions."""
        traced, sizes = self.traced, self.nodes.sizes
        # the functions come first, since writing them allocates the buffers and fills the tables
        prologue, epilogue, derived, first = self._prologue()
        functions = {"prologue": prologue, "epilogue": epilogue, **self._step(prologue, derived)}
        defined = {
            "INPUTS": traced.inputs,
            "OUTPUTS": traced.outputs,
            "STATES": sum(math.prod(shape) for shape in traced.states),
            "TRAINED": self.trained_row,
            "ROW": self.row,
            "FIRST": first,
            "FIRST_GRADIENT": self.first_gradient,
            "DERIVED": sizes["u"],
            "DERIVED_GRADIENTS": sizes["gu"],
            "RESIDUALS": sizes["r"],
            "BACKWARD": sizes["b"],
            "SUMS": sizes["acc"],
            "TEMPORARY": sizes["tmp"],
        }
        lines = [f"enum : long {{ {', '.join(f'{name} = {size}' for name, size in defined.items())} }};"]
        lines += self.nodes.constants
        for name, signature in SIGNATURES.items():
            text = "\n".join(f"  {line}" for line in functions[name].lines)
            types = "class vf, class vi, class number" if name in OVER_VECTORS else "class number"
            written = f"template <{types}> static void {name}({signature}) {{\n{text}\n}}"
            lines.append(written if name in OVER_VECTORS else f"ROUNDED_EACH\n{written}\nROUNDED_AS_BEFORE")
        return Lowered(
            source="\n".join(lines) + "\n",
            trained=[(name, tensor.numel()) for name, tensor in traced.tensors.trained.items()],
            frozen=[(name, tensor.numel()) for name, tensor in traced.tensors.frozen.items()],
            row=self.row,
            trained_row=self.trained_row,
        )

    def _prologue(self) -> tuple[Function, Function, list[Value], int]:
        """Write the prologue and its backward half.

        Returns:
            The prologue, the epilogue, where the derived tensors are, and where in u the initial state begins.
        """
        traced, graph = self.traced, self.traced.prologue.graph
        inputs, results = placeholders_of(graph), results_of(graph)
        for node, place in zip(inputs, [*self.parameters, *self.cotangents], strict=True):
            self.nodes.place(node, place)
        self.nodes.classify(traced.prologue)
        count, states = len(traced.derived), len(traced.states)
        early = _needed(results[:count])
        late = _needed(results[count:]) - early
        prologue = Function(self.nodes, "u")
        prologue.write([node for node in graph.nodes if node in early], kept=early)
        derived = [prologue.value(node) for node in results[:count]]
        # the leaves of the initial state, side by side, so that the driver can copy them to all lanes
        first = self.nodes.allocate("u", sum(value.size for value in derived[count - states :]))
        for value, place in zip(derived[count - states :], _in_turn(traced.states, "u", False, first), strict=True):
            prologue.copy(value, place)
        # the epilogue adds the gradients that go through derived tensors to those of the parameters
        epilogue = Function(self.nodes, "u")
        epilogue.write([node for node in graph.nodes if node in late], kept=late)
        for node, place in zip(results[count:], self.parameters, strict=False):
            value = epilogue.value(node)
            if value.literal != 0:
                epilogue.copy(value, replace(place, buffer="g"), "+=")
        self._hooks(epilogue)
        return prologue, epilogue, derived, first

    def _hooks(self, epilogue: Function) -> None:
        """Let the epilogue end with the hooks on gradients, which see all of them added up."""
        hooks = self.traced.hooks
        if hooks is None:
            return
        gradients = [replace(place, buffer="g") for place in self.parameters[: len(self.traced.tensors.trained)]]
        for node, place in zip(placeholders_of(hooks.graph), [*self.parameters, *gradients], strict=True):
            self.nodes.place(node, place)
        self.nodes.classify(hooks)
        results = results_of(hooks.graph)
        needed = _needed(results)
        epilogue.write([node for node in hooks.graph.nodes if node in needed], kept=needed)
        # all are computed before the first is stored, and a view of a gradient is copied before it is stored over it
        values = [epilogue.dense(epilogue.value(node)) for node in results]
        for which, value in zip(self.traced.hooked, values, strict=True):
            epilogue.copy(value, gradients[which])

    def _step(self, prologue: Function, derived: Sequence[Value]) -> dict[str, Function]:
        """Write the step, forward and backward, and what follows a sequence; what lanes share goes to the prologue."""
        traced, graph, nodes = self.traced, self.traced.step.graph, self.nodes
        inputs, results = placeholders_of(graph), results_of(graph)
        states = len(traced.states)
        # the places of the inputs: uses, x, cotangents of the logits, states before and cotangents of the states after
        uses, lanes = inputs[: len(traced.uses)], inputs[len(traced.uses) :]
        places: list[Value] = []
        for node, use in zip(uses, traced.uses, strict=True):
            place, gradient = self._across(use, derived)
            nodes.place(node, place)
            if use.kind != "frozen":
                places.append(gradient)
        nodes.place(lanes[0], _in_turn([(1, traced.inputs)], "x")[0])
        nodes.place(lanes[1 + states], _in_turn([(1, traced.outputs)], "dy")[0])
        for some, buffer in ((lanes[1 : 1 + states], "s"), (lanes[2 + states :], "dn")):
            for node, place in zip(some, _in_turn(traced.states, buffer), strict=True):
                nodes.place(node, place)
        nodes.classify(traced.step)

        # forward computes logits and next state, backward all the rest; nodes that lanes share are computed before both
        logits, after, gradients = results[0], results[1 : 1 + states], results[1 + states :]
        before = gradients[len(places) :]
        terms = Terms(nodes, gradients[: len(places)], places)
        early = _needed([logits, *after])
        late = _needed([*before, *terms.read()]) - early
        shared = {node for node in early | late if not nodes.lane[node]}
        prologue.write([node for node in graph.nodes if node in shared], kept=shared)
        early, late = early - shared, late - shared

        # results of forward that backward or the put-off products read are kept for the sequence, in r
        operands = terms.operands()
        across = {nodes.root(parent) for node in late for parent in node.all_input_nodes} | operands
        forward = Function(nodes, "tmp", buffers=dict.fromkeys(across, "r"), prologue=prologue)
        for node, place in zip(after, _in_turn(traced.states, "n"), strict=True):
            forward.claim(node, place, early)
        if logits not in across:
            forward.claim(logits, _in_turn([shape_of(logits)], "y")[0], early)
        forward.write([node for node in graph.nodes if node in early], kept={*across, *after, logits})
        _deliver(forward, [logits], "y")
        _deliver(forward, after, "n")

        # results of backward that the put-off products read are kept, in b
        backward = Function(nodes, "tmp", buffers=dict.fromkeys(operands, "b"), prologue=prologue)
        for node, place in zip(before, _in_turn(traced.states, "ds"), strict=True):
            if node not in operands:
                backward.claim(node, place, late)
        backward.write([node for node in graph.nodes if node in late], kept={*operands, *before, *terms.summed()})
        _deliver(backward, before, "ds")
        put_off, settle = terms.write(backward)
        return {"forward": forward, "backward": backward, "products": put_off, "settle": settle}

    def _across(self, use: Use, derived: Sequence[Value]) -> tuple[Value, Value]:
        """Find where a use is read and where its gradient is added: the same views of two buffers."""
        if use.kind == "derived":
            ends: list[Any] = [derived[use.index], self.cotangents[use.index]]
        else:
            place = self.parameters[use.index + (len(self.traced.tensors.trained) if use.kind == "frozen" else 0)]
            ends = [place, replace(place, buffer="g")]
        for view in use.views:
            entry = OPERATIONS[operation(view)]
            assert isinstance(entry, View)
            shape = shape_of(view) if isinstance(view.meta["val"], torch.Tensor) else ()
            ends = [entry.place(arguments(view), end, shape) for end in ends]
            if any(end is None for end in ends):
                raise Refused(f"{operation(view)} of a parameter cannot be seen in place")
        return ends[0], ends[1]


def _deliver(function: Function, nodes: Sequence[fx.Node], buffer: str) -> None:
    """Copy results to the buffer where the driver reads them, unless they were computed there."""
    for node, place in zip(nodes, _in_turn([shape_of(node) for node in nodes], buffer), strict=True):
        value = function.value(node)
        if value != place:
            function.copy(value, place)


def _in_turn(shapes: Sequence[Shape], buffer: str, lane: bool = True, start: int = 0) -> list[Value]:
    """Lay out dense values in a buffer, one after the other."""
    values = []
    for shape in shapes:
        values.append(Value(buffer, start, shape, contiguous(shape), lane))
        start += math.prod(shape)
    return values


def _row(shapes: Sequence[Shape], buffer: str, start: int) -> tuple[list[Value], int]:
    """Lay out values that lanes share, one after the other; also returns their end, padded to whole vectors."""
    values = _in_turn(shapes, buffer, False, start)
    end = start + sum(value.size for value in values)
    return values, -(-end // PADDING) * PADDING


def _needed(nodes: Sequence[fx.Node]) -> set[fx.Node]:
    """Collect these nodes and all that they depend on."""
    found: set[fx.Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(node.all_input_nodes)
    return found
