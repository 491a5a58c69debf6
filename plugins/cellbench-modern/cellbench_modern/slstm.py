"""The sLSTM of xLSTM."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cellbench import Cell, State


class SLSTM(Cell):
    """sLSTM: an LSTM with an exponential input gate, a normaliser n, and a stabiliser m.

        z = tanh(Wz x + Rz h + bz)             (11)
        i~, f~, o~ = W x + R h + b             (12) to (14)
        o = σ(o~)                              (14)
        m' = max(log σ(f~) + m, i~)            (15)
        i = exp(i~ - m')                       (16)
        f = exp(log σ(f~) + m - m')            (17)
        c' = f c + i z                         (8)
        n' = f n + i                           (9)
        h' = o c' / n'                         (10)

    The forget gate is the logistic of the two that (13) allows. There is one head, so R is a full matrix. c and n
    start from 0, so that h does not depend on the m they start from.

    All weights start uniform in ±1/sqrt(hidden size), biases from 0. The released code's defaults are others, made for
    stacks: R from 0, forget biases spread over the units.

    References:
        Beck et al. 2024, "xLSTM: Extended Long Short-Term Memory", arXiv:2405.04517, section 2.2.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        bound = hidden_size**-0.5
        # Rows in the order z, i, f, o.
        self.weight = nn.Parameter(torch.empty(4 * hidden_size, input_size).uniform_(-bound, bound))
        self.recurrent = nn.Parameter(torch.empty(4 * hidden_size, hidden_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(4 * hidden_size))

    def initial_state(self, batch_size: int) -> State:
        """Zeros: h, c, n and m, each of shape (batch, hidden_size)."""
        return tuple(torch.zeros(batch_size, self.hidden_size) for _ in range(4))

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step; the output is h, shape (batch, hidden_size)."""
        h, c, n, m = state
        z, i, f, o = (x @ self.weight.T + h @ self.recurrent.T + self.bias).chunk(4, dim=1)
        log_f = -nn.functional.softplus(-f)  # log σ(f~)
        top = torch.maximum(log_f + m, i)
        i, f = torch.exp(i - top), torch.exp(log_f + m - top)
        c = f * c + i * torch.tanh(z)
        n = f * n + i
        h = torch.sigmoid(o) * c / n
        return h, (h, c, n, top)
