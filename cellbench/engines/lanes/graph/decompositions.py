"""Operations that are decomposed while a cell is traced, so that the table of operations needs no entry for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

_table: dict[Any, Callable[..., Any]] | None = None
# fmt: off
_ALSO_DECOMPOSED = [
    "_softmax", "_softmax_backward_data", "_log_softmax", "_log_softmax_backward_data", "native_layer_norm",
    "native_layer_norm_backward", "gelu", "gelu_backward", "elu", "elu_backward", "silu", "silu_backward",
    "leaky_relu", "leaky_relu_backward", "hardtanh", "hardtanh_backward", "hardsigmoid", "hardsigmoid_backward",
    "softplus", "softplus_backward", "softshrink", "softshrink_backward", "hardshrink", "hardshrink_backward",
    "native_group_norm", "native_group_norm_backward", "clamp_min", "clamp_max", "threshold_backward", "mish",
    "mish_backward", "logsumexp", "lerp", "addcmul", "addcdiv", "baddbmm", "std", "log_sigmoid_forward",
    "log_sigmoid_backward", "_trilinear", "tanh_backward", "sigmoid_backward",
]
# fmt: on


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Load the decompositions: torch's core ones, more of torch's own, and a few of ours. The import is slow."""
    global _table
    if _table is None:
        from torch._decomp import core_aten_decompositions, get_decompositions

        _table = dict(core_aten_decompositions())
        _table.update(get_decompositions([getattr(torch.ops.aten, name) for name in _ALSO_DECOMPOSED]))
        _table[torch.ops.aten.linalg_vector_norm.default] = _vector_norm
        _table[torch.ops.aten.var.correction] = _var
        _table[torch.ops.aten.var_mean.correction] = _var_mean
    return _table


def _vector_norm(
    x: Tensor, ord: float = 2, dim: Sequence[int] | None = None, keepdim: bool = False, **options: Any
) -> Any:
    axes = list(range(x.dim())) if dim is None else list(dim)
    if ord == 1:
        return x.abs().sum(axes, keepdim=keepdim)
    return (x * x).sum(axes, keepdim=keepdim).sqrt() if ord == 2 else NotImplemented


def _var_mean(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    axes = list(range(x.dim())) if dim is None or len(dim) == 0 else list(dim)
    count = 1
    for axis in axes:
        count *= x.shape[axis]
    mean = x.mean(axes, keepdim=True)
    variance = ((x - mean) * (x - mean)).sum(axes, keepdim=keepdim) / (
        count - (1 if correction is None else correction)
    )
    return variance, mean if keepdim else mean.reshape(variance.shape)


def _var(x: Tensor, dim: Sequence[int] | None = None, **options: Any) -> Tensor:
    return _var_mean(x, dim, **options)[0]
