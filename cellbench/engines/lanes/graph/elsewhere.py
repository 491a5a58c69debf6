"""Tensors that a cell reads from where torch does not look while it is traced: its own dicts, closures, globals."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from cellbench.engines.engine import Refused
from cellbench.engines.lines import at, of_frame


class Elsewhere(TorchFunctionMode):
    """Within it, a model's own tensors are replaced wherever they are read, and constants are computed at once.

    A parameter may be reached through a dict, a list, a closure or a tie. A constant is a tensor that is not traced:
    what is computed of constants alone is a constant, so that control flow may depend on it.

    Args:
        values: what takes the place of the model's tensors, by their `id`.
    """

    def __init__(self, values: dict[int, Tensor]) -> None:
        super().__init__()
        self._values = values

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = pytree.tree_map(lambda leaf: self._values.get(id(leaf), leaf), (args, kwargs or {}))
        tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if func is Tensor.register_hook:
            where = at(of_frame(sys._getframe(1)))
            raise Refused(f"a hook changes a gradient inside the cell: use a torch.autograd.Function instead{where}")
        if func is Tensor.fill_diagonal_ and len(args) == 2:  # torch cannot trace it
            func, args = Tensor.masked_fill_, (args[0], torch.eye(*args[0].shape, dtype=torch.bool), args[1])
        if not tensors or any(torch._C._functorch.is_functorch_wrapped_tensor(tensor) for tensor in tensors):
            found = func(*args, **kwargs)
            if not torch.is_grad_enabled():  # the trace is differentiated later, and must know
                found = pytree.tree_map_only(Tensor, Tensor.detach, found)
            return found
        before = [tensor._version for tensor in tensors]
        with temporarily_clear_interpreter_stack(), disable_proxy_modes_tracing():
            found = func(*args, **kwargs)
        if before != [tensor._version for tensor in tensors]:
            where = at(of_frame(sys._getframe(1)))
            raise Refused(f"a tensor changes while the cell runs, and is no part of the state: make it one{where}")
        return found
