"""Cells of the questions in docs/behaviour.md, written by hand: each differs from a known cell in one thing.

All weights and biases are uniform in ±1/sqrt(hidden size), as those of rnn, lstm and gru are.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from cellbench import Cell


class Gated(Cell):
    """Blocks of W x + b and U h + c, which a cell combines as it likes.

    Attributes:
        blocks: how many blocks of `hidden_size` numbers each.
    """

    blocks: ClassVar[int]

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.inputs = nn.Linear(input_size, self.blocks * hidden_size)
        self.recurrent = nn.Linear(hidden_size, self.blocks * hidden_size)
        bound = hidden_size**-0.5
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def parts(self, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        """Compute the blocks, each (batch, hidden_size)."""
        return (self.inputs(x) + self.recurrent(h)).chunk(self.blocks, 1)


class NoForget(Gated):
    """LSTM without a forget gate (Hochreiter & Schmidhuber 1997): the memory only adds, c' = c + i g."""

    blocks: ClassVar[int] = 3

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """Make the output and the memory, both 0."""
        zeros = torch.zeros(batch_size, self.hidden_size)
        return zeros, zeros

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Take one step."""
        h, c = state
        i, g, o = self.parts(x, h)
        c = c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, (h, c)


class Linear(Gated):
    """A linear recurrence, h' = W x + U h: with a linear readout it cannot make a carry."""

    blocks: ClassVar[int] = 1

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step."""
        (h,) = self.parts(x, h)
        return h, h


class SignedRNN(nn.RNNCell):
    """The RNN of torch, reading -1 and +1 in place of 0 and 1."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Take one step."""
        h = super().forward(2 * x - 1, h)
        return h, h

    def initial_state(self, batch_size: int) -> Tensor:
        """Make the state, 0."""
        return torch.zeros(batch_size, self.hidden_size)


class SignedGRU(nn.GRUCell):
    """The GRU of torch, reading -1 and +1 in place of 0 and 1."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Take one step."""
        h = super().forward(2 * x - 1, h)
        return h, h

    def initial_state(self, batch_size: int) -> Tensor:
        """Make the state, 0."""
        return torch.zeros(batch_size, self.hidden_size)


class SignedLSTM(nn.LSTMCell):
    """The LSTM of torch, reading -1 and +1 in place of 0 and 1."""

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # type: ignore[override]
        """Take one step."""
        h, c = super().forward(2 * x - 1, state)
        return h, (h, c)

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """Make the output and the memory, both 0."""
        zeros = torch.zeros(batch_size, self.hidden_size)
        return zeros, zeros
