"""What a cell computes, as a hash: the operations it runs, their order, shapes and constants, forward and backward.

Two cells with the same tape are the same program, whatever their source says; so a compiled cell is found by its tape
in milliseconds, without tracing, and an edited cell, another torch or an option that matters gives another tape.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from cellbench.model import Model, loss


def tape(model: Model, inputs: int, *, batch: int, steps: int = 2) -> str:
    """The hash of what the model's loss and gradient run, from its initial state on.

    Args:
        model: its weights do not matter, unless the cell's control flow depends on them.
        inputs: features of x.
        batch: examples; cells that look at the batch size give another tape.
        steps: time steps.
    """
    recorder = _Recorder(_named(model))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(steps, batch, inputs, generator=generator)
    recorder.register("input", x)
    with torch.enable_grad(), torch.random.fork_rng(devices=[]), recorder:
        logits = model(x)
        total = loss(logits, torch.zeros_like(logits))
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        torch.autograd.grad(total, parameters, allow_unused=True)
    return recorder.hash.hexdigest()


def _named(model: Model) -> dict[str, Tensor]:
    """Everything whose numbers may differ between replicas."""
    found: dict[str, Tensor] = dict(model.named_parameters())
    found |= dict(model.named_buffers())
    for path, module in model.named_modules():
        found |= {f"{path}.{name}": value for name, value in vars(module).items() if isinstance(value, Tensor)}
    return found


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, named: dict[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.hash = hashlib.sha256(torch.__version__.encode())
        self._storages: dict[int, str] = {}
        self._kept: list[Tensor] = []
        for name, tensor in named.items():
            self.register(name, tensor)
            self._note((name, tuple(tensor.shape), str(tensor.dtype), tensor.requires_grad))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # by default a mode's first call imports torch._dynamo, which takes two seconds
        return False

    def register(self, name: str, tensor: Tensor) -> None:
        """Give a storage a name; it is kept alive, so that its address stays its own."""
        self._storages.setdefault(tensor.untyped_storage().data_ptr(), name)
        self._kept.append(tensor)

    def _note(self, what: Any) -> None:
        self.hash.update(repr(what).encode())

    def _seen(self, value: Any, result: bool) -> Any:
        if isinstance(value, Tensor):
            address = value.untyped_storage().data_ptr()
            content: Sequence[Any] = ()
            if address not in self._storages:
                # a tensor that no operation made is a constant: its numbers are part of the program
                content = () if result else (value.detach().flatten().tolist(),)
                self.register(f"#{len(self._storages)}", value)
            place = (value.storage_offset(), tuple(value.shape), tuple(value.stride()), str(value.dtype))
            return (self._storages[address], place, *content)
        return value if isinstance(value, int | float | bool | str | None) else repr(value)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [self._seen(leaf, False) for leaf in pytree.tree_leaves((args, kwargs or {}))]
        out = func(*args, **(kwargs or {}))
        made = [self._seen(leaf, True) for leaf in pytree.tree_leaves(out)]
        self._note((str(func), given, made))
        return out
