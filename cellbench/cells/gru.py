"""The gated recurrent unit."""

from __future__ import annotations

from torch import nn

from cellbench.cell import TorchCell


def gru(input_size: int, hidden_size: int, *, bias: bool = True) -> TorchCell:
    """r, z = σ(W x + b + U h + c); n = tanh(Wn x + bn + r (Un h + cn)); h' = (1 - z) n + z h.

    Args:
        input_size: features of x.
        hidden_size: units.
        bias: whether the biases are there.
    """
    return TorchCell(nn.GRUCell(input_size, hidden_size, bias=bias), states=1)
