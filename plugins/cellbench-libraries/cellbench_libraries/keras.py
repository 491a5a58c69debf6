"""The LSTM and the GRU of Keras. The parameters have Keras' shapes and order: `layer.get_weights()` fits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cellbench import Cell, State
from cellbench_libraries.lstm import LSTM
from cellbench_libraries.weights import glorot_uniform_, orthogonal_


class KerasLSTM(LSTM):
    """keras.layers.LSTM with its defaults: `unit_forget_bias=True`, one bias per gate, gates in the order i, f, g, o.

    Initial weights: K Glorot uniform over (inputs, 4 hidden size), R one orthogonal matrix over the four gates, b 0,
    of the forget gate 1.

    Args:
        input_size: features of x.
        hidden_size: units.
    """

    def reset_parameters(self) -> None:
        """Draw the initial weights of Keras."""
        glorot_uniform_(self.kernel)
        orthogonal_(self.recurrent_kernel)
        self.bias.zero_()
        self.bias[self.hidden_size : 2 * self.hidden_size] = 1.0


class KerasGRU(Cell):
    """keras.layers.GRU with its defaults: `reset_after=True`, two biases per gate, gates in the order z, r, n.

        z, r = σ(x K + b + h R + b')
        n = tanh(x Kn + bn + r (h Rn + b'n))
        h' = z h + (1 - z) n

    These are the equations of torch.nn.GRUCell. Initial weights: K Glorot uniform over (inputs, 3 hidden size), R one
    orthogonal matrix over the three gates, b and b' 0.

    Args:
        input_size: features of x.
        hidden_size: units.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.kernel = nn.Parameter(torch.empty(input_size, 3 * hidden_size))
        self.recurrent_kernel = nn.Parameter(torch.empty(hidden_size, 3 * hidden_size))
        self.bias = nn.Parameter(torch.zeros(2, 3 * hidden_size))  # b, then b'
        glorot_uniform_(self.kernel)
        orthogonal_(self.recurrent_kernel)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one step; the output is h', shape (batch, hidden_size)."""
        xz, xr, xn = (x @ self.kernel + self.bias[0]).chunk(3, dim=1)
        hz, hr, hn = (state @ self.recurrent_kernel + self.bias[1]).chunk(3, dim=1)
        z, r = torch.sigmoid(xz + hz), torch.sigmoid(xr + hr)
        h = z * state + (1 - z) * torch.tanh(xn + r * hn)
        return h, h
