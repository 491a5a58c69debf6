"""The equations of the LSTM with one bias per gate, which Keras and Flax share; their initial weights differ."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cellbench import Cell, State


class LSTM(Cell):
    """i, f, o = σ(x K + h R + b); g = tanh(likewise); c' = f c + i g; h' = o tanh(c').

    torch has two biases per gate, whose sum is this one. Under Adam two biases with one gradient move twice as far as
    one, so torch's LSTM with another library's weights is not that library's LSTM.

    Args:
        input_size: features of x.
        hidden_size: units.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        # gates in the order i, f, g, o, as Keras and Flax store them
        self.kernel = nn.Parameter(torch.empty(input_size, 4 * hidden_size))
        self.recurrent_kernel = nn.Parameter(torch.empty(hidden_size, 4 * hidden_size))
        self.bias = nn.Parameter(torch.empty(4 * hidden_size))
        with torch.no_grad():
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial weights in place."""
        raise NotImplementedError(f"{type(self).__name__} defines no initial weights")

    def initial_state(self, batch_size: int) -> State:
        """Make zeros: h and c, each of shape (batch, hidden_size)."""
        return torch.zeros(batch_size, self.hidden_size), torch.zeros(batch_size, self.hidden_size)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one step; the output is h', shape (batch, hidden_size)."""
        h, c = state
        i, f, g, o = (x @ self.kernel + h @ self.recurrent_kernel + self.bias).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, (h, c)
