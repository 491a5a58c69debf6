"""A model's step and initial state as one graph, without gradients: the first half of tracing."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vjp

from cellbench.engines.engine import Refused, RefusedOnce, first_line
from cellbench.engines.lanes.graph.elsewhere import Elsewhere
from cellbench.engines.lanes.graph.graphs import graph_of, operation, placeholders_of, results_of, shape_of
from cellbench.engines.lanes.graph.lines import of_node
from cellbench.engines.lanes.graph.reals import without_complex
from cellbench.engines.lanes.graph.states import flattened
from cellbench.engines.lanes.graph.tensors import Tensors, as_reals
from cellbench.engines.lines import at
from cellbench.model import Model, spelt_out, takes_sequences


@contextmanager
def as_plain_operations() -> Iterator[None]:
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
def swapped(model: nn.Module, tensors: Tensors, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Replace a model's tensors by others within this block: parameters, buffers, attributes, those kept elsewhere."""
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
        with Elsewhere({id(tensors.own[name]): value for name, value in values.items()}):
            yield
    finally:
        for table, attribute, value in reversed(places):
            table[attribute] = value


def as_kept(value: Tensor, is_complex: bool) -> Tensor:
    """Turn a placeholder into what the cell keeps."""
    return torch.view_as_complex(value) if is_complex else value


class Forward:
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
            own = {n: as_kept(v, tensors.own[n].is_complex()) for n, v in zip(self.names, values, strict=False)}
            state = [as_kept(v, is_complex) for v, is_complex in zip(given, complex_states, strict=True)]
            # torch's layers have fused operations, which their steps are not traced through
            equations = spelt_out() if takes_sequences(model.cell) else nullcontext()
            with swapped(model, tensors, own), equations:
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
