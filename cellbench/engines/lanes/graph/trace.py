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

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import vjp

from cellbench.engines.engine import Refused, RefusedOnce, first_line
from cellbench.engines.lanes.code.values import Shape
from cellbench.engines.lanes.graph.elsewhere import Elsewhere
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
)
from cellbench.engines.lanes.graph.lines import at, of_node
from cellbench.engines.lanes.graph.own_gradients import as_nodes, functions_of
from cellbench.engines.lanes.graph.reals import without_complex
from cellbench.engines.lanes.graph.states import flattened
from cellbench.engines.lanes.graph.tensors import Tensors, as_reals, tensors_of
from cellbench.model import Model, spelt_out, takes_sequences

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
    with as_nodes(own), _plain():
        forward = _Forward(model, tensors, inputs)
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


@contextmanager
def _plain() -> Iterator[None]:
    """Within this block, let a cell run as plain operations: no library's kernel for whole layers, nothing compiled."""
    dynamo = sys.modules.get("torch._dynamo")
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)  # torch.backends.mkldnn.flags would warn about GPUs
    try:
        with nullcontext() if dynamo is None else dynamo.config.patch(error_on_nested_fx_trace=False):
            yield
    finally:
        torch._C._set_mkldnn_enabled(before)


@contextmanager
def _swapped(model: nn.Module, values: dict[str, Tensor]) -> Iterator[None]:
    """Replace parameters, buffers and plain attributes of a model by other tensors within this block."""
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


def _as_kept(value: Tensor, is_complex: bool) -> Tensor:
    """Turn a placeholder into what the cell keeps."""
    return torch.view_as_complex(value) if is_complex else value


class _Forward:
    """The model's step and initial state as one graph, without gradients.

    Attributes:
        names, tensors: the model's tensors, trained ones first.
        count: how many of them are trained.
        states: the shapes of the state's leaves.
        examples: an input and a state to trace with.
        module, graph: the graph; its placeholders are the tensors, x and the state.
        outputs: logits per step.
        after: the nodes of the logits and of the next state.
        initial: the nodes of the initial state.
        twice: how it is traced with gradients; see `graph_of`.
    """

    def __init__(self, model: Model, tensors: Tensors, inputs: int) -> None:
        self.twice = False
        self.names = [*tensors.trained, *tensors.frozen]
        self.count = len(tensors.trained)
        self.tensors = [*tensors.trained.values(), *tensors.frozen.values()]
        try:
            with torch.no_grad():
                leaves, nesting = flattened(model.initial_state(1))
        except Refused:
            raise
        except Exception as error:
            raise RefusedOnce(f"initial_state raised {first_line(error)}") from error
        complex_states = [leaf.is_complex() for leaf in leaves]
        self.states = [tuple(as_reals(leaf).shape) for leaf in leaves]
        self.examples = [torch.randn(1, inputs), *(torch.randn(shape) for shape in self.states)]

        def outputs(*values: Tensor) -> list[Tensor]:
            # one step and the initial state, as a function of all tensors, x and the state
            x, given = values[len(self.names)], values[len(self.names) + 1 :]
            own = {n: _as_kept(v, tensors.own[n].is_complex()) for n, v in zip(self.names, values, strict=False)}
            state = [_as_kept(v, is_complex) for v, is_complex in zip(given, complex_states, strict=True)]
            # torch's layers have fused operations, which their steps are not traced through
            equations = spelt_out() if takes_sequences(model.cell) else nullcontext()
            elsewhere = Elsewhere({id(tensors.own[n]): value for n, value in own.items()})
            with _swapped(model, own), elsewhere, equations:
                logits, after = model.step(x, nesting.state(state))
                first, _ = flattened(model.initial_state(1))
            new, after_nesting = flattened(after)
            new, first = [as_reals(leaf) for leaf in new], [as_reals(leaf) for leaf in first]
            shapes = [tuple(leaf.shape) for leaf in new]
            if after_nesting != nesting or shapes != self.states:
                raise Refused(f"the state changes shape, from {self.states} to {shapes}")
            return [logits, *new, *first]

        def under_autograd(*values: Tensor) -> Any:
            # under vjp, composite operations such as lstm_cell reach the trace as their parts, and functionalize can
            # remove in-place operations from those
            trained, rest = values[: self.count], values[self.count :]
            return vjp(lambda *trained: outputs(*trained, *rest), *trained)[0]

        self.module = graph_of(under_autograd, [*self.tensors, *self.examples], decomposed=False)
        self.module = without_complex(self.module, [*self.tensors, *self.examples])
        self.graph = self.module.graph
        self.placeholders = placeholders_of(self.graph)
        results = results_of(self.graph)
        logits = results[0]
        self.outputs = shape_of(logits)[-1]
        self.after = results[: 1 + len(self.states)]
        self.initial = results[1 + len(self.states) :]
        self._refuse_impurity()

    def _refuse_impurity(self) -> None:
        """Check that the graph is a pure function of its placeholders.

        Raises:
            Refused: it reads another tensor, draws random numbers, or writes into its inputs.
        """
        for node in self.graph.nodes:
            if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
                continue
            if torch.Tag.nondeterministic_seeded in node.target.tags:
                raise Refused(f"random numbers inside the cell, by {operation(node)}{at(of_node(node))}")
            if operation(node) == "copy_" and node.args[0] in self.placeholders:
                index = self.placeholders.index(node.args[0])
                if index < len(self.names):
                    raise Refused(f"{self.names[index]} changes while the cell runs")
                if index == len(self.names):
                    raise Refused("the cell changes its input in place")


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

    def __init__(self, forward: _Forward) -> None:
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
        own = {n: _as_kept(v, tensors.own[n].is_complex()) for n, v in zip(names, values, strict=False)}
        changed = []
        with _swapped(model, own), Elsewhere({id(tensors.own[n]): value for n, value in own.items()}):
            for place, own_hooks in hooked.items():
                gradient = _as_kept(values[len(names) + place], complex_ones[place])
                for hook in own_hooks:
                    new = hook(gradient)
                    gradient = gradient if new is None else new
                changed.append(as_reals(gradient))
        return changed

    own = [*tensors.trained.values(), *tensors.frozen.values()]
    return graph_of(hooks, [*own, *(torch.randn_like(tensor) for tensor in tensors.trained.values())]), list(hooked)
