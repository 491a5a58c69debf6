"""torch's fused cells as their documented equations, because vmap has no rule for the fused operations.

Within `spelt_out()`, the equations replace every nn.RNNCell, nn.LSTMCell and nn.GRUCell, at any depth in a cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode


def _rnn(squash: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    def cell(x: Tensor, h: Tensor, w: Tensor, u: Tensor, b: Tensor | None = None, c: Tensor | None = None) -> Tensor:
        return squash(linear(x, w, b) + linear(h, u, c))

    return cell


# The functions take torch's own arguments in their order: x, state, weight_ih, weight_hh, bias_ih, bias_hh.
def _lstm(
    x: Tensor, state: Sequence[Tensor], w: Tensor, u: Tensor, b: Tensor | None = None, d: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    h, c = state
    i, f, g, o = (linear(x, w, b) + linear(h, u, d)).chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _gru(x: Tensor, h: Tensor, w: Tensor, u: Tensor, b: Tensor | None = None, c: Tensor | None = None) -> Tensor:
    xr, xz, xn = linear(x, w, b).chunk(3, dim=-1)
    hr, hz, hn = linear(h, u, c).chunk(3, dim=-1)
    z = torch.sigmoid(xz + hz)
    n = torch.tanh(xn + torch.sigmoid(xr + hr) * hn)
    return (1 - z) * n + z * h


_SPELT_OUT: Mapping[Any, Callable[..., Any]] = {
    torch._VF.rnn_tanh_cell: _rnn(torch.tanh),
    torch._VF.rnn_relu_cell: _rnn(torch.relu),
    torch._VF.lstm_cell: _lstm,
    torch._VF.gru_cell: _gru,
}


class spelt_out(TorchFunctionMode):
    """Context in which torch's fused cells run as plain operations."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _SPELT_OUT.get(func, func)(*args, **(kwargs or {}))
