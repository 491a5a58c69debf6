"""From a model to two small graphs of ATen operations, traced once at batch 1.

The model's step is cut at the *frontier*: what depends on parameters and buffers alone is computed once a training
step (the prologue), not once a time step. So there are

- the prologue: parameters -> derived tensors and the initial state, with its vector-Jacobian product, and
- the step: (uses of parameters and derived tensors, x, state) -> (logits, next state), with its own.

A *use* is one place where the step reads a parameter or a derived tensor, through views or not. Each use is an input
of its own, so that its gradient is one term (for a matrix: one outer product) and the terms are added where they lie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import vjp
from torch.utils import _pytree as pytree

from cellbench.engines.engine import Refused, RefusedOnce
from cellbench.engines.lanes.code.values import Shape
from cellbench.engines.lanes.graph.graphs import (
    evaluated,
    graph_of,
    operation,
    output_of,
    placeholders_of,
    results_of,
    run,
    shape_of,
    tensor_arguments,
    told,
)
from cellbench.engines.lanes.graph.tensors import Tensors, tensors_of
from cellbench.model import Model

_SHAPING = ("t", "transpose", "permute", "view", "unsqueeze", "squeeze", "expand", "alias")
_CUTTING = ("slice", "select", "split", "split_with_sizes", "unbind", "getitem")
FRONTIER_VIEWS = frozenset((*_SHAPING, *_CUTTING))
"""Views through which a use may reach its parameter: its gradient is added to the same view of the gradient.

`detach` is none of them: a gradient must not pass.
"""


@dataclass(frozen=True)
class Use:
    """Where the step reads something that depends on parameters and buffers alone.

    Attributes:
        kind: `trained`, `frozen` or `derived`.
        index: which of them.
        views: nodes of the graph that lead from there to what is read, in order.
    """

    kind: str
    index: int
    views: tuple[fx.Node, ...] = ()


@dataclass
class Traced:
    """The two graphs of a model.

    Attributes:
        tensors: examples of the model's tensors.
        inputs, outputs: features of x, logits a step.
        states: the shapes of the state's leaves at batch 1.
        prologue: placeholders: trained, frozen, cotangents of the derived; results: derived, gradients of trained.
        derived: the shapes of the derived tensors; the initial state's leaves come last.
        step: placeholders: uses, x, state, cotangents of logits and of the next state; results: logits, next state,
            gradients of the uses that have one (in order), gradients of the state.
        uses: what the step's first placeholders are.
    """

    tensors: Tensors
    inputs: int
    outputs: int
    states: list[Shape]
    prologue: fx.GraphModule
    derived: list[Shape]
    step: fx.GraphModule
    uses: list[Use] = field(default_factory=list)


def trace(model: Model, inputs: int) -> Traced:
    """Trace a model's step, its initial state and their vector-Jacobian products.

    Args:
        model: the trace's own; cells that keep tensors in attributes leave rubbish there.
        inputs: features of x.

    Raises:
        Refused: the model cannot be traced, or is not a pure function of parameters, buffers, x and state.
    """
    tensors = tensors_of(model)
    forward = _Forward(model, tensors, inputs)
    with torch.random.fork_rng(devices=[]):
        frontier = _Frontier(forward)
        prologue = _joint_prologue(frontier)
        step = _joint_step(frontier)
    return Traced(
        tensors=tensors,
        inputs=inputs,
        outputs=forward.outputs,
        states=forward.states,
        prologue=prologue,
        derived=[shape_of(node) for node in [*frontier.derived, *frontier.initial]],
        step=step,
        uses=frontier.uses,
    )


@contextmanager
def _swapped(model: nn.Module, values: dict[str, Tensor]) -> Iterator[None]:
    """The model with other tensors in the place of its parameters, buffers and plain attributes."""
    places: list[tuple[dict[str, Any], str, Any]] = []
    for name, value in values.items():
        path, _, attribute = name.rpartition(".")
        module = model.get_submodule(path)
        tables: tuple[dict[str, Any], ...] = (module._parameters, module._buffers, module.__dict__)
        for table in tables:
            if attribute in table:
                places.append((table, attribute, table[attribute]))
                table[attribute] = value
                break
    try:
        yield
    finally:
        for table, attribute, value in reversed(places):
            table[attribute] = value


class _Forward:
    """The model's step and initial state as one graph, before its gradient is asked for."""

    def __init__(self, model: Model, tensors: Tensors, inputs: int) -> None:
        self.names = [*tensors.trained, *tensors.frozen]
        self.count = len(tensors.trained)
        self.tensors = [*tensors.trained.values(), *tensors.frozen.values()]
        try:
            with torch.no_grad():
                leaves, nesting = pytree.tree_flatten(model.initial_state(1))
        except Exception as error:
            raise RefusedOnce(f"initial_state raised {told(error)}") from error
        for leaf in leaves:
            if not isinstance(leaf, Tensor) or leaf.dtype != torch.float32:
                raise Refused(f"the state holds {getattr(leaf, 'dtype', type(leaf).__name__)}, not float32 tensors")
        self.states = [tuple(leaf.shape) for leaf in leaves]
        self.examples = [torch.randn(1, inputs), *(torch.randn(tuple(leaf.shape)) for leaf in leaves)]

        def outputs(*values: Tensor) -> list[Tensor]:
            own, x, state = values[: len(self.names)], values[len(self.names)], values[len(self.names) + 1 :]
            with _swapped(model, dict(zip(self.names, own, strict=True))):
                logits, after = model.step(x, pytree.tree_unflatten(list(state), nesting))
                first = pytree.tree_leaves(model.initial_state(1))
            new, after_nesting = pytree.tree_flatten(after)
            shapes = [tuple(leaf.shape) for leaf in new]
            if after_nesting != nesting or shapes != self.states:
                raise Refused(f"the state changes shape, from {self.states} to {shapes}")
            return [logits, *new, *first]

        def under_autograd(*values: Tensor) -> Any:
            # Under vjp, composite operations such as lstm_cell reach the trace as their parts, which functionalize
            # can then free of in-place operations.
            trained, rest = values[: self.count], values[self.count :]
            return vjp(lambda *trained: outputs(*trained, *rest), *trained)[0]

        self.module = graph_of(under_autograd, [*self.tensors, *self.examples], decomposed=False)
        self.graph = self.module.graph
        self.placeholders = placeholders_of(self.graph)
        results = results_of(self.graph)
        logits = results[0]
        self.outputs = shape_of(logits)[-1]
        self.after = results[: 1 + len(self.states)]
        self.initial = results[1 + len(self.states) :]
        self._refuse_impurity()

    def _refuse_impurity(self) -> None:
        for node in self.graph.nodes:
            if node.op == "get_attr" and any(operation(user) != "lift_fresh_copy" for user in node.users):
                raise Refused("a tensor that is neither parameter, buffer nor attribute of a module")
            if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
                continue
            if torch.Tag.nondeterministic_seeded in node.target.tags:
                raise Refused(f"random numbers inside the cell ({operation(node)})")
            if operation(node) == "copy_" and node.args[0] in self.placeholders:
                index = self.placeholders.index(node.args[0])
                if index < len(self.names):
                    raise Refused(f"{self.names[index]} changes while the cell runs")
                if index == len(self.names):
                    raise Refused("the cell changes its input in place")


class _Frontier:
    """The cut through the forward graph: which nodes belong to the prologue, and where the step reads across."""

    def __init__(self, forward: _Forward) -> None:
        self.forward = forward
        self.lane: dict[fx.Node, bool] = {}
        """Whether a node depends on x or the state; those that do not, do not differ between examples."""
        self.depends: dict[fx.Node, bool] = {}
        """Whether a node depends on any input at all; those that do not are constants."""
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
        """(a node of the step, the position among its tensors) -> index of the use read there."""
        for node in forward.graph.nodes:
            if self.lane[node] and node.op == "call_function":
                for position, parent in enumerate(tensor_arguments(node)):
                    if not self.lane[parent] and self.depends[parent]:
                        self.sites[node, position] = self._use(parent)
        for position, node in enumerate(forward.after):
            if not self.lane[node] and self.depends[node]:
                self.sites[output_of(forward.graph), position] = self._use(node)

    def _use(self, node: fx.Node) -> int:
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
            if root not in self.derived:
                self.derived.append(root)
            use = Use("derived", self.derived.index(root), tuple(views))
        self.uses.append(use)
        self.used.append(node)
        return len(self.uses) - 1


def _sees_argument(node: fx.Node) -> bool:
    """Whether a node is a view that a use may pass; parts of a tuple only if the tuple is made of views."""
    if node.op != "call_function" or operation(node) not in FRONTIER_VIEWS:
        return False
    return operation(node) != "getitem" or _sees_argument(node.all_input_nodes[0])


def _joint_prologue(frontier: _Frontier) -> fx.GraphModule:
    forward = frontier.forward
    results = [*frontier.derived, *frontier.initial]
    nodes = [
        node for node in forward.graph.nodes if not frontier.lane[node] and node.op in ("call_function", "get_attr")
    ]

    def derive(*own: Tensor) -> list[Tensor]:
        environment = dict(zip(forward.placeholders, own, strict=False))
        run(forward.module, nodes, environment)
        # an output that is an input itself would not be an output of its own in the graph
        return [environment[node] + 0 if node.op == "placeholder" else environment[node] for node in results]

    def joint(*values: Tensor) -> Any:
        trained, frozen = values[: forward.count], values[forward.count : len(forward.names)]
        out, back = vjp(lambda *trained: derive(*trained, *frozen), *trained)[:2]
        return [*out, *back(list(values[len(forward.names) :]))]

    cotangents = [torch.randn(shape_of(node)) for node in results]
    return graph_of(joint, [*forward.tensors, *cotangents])


def _joint_step(frontier: _Frontier) -> fx.GraphModule:
    forward = frontier.forward
    nodes = [
        node
        for node in forward.graph.nodes
        if node.op in ("call_function", "get_attr") and (frontier.lane[node] or not frontier.depends[node])
    ]
    lanes = forward.placeholders[len(forward.names) :]
    count = len(frontier.uses)
    differentiable = [i for i, use in enumerate(frontier.uses) if use.kind != "frozen"]

    def step(uses: Sequence[Tensor], values: Sequence[Tensor]) -> list[Tensor]:
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
            merged = list(uses)
            for i, value in zip(differentiable, some, strict=True):
                merged[i] = value
            return step(merged, [x, *state])

        out, back = vjp(of, [uses[i] for i in differentiable], list(state))[:2]
        of_uses, of_state = back(cotangents)
        return [*out, *of_uses, *of_state]

    examples = [frontier.values[node] for node in frontier.used]
    cotangents = [torch.randn(shape_of(node)) for node in forward.after]
    return graph_of(joint, [*examples, *forward.examples, *cotangents])
