"""The identity-initialised network of rectified linear units."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cellbench import Cell, State


class IRNN(Cell):
    """IRNN: h' = relu(W x + U h + b), U from the identity, b from 0, W from normal(0, 0.001²).

    References:
        Le, Jaitly & Hinton 2015, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units",
        arXiv:1504.00941.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight = nn.Parameter(torch.randn(hidden_size, input_size) * 0.001)
        self.recurrent = nn.Parameter(torch.eye(hidden_size))
        self.bias = nn.Parameter(torch.zeros(hidden_size))

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step; the state is h, shape (batch, hidden_size), and so is the output."""
        h = torch.relu(x @ self.weight.T + state @ self.recurrent.T + self.bias)
        return h, h
