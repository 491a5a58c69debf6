"""From a model to two small graphs of ATen operations, traced once at batch 1.

The model's step is cut at the *frontier*: what depends on parameters and buffers alone (the prologue) is computed once
per training step, not once per time step. The two graphs are

- the prologue: parameters -> derived tensors and the initial state, and its vector-Jacobian product;
- the step: (uses of parameters and derived tensors, x, state) -> (logits, next state), and its vector-Jacobian product.

A *use* is one place where the step reads a parameter or a derived tensor, directly or through views. Each use is an
input of its own. Its gradient is then a single term (for a matrix, one outer product), and each term is added directly
to the gradient of the parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx
from torch.func import vjp

from cellbench.engines.lanes.code.values import Shape
from cellbench.engines.lanes.graph.forward import Forward, as_kept, as_plain_operations, swapped
from cellbench.engines.lanes.graph.graphs import (
    evaluated,
    graph_of,
    operation,
    output_of,
    run,
    shape_of,
    tensor_arguments,
)
from cellbench.engines.lanes.graph.own_gradients import as_nodes, functions_of
from cellbench.engines.lanes.graph.tensors import Tensors, as_reals, tensors_of
from cellbench.model import Model

_SHAPING = ("t", "transpose", "permute", "view", "unsqueeze", "squeeze", "expand", "alias")
_CUTTING = ("slice", "select", "split", "split_with_sizes", "unbind", "getitem")
FRONTIER_VIEWS = frozenset((*_SHAPING, *_CUTTING))
"""Views through which a use may read its parameter: its gradient is added to the same view of the gradient.

`detach` is not among them, because no gradient may pass it.
"""


@dataclass(frozen=True)
class Use:
    """One place where the step reads something that depends on parameters and buffers alone.

    Attributes:
        kind: `trained`, `frozen` or `derived`.
        index: which tensor of that kind.
        views: nodes of the graph that lead from the tensor to what is read, in order.
    """

    kind: str
    index: int
    views: tuple[fx.Node, ...] = ()


@dataclass
class Traced:
    """The two graphs of a model.

    Attributes:
        tensors: examples of the model's tensors.
        inputs: features of x.
        outputs: logits per step.
        states: the shapes of the state's leaves at batch 1.
        prologue: a graph. Its placeholders are: trained, frozen, cotangents of the derived. Its results are: derived,
            gradients of trained.
        derived: the shapes of the derived tensors; the leaves of the initial state come last.
        step: a graph. Its placeholders are: uses, x, state, cotangents of logits and of the next state. Its results
            are: logits, next state, gradients of the uses that have one (in order), gradients of the state.
        uses: the uses, in the order of the step's placeholders.
        hooks: a graph, or None. Its placeholders are: trained, frozen, gradients of trained. Its results are the
            gradients of the trained tensors in `hooked`, after the hooks of those parameters.
        hooked: places among the trained tensors.
    """

    tensors: Tensors
    inputs: int
    outputs: int
    states: list[Shape]
    prologue: fx.GraphModule
    derived: list[Shape]
    step: fx.GraphModule
    uses: list[Use] = field(default_factory=list)
    hooks: fx.GraphModule | None = None
    hooked: list[int] = field(default_factory=list)


def trace(model: Model, inputs: int) -> Traced:
    """Trace a model's step, its initial state and their vector-Jacobian products.

    Args:
        model: a model that is not needed afterwards; cells that keep tensors in attributes leave traced ones there.
        inputs: features of x.

    Raises:
        Refused: the model cannot be traced, or is not a pure function of parameters, buffers, x and state.
    """
    tensors = tensors_of(model)
    own = functions_of(model, inputs)
    with as_nodes(own), as_plain_operations():
        forward = Forward(model, tensors, inputs)
    forward.twice = bool(own)
    with torch.random.fork_rng(devices=[]):
        frontier = _Frontier(forward)
        prologue = _joint_prologue(frontier)
        step = _joint_step(frontier)
        hooks, hooked = _hooks(model, tensors)
    return Traced(
        tensors=tensors,
        inputs=inputs,
        outputs=forward.outputs,
        states=forward.states,
        prologue=prologue,
        derived=[shape_of(node) for node in [*frontier.derived, *frontier.initial]],
        step=step,
        uses=frontier.uses,
        hooks=hooks,
        hooked=hooked,
    )


class _Frontier:
    """The cut through the forward graph: which nodes belong to the prologue, and where the step reads them.

    Attributes:
        lane: whether a node depends on x or the state; if not, all examples share its value.
        depends: whether a node depends on any input at all; if not, it is a constant.
        derived: the nodes of the prologue that the step reads.
        initial: the nodes of the initial state.
        uses: the step's uses.
        used: the node that each use reads.
        values: example values of the nodes of the prologue.
        sites: (a node of the step, the position among its tensors) -> index of the use that is read there.
    """

    def __init__(self, forward: Forward) -> None:
        self.forward = forward
        self.lane: dict[fx.Node, bool] = {}
        self.depends: dict[fx.Node, bool] = {}
        # the graph is in order, so a node's parents are known before it
        number = len(forward.names)
        for node in forward.graph.nodes:
            if node.op == "placeholder":
                self.lane[node] = forward.placeholders.index(node) >= number
                self.depends[node] = True
            else:
                self.lane[node] = any(self.lane[parent] for parent in node.all_input_nodes)
                self.depends[node] = any(self.depends[parent] for parent in node.all_input_nodes)
        self.derived: list[fx.Node] = []
        self.initial = forward.initial
        self.uses: list[Use] = []
        self.used: list[fx.Node] = []
        self.values = evaluated(forward.module, forward.tensors, self.lane)
        self.sites: dict[tuple[fx.Node, int], int] = {}
        # reads by nodes of the step, then results of the step that are parameters or derived tensors themselves
        for node in forward.graph.nodes:
            if self.lane[node] and node.op == "call_function":
                for position, parent in enumerate(tensor_arguments(node)):
                    if not self.lane[parent] and self.depends[parent]:
                        self.sites[node, position] = self._use(parent)
        for position, node in enumerate(forward.after):
            if not self.lane[node] and self.depends[node]:
                self.sites[output_of(forward.graph), position] = self._use(node)

    def _use(self, node: fx.Node) -> int:
        """Add a use of a node outside the step, and return its index."""
        # go back through views to the parameter or the derived tensor that they see
        views: list[fx.Node] = []
        root = node
        while _sees_argument(root):
            views.insert(0, root)
            root = root.all_input_nodes[0]
        if root.op == "placeholder":
            index = self.forward.placeholders.index(root)
            trained = index < self.forward.count
            use = (
                Use("trained", index, tuple(views))
                if trained
                else Use("frozen", index - self.forward.count, tuple(views))
            )
        else:
            # computed in the prologue: it becomes a derived tensor, once for all its uses
            if root not in self.derived:
                self.derived.append(root)
            use = Use("derived", self.derived.index(root), tuple(views))
        self.uses.append(use)
        self.used.append(node)
        return len(self.uses) - 1


def _sees_argument(node: fx.Node) -> bool:
    """Return whether a node is a view that a use may read through; a part of a tuple, only if the tuple is of views."""
    if node.op != "call_function" or operation(node) not in FRONTIER_VIEWS:
        return False
    return operation(node) != "getitem" or _sees_argument(node.all_input_nodes[0])


def _joint_prologue(frontier: _Frontier) -> fx.GraphModule:
    """Trace the prologue and its vector-Jacobian product as one graph; see `Traced.prologue`."""
    forward = frontier.forward
    results = [*frontier.derived, *frontier.initial]
    nodes = [
        node for node in forward.graph.nodes if not frontier.lane[node] and node.op in ("call_function", "get_attr")
    ]

    def derive(*own: Tensor) -> list[Tensor]:
        environment = dict(zip(forward.placeholders, own, strict=False))
        run(forward.module, nodes, environment)
        # adding 0 makes a node of its own for a result that is an input itself
        return [environment[node] + 0 if node.op == "placeholder" else environment[node] for node in results]

    def joint(*values: Tensor) -> Any:
        # only trained tensors get gradients; frozen ones are constants
        trained, frozen = values[: forward.count], values[forward.count : len(forward.names)]
        out, back = vjp(lambda *trained: derive(*trained, *frozen), *trained)[:2]
        return [*out, *back(list(values[len(forward.names) :]))]

    cotangents = [torch.randn(shape_of(node)) for node in results]
    return graph_of(joint, [*forward.tensors, *cotangents], twice=forward.twice)


def _joint_step(frontier: _Frontier) -> fx.GraphModule:
    """Trace the step and its vector-Jacobian product as one graph; see `Traced.step`."""
    forward = frontier.forward
    # what differs between examples, and constants; the rest is in the prologue
    nodes = [
        node
        for node in forward.graph.nodes
        if node.op in ("call_function", "get_attr") and (frontier.lane[node] or not frontier.depends[node])
    ]
    lanes = forward.placeholders[len(forward.names) :]
    count = len(frontier.uses)
    differentiable = [i for i, use in enumerate(frontier.uses) if use.kind != "frozen"]

    def step(uses: Sequence[Tensor], values: Sequence[Tensor]) -> list[Tensor]:
        # run the nodes again, with a use's own tensor at each place that reads across the frontier
        environment = dict(zip(lanes, values, strict=True))

        def argument(node: fx.Node, position: int, parent: fx.Node) -> Tensor:
            site = frontier.sites.get((node, position))
            return environment[parent] if site is None else uses[site]

        run(forward.module, nodes, environment, argument)
        last = output_of(forward.graph)
        return [argument(last, position, node) for position, node in enumerate(forward.after)]

    def joint(*values: Tensor) -> Any:
        uses, x = list(values[:count]), values[count]
        state = values[count + 1 : count + len(lanes)]
        cotangents = list(values[count + len(lanes) :])

        def of(some: list[Tensor], state: Sequence[Tensor]) -> list[Tensor]:
            # as a function of what has a gradient: uses of trained and derived tensors, and the state
            merged = list(uses)
            for i, value in zip(differentiable, some, strict=True):
                merged[i] = value
            return step(merged, [x, *state])

        out, back = vjp(of, [uses[i] for i in differentiable], list(state))[:2]
        of_uses, of_state = back(cotangents)
        return [*out, *of_uses, *of_state]

    # uses are traced with the values that the prologue computes, in their shapes
    examples = [frontier.values[node] for node in frontier.used]
    cotangents = [torch.randn(shape_of(node)) for node in forward.after]
    return graph_of(joint, [*examples, *forward.examples, *cotangents], twice=forward.twice)


def _hooks(model: Model, tensors: Tensors) -> tuple[fx.GraphModule | None, list[int]]:
    """Trace the hooks that change the gradients of parameters; see `Traced.hooks`."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # read here: within `Elsewhere` even a parameter's hooks would be those of what takes its place
    hooked = {i: list(p._backward_hooks.values()) for i, p in enumerate(trained) if p._backward_hooks}
    if not hooked:
        return None, []
    complex_ones = [parameter.is_complex() for parameter in trained]
    names = [*tensors.trained, *tensors.frozen]

    def hooks(*values: Tensor) -> list[Tensor]:
        own = {n: as_kept(v, tensors.own[n].is_complex()) for n, v in zip(names, values, strict=False)}
        changed = []
        with swapped(model, tensors, own):
            for place, own_hooks in hooked.items():
                gradient = as_kept(values[len(names) + place], complex_ones[place])
                for hook in own_hooks:
                    new = hook(gradient)
                    gradient = gradient if new is None else new
                changed.append(as_reals(gradient))
        return changed

    own = [*tensors.trained.values(), *tensors.frozen.values()]
    return graph_of(hooks, [*own, *(torch.randn_like(tensor) for tensor in tensors.trained.values())]), list(hooked)
