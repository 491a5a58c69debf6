"""The minimal gated recurrent unit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cellbench import Cell, State


class MinGRU(Cell):
    """minGRU: a GRU whose gate and candidate see the input alone (section 3.1.3 and algorithm 1 of the paper).

        z = σ(Wz x + bz)
        h~ = W x + b
        h' = (1 - z) h + z h~

    The weights are those of torch.nn.Linear: uniform in ±1/sqrt(input size).

    References:
        Feng et al. 2024, "Were RNNs All We Needed?", arXiv:2410.01201, version 3.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.gate = nn.Linear(input_size, hidden_size)
        self.candidate = nn.Linear(input_size, hidden_size)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step; the state is h, shape (batch, hidden_size), and so is the output."""
        z = torch.sigmoid(self.gate(x))
        h = (1 - z) * state + z * self.candidate(x)
        return h, h
