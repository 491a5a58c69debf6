"""The LSTM and the GRU of Flax, of its older interface linen and of its newer one nnx, where they differ."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cellbench import Cell, State
from cellbench_libraries.lstm import LSTM
from cellbench_libraries.weights import lecun_normal_, orthogonal_, orthogonal_per_gate_


class FlaxLSTM(LSTM):
    """linen.LSTMCell, linen.OptimizedLSTMCell and nnx.LSTMCell: one bias per gate, gates in the order i, f, g, o.

    They hold one matrix per gate, `ii` to `io` and `hi` to `ho`; side by side these are K and R. Initial weights: K
    LeCun normal, R an orthogonal matrix per gate, b 0, also that of the forget gate.

    Args:
        input_size: features of x.
        hidden_size: units.
    """

    def reset_parameters(self) -> None:
        """Draw the initial weights of Flax."""
        lecun_normal_(self.kernel)
        orthogonal_per_gate_(self.recurrent_kernel)
        self.bias.zero_()


class NnxOptimizedLSTM(LSTM):
    """nnx.OptimizedLSTMCell: FlaxLSTM, but R is one orthogonal matrix over the four gates, so half as large.

    Args:
        input_size: features of x.
        hidden_size: units.
    """

    def reset_parameters(self) -> None:
        """Draw the initial weights of Flax's optimised cell in nnx."""
        lecun_normal_(self.kernel)
        orthogonal_(self.recurrent_kernel)
        self.bias.zero_()


class FlaxGRU(Cell):
    """linen.GRUCell: one bias per gate and one inside the reset, gates in the order r, z, n.

        r, z = σ(x K + b + h R)
        n = tanh(x Kn + bn + r (h Rn + b'n))
        h' = (1 - z) n + z h

    It holds one matrix per gate; side by side these are K and R. Initial weights: K LeCun normal, R an orthogonal
    matrix per gate, b and b' 0.

    Args:
        input_size: features of x.
        hidden_size: units.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.kernel = nn.Parameter(torch.empty(input_size, 3 * hidden_size))
        self.recurrent_kernel = nn.Parameter(torch.empty(hidden_size, 3 * hidden_size))
        self.bias = nn.Parameter(torch.zeros(3 * hidden_size))
        self.inner_bias = nn.Parameter(torch.zeros(hidden_size))
        lecun_normal_(self.kernel)
        orthogonal_per_gate_(self.recurrent_kernel)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one step; the output is h', shape (batch, hidden_size)."""
        xr, xz, xn = (x @ self.kernel + self.bias).chunk(3, dim=1)
        hr, hz, hn = (state @ self.recurrent_kernel).chunk(3, dim=1)
        r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
        h = (1 - z) * torch.tanh(xn + r * (hn + self.inner_bias)) + z * state
        return h, h


class NnxGRU(Cell):
    """nnx.GRUCell: FlaxGRU without b', although its documentation has one, and with other initial weights.

    Initial weights: K LeCun normal, R one orthogonal matrix over the three gates, b 0.

    Args:
        input_size: features of x.
        hidden_size: units.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.kernel = nn.Parameter(torch.empty(input_size, 3 * hidden_size))
        self.recurrent_kernel = nn.Parameter(torch.empty(hidden_size, 3 * hidden_size))
        self.bias = nn.Parameter(torch.zeros(3 * hidden_size))
        lecun_normal_(self.kernel)
        orthogonal_(self.recurrent_kernel)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one step; the output is h', shape (batch, hidden_size)."""
        xr, xz, xn = (x @ self.kernel + self.bias).chunk(3, dim=1)
        hr, hz, hn = (state @ self.recurrent_kernel).chunk(3, dim=1)
        r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
        h = (1 - z) * torch.tanh(xn + r * hn) + z * state
        return h, h
