"""Gradients that a cell defines itself, by `torch.autograd.Function`: those of spikes, of rounding, of clipping.

While a cell is traced forward, each call of such a function becomes one node of the graph, an operation of ours. Where
the graph is run again to trace its gradient, the node is a function of torch's newer style, whose backward half runs
the cell's own: with a context that holds what the cell's forward half keeps in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from cellbench.engines.engine import Refused
from cellbench.engines.lanes.graph.linear_algebra import WRITTEN
from cellbench.model import Model, functions_behind

_LIBRARY = torch.library.Library("cellbench", "FRAGMENT")  # type: ignore[no-untyped-call]
_LIBRARY.define("own_gradient(Tensor[] tensors, int which) -> Tensor[]")  # type: ignore[no-untyped-call]


class _Context:
    """What a function of the cell's own keeps between its forward and its backward half."""

    def __init__(self, arguments: Sequence[Any]) -> None:
        self.saved_tensors: tuple[Any, ...] = ()
        self.needs_input_grad = tuple(isinstance(argument, Tensor) for argument in arguments)

    def save_for_backward(self, *tensors: Any) -> None:
        self.saved_tensors = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Do nothing: their gradients are zeros."""

    def set_materialize_grads(self, value: bool) -> None:
        """Do nothing: gradients are never None."""

    def mark_dirty(self, *tensors: Tensor) -> None:
        raise Refused("an autograd.Function of the cell's own that changes its arguments in place")


class _Call:
    """One call of a function: which one, and its arguments that are no tensors."""

    def __init__(self, kind: type[Function], halves: tuple[Any, Any], arguments: Sequence[Any]) -> None:
        self._kind, self._halves = kind, halves
        self._rest = [None if isinstance(argument, Tensor) else argument for argument in arguments]
        self._tensors = [place for place, argument in enumerate(arguments) if isinstance(argument, Tensor)]
        self.single = True

    def forward(self, tensors: Sequence[Tensor]) -> tuple[list[Tensor], _Context]:
        """Run the cell's forward half."""
        arguments = list(self._rest)
        for place, tensor in zip(self._tensors, tensors, strict=True):
            arguments[place] = tensor
        context = _Context(arguments)
        forward, setup = self._halves
        out = forward(context, *arguments) if setup is None else forward(*arguments)
        if setup is not None:
            setup(context, tuple(arguments), out)
        self.single = isinstance(out, Tensor)
        made = [out] if isinstance(out, Tensor) else list(out)
        # an operation returns no argument as its result
        return [one.clone() if any(one is tensor for tensor in tensors) else one for one in made], context

    def backward(self, tensors: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor | None]:
        """Run the cell's backward half; returns a gradient per tensor."""
        _, context = self.forward(tensors)
        found = self._kind.backward(context, *gradients)
        found = (found,) if found is None or isinstance(found, Tensor) else tuple(found)
        return [found[place] for place in self._tensors]


_calls: list[_Call] = []


def _values(tensors: Sequence[Tensor], which: int) -> list[Tensor]:
    return _calls[which].forward(tensors)[0]


_LIBRARY.impl("own_gradient", _values, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]


class _Replayed(Function):
    """A call in a style that can be traced."""

    @staticmethod
    def forward(which: int, *tensors: Tensor) -> Any:
        return tuple(_values(tensors, which))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.which = inputs[0]
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return (None, *_calls[ctx.which].backward(ctx.saved_tensors, gradients))


def replayed(target: Any) -> Callable[..., Any]:
    """Give what computes a node when its graph is run again: as a rule the operation itself."""
    if target is not torch.ops.cellbench.own_gradient.default:
        found: Callable[..., Any] = WRITTEN.get(target, target)
        return found
    return lambda tensors, which: list(_Replayed.apply(which, *tensors))  # type: ignore[no-untyped-call]


def functions_of(model: Model, inputs: int) -> list[type[Function]]:
    """Find the functions of its own that a model's gradient runs through, over two steps."""
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        state, outputs = model.initial_state(1), []
        for x in torch.randn(2, 1, inputs):
            output, state = model.step(x, state)
            outputs.append(output)
    return functions_behind(outputs)


@contextmanager
def as_nodes(functions: Sequence[type[Function]]) -> Iterator[None]:
    """Within this block, let calls of these functions be nodes of a trace."""
    before = {kind: (kind.__dict__.get("forward"), kind.__dict__.get("setup_context")) for kind in functions}
    halves: dict[type[Function], tuple[Any, Any]] = {}

    def call(kind: type[Function], *arguments: Any) -> Any:
        if kind not in halves:
            raise Refused(f"an autograd function of the cell's own, {kind.__qualname__}, that has no gradient here")
        one = _Call(kind, halves[kind], arguments)
        _calls.append(one)
        tensors = [argument for argument in arguments if isinstance(argument, Tensor)]
        out = torch.ops.cellbench.own_gradient(tensors, len(_calls) - 1)
        return out[0] if one.single else tuple(out)

    # where `Function.apply` finds what it calls while a function of torch.func runs
    machinery: Any = torch.autograd.function
    usual = machinery.custom_function_call
    try:
        for kind in functions:
            newer = kind.setup_context is not Function.setup_context
            halves[kind] = (kind.forward, kind.setup_context if newer else None)
            # `apply` takes no other style under functorch; what is in these two places is never run
            kind.forward = staticmethod(lambda *arguments: None)  # type: ignore[method-assign]
            kind.setup_context = staticmethod(lambda *arguments: None)  # type: ignore[method-assign, assignment]
        machinery.custom_function_call = call
        yield
    finally:
        machinery.custom_function_call = usual
        for kind, kept in before.items():
            for name, value in zip(("forward", "setup_context"), kept, strict=True):
                if value is None:
                    delattr(kind, name)
                else:
                    setattr(kind, name, value)
