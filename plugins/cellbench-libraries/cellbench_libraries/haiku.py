"""The LSTM and the GRU of Haiku. The parameters have Haiku's shapes and order."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cellbench import Cell, State
from cellbench_libraries.weights import lecun_normal_, truncated_normal_


class HaikuLSTM(Cell):
    """haiku.LSTM: one matrix over (x, h), one bias per gate, gates in the order i, g, f, o, 1 added to the third.

        i, o = σ((x, h) W + b)
        f = σ((x, h) Wf + bf + 1)
        g = tanh((x, h) Wg + bg)
        c' = f c + i g
        h' = o tanh(c')

    The 1 is a constant and no parameter, so weight decay does not shrink it. Initial weights: W normal with variance
    1/(inputs + hidden size), cut at 2 deviations, which is not corrected for; b 0.

    Args:
        input_size: features of x.
        hidden_size: units.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight = nn.Parameter(torch.empty(input_size + hidden_size, 4 * hidden_size))
        self.bias = nn.Parameter(torch.zeros(4 * hidden_size))
        truncated_normal_(self.weight, (input_size + hidden_size) ** -0.5)

    def initial_state(self, batch_size: int) -> State:
        """Make zeros: h and c, each of shape (batch, hidden_size)."""
        return torch.zeros(batch_size, self.hidden_size), torch.zeros(batch_size, self.hidden_size)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one step; the output is h', shape (batch, hidden_size)."""
        h, c = state
        i, g, f, o = (torch.cat([x, h], dim=1) @ self.weight + self.bias).chunk(4, dim=1)
        c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, (h, c)


class HaikuGRU(Cell):
    """haiku.GRU: the reset comes before the product, one bias per gate, gates in the order z, r, n.

        z, r = σ(x K + h R + b)
        n = tanh(x Kn + (r h) Rn + bn)
        h' = (1 - z) h + z n

    z has the other sense than in torch: 1 replaces the state. Initial weights: K and R normal with variance 1/inputs
    and 1/(hidden size), cut at 2 deviations and corrected for the cut; b 0.

    Args:
        input_size: features of x.
        hidden_size: units.

    References:
        Chung et al. 2014, "Empirical Evaluation of Gated Recurrent Neural Networks on Sequence Modeling",
        arXiv:1412.3555, equations 5 to 8.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.kernel = nn.Parameter(torch.empty(input_size, 3 * hidden_size))
        self.recurrent_kernel = nn.Parameter(torch.empty(hidden_size, 3 * hidden_size))
        self.bias = nn.Parameter(torch.zeros(3 * hidden_size))
        lecun_normal_(self.kernel)
        lecun_normal_(self.recurrent_kernel)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one step; the output is h', shape (batch, hidden_size)."""
        size = 2 * self.hidden_size
        xzr, xn = (x @ self.kernel + self.bias).tensor_split([size], dim=1)
        rzr, rn = self.recurrent_kernel.tensor_split([size], dim=1)
        z, r = torch.sigmoid(xzr + state @ rzr).chunk(2, dim=1)
        h = (1 - z) * state + z * torch.tanh(xn + (r * state) @ rn)
        return h, h
