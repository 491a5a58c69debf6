"""Batched matrix products whose bits do not depend on where in the batch a matrix stands.

The library behind `torch.bmm` may take another path for a matrix that begins at no multiple of 16 bytes. Of those with
5 x 10 numbers every other one does not: a replica's last bits would depend on its place in the stack.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cellbench.model import DispatchMode

_ALIGNED, _APART = 4, 16
"""Floats of what must be a multiple for a product to be left alone, and floats to which matrices are moved apart."""


class Aligned(DispatchMode):  # type: ignore[no-untyped-call]
    """Computes the batched products within it on matrices that all begin at multiples of 64 bytes.

    Products of matrices that do so anyway, to 16 bytes, are left alone.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.bmm.default and not kwargs:
            a, b = args
            if not (_apart(a) and _apart(b) and a.shape[1] * b.shape[2] % _ALIGNED == 0):
                out = _room(a, a.shape[1], b.shape[2])
                torch.bmm(_moved(a), _moved(b), out=out)
                return out.contiguous()
        return func(*args, **(kwargs or {}))


def _apart(a: Tensor) -> bool:
    return a.shape[0] == 1 or (a.stride(0) % _ALIGNED == 0 and a.storage_offset() % _ALIGNED == 0)


def _moved(a: Tensor) -> Tensor:
    return _room(a, a.shape[1], a.shape[2]).copy_(a)


def _room(like: Tensor, rows: int, columns: int) -> Tensor:
    """Make room for a batch of matrices that begin at multiples of 64 bytes, as torch's memory does."""
    apart = -(-rows * columns // _APART) * _APART
    room = like.new_empty(like.shape[0] * apart)
    return room.as_strided((like.shape[0], rows, columns), (apart, columns, 1))
