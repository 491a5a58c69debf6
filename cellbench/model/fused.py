"""torch's fused cells and layers as their documented equations, because vmap has no rule for the fused operations.

Within `spelt_out()`, the equations replace every nn.RNNCell, nn.LSTMCell and nn.GRUCell, at any depth in a cell, and
every nn.RNN, nn.LSTM and nn.GRU of one direction without dropout.
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


def _layers(fused: Callable[..., Any], cell: Callable[..., Any]) -> Callable[..., Any]:
    """Spell out a whole sequence through several layers by the equations of one step."""

    def layers(x: Tensor, state: Any, *rest: Any) -> Any:
        # a packed sequence comes with the sizes of its batches in second place
        packed = isinstance(state, Tensor) and state.dtype == torch.int64
        if packed or len(rest) != 7:
            return fused(x, state, *rest)
        parameters, has_biases, count, dropout, train, bidirectional, batch_first = rest
        per_layer = 4 if has_biases else 2
        if bidirectional or (dropout and train) or len(parameters) != per_layer * count:
            return fused(x, state, *rest)
        parts = (state,) if isinstance(state, Tensor) else tuple(state)
        sequence = x.transpose(0, 1) if batch_first else x
        last: list[Sequence[Tensor]] = []
        for layer in range(count):
            own = parameters[per_layer * layer : per_layer * (layer + 1)]
            now: Any = tuple(part[layer] for part in parts)
            outputs = []
            for step in sequence.unbind(0):
                after = cell(step, now if len(parts) > 1 else now[0], *own)
                now = after if len(parts) > 1 else (after,)
                outputs.append(now[0])
            sequence = torch.stack(outputs)
            last.append(now)
        found = [torch.stack([states[part] for states in last]) for part in range(len(parts))]
        return (sequence.transpose(0, 1) if batch_first else sequence, *found)

    return layers


_SPELT_OUT: Mapping[Any, Callable[..., Any]] = {
    torch._VF.rnn_tanh_cell: _rnn(torch.tanh),
    torch._VF.rnn_relu_cell: _rnn(torch.relu),
    torch._VF.lstm_cell: _lstm,
    torch._VF.gru_cell: _gru,
    torch._VF.rnn_tanh: _layers(torch._VF.rnn_tanh, _rnn(torch.tanh)),
    torch._VF.rnn_relu: _layers(torch._VF.rnn_relu, _rnn(torch.relu)),
    torch._VF.lstm: _layers(torch._VF.lstm, _lstm),
    torch._VF.gru: _layers(torch._VF.gru, _gru),
}


class spelt_out(TorchFunctionMode):
    """Context in which torch's fused cells and layers run as plain operations.

    Args:
        only: the functions of torch that are replaced; by default all.
    """

    def __init__(self, *only: Any) -> None:
        super().__init__()
        self._replaced = {func: own for func, own in _SPELT_OUT.items() if not only or func in only}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._replaced.get(func, func)(*args, **(kwargs or {}))
