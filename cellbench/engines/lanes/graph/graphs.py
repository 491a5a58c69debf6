"""Tools for FX graphs: making one, cleaning it, running a part of it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from cellbench.engines.engine import Refused, RefusedOnce, first_line
from cellbench.engines.lanes.code.values import Shape
from cellbench.engines.lanes.graph.decompositions import decompositions
from cellbench.engines.lanes.graph.own_gradients import replayed
from cellbench.engines.lines import at, of_traceback


def operation(node: fx.Node) -> str:
    """Name a node's operation without its overload, such as `tanh` or `getitem`."""
    if node.target is operator.getitem:
        return "getitem"
    if isinstance(node.target, torch._ops.OpOverload):
        return str(node.target.overloadpacket.__name__)
    return str(node.target)


# a part of torch's message -> the reason in our words
_KNOWN_FAILURES = {
    "value out of a tracing tensor": "control flow that depends on the data",
    "mutate a captured Tensor": "a buffer changes while the cell runs",
}


def graph_of(
    function: Callable[..., Any], examples: Sequence[Tensor], *, decomposed: bool = True, twice: bool = False
) -> fx.GraphModule:
    """Trace a function to a graph with one placeholder per argument.

    The graph has no in-place operations, no dead nodes and no repeated ones.

    Args:
        function: takes tensors.
        examples: arguments to trace it with.
        decomposed: whether operations become those of the table; otherwise they stay as autograd knows them.
        twice: whether in-place operations are removed from a first trace, since gradients of the cell's own can be
            traced only while they are still there.

    Raises:
        Refused: the function cannot be traced.
    """
    table = decompositions() if decomposed else None
    try:
        # a forward graph notes who wrote each operation, and `run` hands that on
        with fx.traceback.preserve_node_meta():
            if twice:
                function = make_fx(function)(*examples)
            module = make_fx(
                functionalize(function, remove="mutations"),
                decomposition_table=table,
                record_stack_traces=not decomposed,
            )(*examples)
    except Refused:
        raise
    except Exception as error:
        for fragment, reason in _KNOWN_FAILURES.items():
            if fragment in str(error):
                raise Refused(reason + at(of_traceback(error.__traceback__))) from error
        raise RefusedOnce(f"tracing raised {first_line(error)}{at(of_traceback(error.__traceback__))}") from error
    _merge_repeated(module.graph)
    module.graph.eliminate_dead_code()
    for node in module.graph.nodes:
        if node.op == "get_attr":  # torch notes the shapes of all others
            node.meta["val"] = getattr(module, str(node.target))
    return module


def _merge_repeated(graph: fx.Graph) -> None:
    """Merge common subexpressions: the backward half computes some values of the forward half again."""
    seen: dict[Any, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function" or getattr(node.target, "_schema", None) is None:
            if node.target is not operator.getitem:
                continue
        elif node.target._schema.is_mutable or torch.Tag.nondeterministic_seeded in node.target.tags:
            continue  # twice is not once: it writes in place, or draws random numbers
        key = repr((str(node.target), node.args, sorted(node.kwargs.items())))
        if key in seen:
            node.replace_all_uses_with(seen[key])
            graph.erase_node(node)
        else:
            seen[key] = node


def evaluated(module: fx.GraphModule, tensors: Sequence[Tensor], lane: dict[fx.Node, bool]) -> dict[fx.Node, Any]:
    """Compute the values of all nodes that do not depend on x or the state, given the model's tensors."""
    placeholders = placeholders_of(module.graph)
    environment: dict[fx.Node, Any] = dict(zip(placeholders, tensors, strict=False))
    nodes = [node for node in module.graph.nodes if node.op in ("call_function", "get_attr") and not lane[node]]
    with torch.no_grad():
        run(module, nodes, environment)
    return environment


def run(
    module: fx.GraphModule,
    nodes: Sequence[fx.Node],
    environment: dict[fx.Node, Any],
    argument: Callable[[fx.Node, int, fx.Node], Any] | None = None,
) -> None:
    """Compute nodes in order, and add their values to the environment.

    Args:
        module: the graph's module, which holds its constants.
        nodes: the nodes to compute, in the order of the graph.
        environment: values by node; must have those that the nodes read and that are not computed here.
        argument: (node, position, parent) -> the value of one argument, in place of the parent's in the environment.
    """
    for node in nodes:
        if node.op == "get_attr":  # a constant
            environment[node] = getattr(module, str(node.target))
            continue
        # tensor arguments are counted as `tensor_arguments` lists them
        positions = iter(range(1_000_000))

        def value(parent: fx.Node, node: fx.Node = node, positions: Iterator[int] = positions) -> Any:
            position = next(positions)
            return environment[parent] if argument is None else argument(node, position, parent)

        args = fx.node.map_arg(node.args, value)
        kwargs = fx.node.map_arg(node.kwargs, value)
        with fx.traceback.set_current_meta(node):
            environment[node] = replayed(node.target)(*args, **kwargs)


def tensor_arguments(node: fx.Node) -> list[fx.Node]:
    """List the nodes among a node's arguments, repetitions included, in the order in which `run` meets them."""
    met: list[fx.Node] = []

    def meet(parent: fx.Node) -> fx.Node:
        met.append(parent)
        return parent

    fx.node.map_arg(node.args, meet)
    fx.node.map_arg(node.kwargs, meet)
    return met


def output_of(graph: fx.Graph) -> fx.Node:
    """Find the node that returns the results."""
    found: fx.Node = next(node for node in reversed(graph.nodes) if node.op == "output")
    return found


def placeholders_of(graph: fx.Graph) -> list[fx.Node]:
    """List the nodes of the inputs."""
    return [node for node in graph.nodes if node.op == "placeholder"]


def results_of(graph: fx.Graph) -> list[fx.Node]:
    """List the nodes whose values are returned."""
    return list(pytree.tree_leaves(output_of(graph).args[0]))


def shape_of(node: fx.Node) -> Shape:
    """Get the shape of a node's result at batch 1."""
    return tuple(node.meta["val"].shape)
