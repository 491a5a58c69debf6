"""The long short-term memory."""

from __future__ import annotations

import torch
from torch import nn

from cellbench.cell import TorchCell


def lstm(input_size: int, hidden_size: int, *, bias: bool = True, forget_bias: float | None = None) -> TorchCell:
    """i, f, o = σ(W x + b + U h + c); g = tanh(likewise); c' = f c + i g; h' = o tanh(c').

    Args:
        input_size: features of x.
        hidden_size: units.
        bias: whether the biases are there.
        forget_bias: what b + c of the forget gate starts at; torch's own initialisation (uniform in
            ±1/sqrt(hidden size), for b and for c) when not given.

    Raises:
        ValueError: `forget_bias` is given without biases.
    """
    cell = nn.LSTMCell(input_size, hidden_size, bias=bias)
    if forget_bias is not None:
        if not bias:
            raise ValueError("forget_bias needs bias: true")
        forget = slice(hidden_size, 2 * hidden_size)  # torch orders the gates i, f, g, o
        with torch.no_grad():
            cell.bias_ih[forget] = forget_bias
            cell.bias_hh[forget] = 0.0
    return TorchCell(cell, states=2)
