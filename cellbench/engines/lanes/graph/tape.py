"""A hash of what a cell computes: its operations, their order, shapes and constants, forward and backward.

A part of what a compiled cell is found by (see `identity`), in milliseconds and without tracing. Another version of
torch or an option that matters gives another tape.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from cellbench.engines.lanes.graph.tensors import NUMBERS, named
from cellbench.model import DispatchMode, Model, loss, seeded


def tape(model: Model, inputs: int, *, batch: int, steps: int = 2) -> str:
    """Run a model's loss and gradient, and hash the operations.

    Args:
        model: its weights do not matter, unless the cell's control flow depends on them.
        inputs: features of x.
        batch: number of examples; matters only to cells that look at it.
        steps: number of time steps.
    """
    # of other types, such as counts and truth values, the numbers matter
    recorder = _Recorder([tensor for tensor in named(model).values() if tensor.dtype in NUMBERS])
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(steps, batch, inputs, generator=generator)
    recorder.register("input", x)
    with torch.enable_grad(), seeded("lanes"), recorder:
        logits = model(x)
        total = loss(logits, torch.zeros_like(logits))
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        torch.autograd.grad(total, parameters, allow_unused=True)
    return recorder.hash.hexdigest()


class Recording(DispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operation that runs within it, with its arguments and results."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # where torch._dynamo is there already, a cell that was compiled by torch runs here as plain operations
        return "torch._dynamo" in sys.modules

    def describe(self, tensor: Tensor, result: bool) -> Any:
        """Describe a tensor that is an argument or a result."""
        raise NotImplementedError

    def note(self, func: Any, given: list[Any], made: list[Any]) -> None:
        """Take note of one operation, with descriptions of its arguments and results."""
        raise NotImplementedError

    def _seen(self, value: Any, result: bool) -> Any:
        if isinstance(value, Tensor):
            return self.describe(value, result)
        return value if isinstance(value, int | float | bool | str | None) else repr(value)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [self._seen(leaf, False) for leaf in pytree.tree_leaves((args, kwargs or {}))]
        out = func(*args, **(kwargs or {}))
        made = [self._seen(leaf, True) for leaf in pytree.tree_leaves(out)]
        self.note(func, given, made)
        return out


class _Recorder(Recording):  # type: ignore[no-untyped-call]
    """Hashes all operations; each tensor by its storage's name and its place there."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()
        self.hash = hashlib.sha256(torch.__version__.encode())
        self._storages: dict[int, str] = {}
        self._kept: list[Tensor] = []
        # by their place in the order: names may count up from one model to the next, as those of keras do
        for name, tensor in enumerate(tensors):
            self.register(f"own {name}", tensor)
            self._add((name, tuple(tensor.shape), str(tensor.dtype), tensor.requires_grad))

    def register(self, name: str, tensor: Tensor) -> None:
        """Give a tensor's storage a name, and keep it alive, so that no other storage gets its address."""
        self._storages.setdefault(tensor.untyped_storage().data_ptr(), name)
        self._kept.append(tensor)

    def _add(self, what: object) -> None:
        self.hash.update(repr(what).encode())

    def note(self, func: Any, given: list[Any], made: list[Any]) -> None:
        """Add an operation to the hash."""
        self._add((str(func), given, made))

    def describe(self, tensor: Tensor, result: bool) -> Any:
        """Describe a tensor by its storage's name and its place there."""
        address = tensor.untyped_storage().data_ptr()
        content: Sequence[Any] = ()
        if address not in self._storages:
            # a tensor that is neither named nor the result of an operation is a constant: its numbers matter
            content = () if result else (tensor.detach().flatten().tolist(),)
            self.register(f"#{len(self._storages)}", tensor)
        place = (tensor.storage_offset(), tuple(tensor.shape), tuple(tensor.stride()), str(tensor.dtype))
        return (self._storages[address], place, *content)
