"""The minimal long short-term memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cellbench import Cell, State


class MinLSTM(Cell):
    """minLSTM: an LSTM whose gates and candidate see the input alone, gates scaled to sum to one.

    Section 3.2.4 and algorithm 3 of the paper, which calls this length independence scaling.

        f = σ(Wf x + bf)
        i = σ(Wi x + bi)
        h~ = W x + b
        h' = f / (f + i) h + i / (f + i) h~

    The weights are those of torch.nn.Linear: uniform in ±1/sqrt(input size).

    References:
        Feng et al. 2024, "Were RNNs All We Needed?", arXiv:2410.01201, version 3.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.forget = nn.Linear(input_size, hidden_size)
        self.input = nn.Linear(input_size, hidden_size)
        self.candidate = nn.Linear(input_size, hidden_size)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step; the state is h, shape (batch, hidden_size), and so is the output."""
        f = torch.sigmoid(self.forget(x))
        i = torch.sigmoid(self.input(x))
        h = (f * state + i * self.candidate(x)) / (f + i)
        return h, h
