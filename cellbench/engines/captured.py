"""A function of tensors that is recorded on the card once, and replayed: a CUDA graph.

A training step of a small cell is thousands of operations that take microseconds each, and calling them one by one
from Python takes several times as long. A graph is launched by one call. What the function computes must depend on its
tensors alone: a Python number is recorded as it is at that moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3
"""Calls before a function is recorded: libraries choose their ways and take their memory in the first ones."""

Function = Callable[..., tuple[Tensor, ...]]


class Captured:
    """The function, recorded once for each list of shapes that it is given.

    What it returns is overwritten by the next call, unless that is given it: then it is copied first.

    Args:
        function: of tensors, to tensors.
    """

    def __init__(self, function: Function) -> None:
        self._function = function
        self._calls: dict[Any, int] = {}
        self._recorded: dict[Any, _Graph | None] = {}
        self._side = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def __call__(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Compute the function: call by call at first, as a graph afterwards."""
        shapes = tuple((tensor.shape, tensor.dtype) for tensor in given)
        self._calls[shapes] = self._calls.get(shapes, 0) + 1
        if self._calls[shapes] <= WARM_UP:
            return self._beside(given)
        if shapes not in self._recorded:
            self._recorded[shapes] = _recorded(self._function, given)
        graph = self._recorded[shapes]
        return self._function(*given) if graph is None else graph(given)

    def _beside(self, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Call the function on a stream of its own, as torch asks of calls before a recording."""
        self._side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._side):
            found = self._function(*given)
        torch.cuda.current_stream().wait_stream(self._side)
        return found


def _recorded(function: Function, given: tuple[Tensor, ...]) -> _Graph | None:
    """Record a function; None if it cannot be, because it copies something from the CPU while it runs, say."""
    try:
        return _Graph(function, given)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        torch.cuda.synchronize()
        return None


class _Graph:
    """One recording, with the tensors that it reads and writes."""

    def __init__(self, function: Function, given: tuple[Tensor, ...]) -> None:
        self._given = tuple(tensor.clone() for tensor in given)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._found = function(*self._given)

    def __call__(self, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        for own, tensor in zip(self._given, given, strict=True):
            own.copy_(tensor)
        self._graph.replay()
        return self._found
