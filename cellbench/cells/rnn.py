"""The Elman network."""

from __future__ import annotations

from torch import nn

from cellbench.cell import TorchCell


def rnn(input_size: int, hidden_size: int, *, bias: bool = True, nonlinearity: str = "tanh") -> TorchCell:
    """h' = tanh(W x + b + U h + c).

    Args:
        input_size: features of x.
        hidden_size: units.
        bias: whether b and c are there.
        nonlinearity: `tanh` or `relu`.
    """
    return TorchCell(nn.RNNCell(input_size, hidden_size, bias=bias, nonlinearity=nonlinearity), states=1)
