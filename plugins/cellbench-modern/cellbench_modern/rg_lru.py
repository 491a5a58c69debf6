"""The real-gated linear recurrent unit of Griffin and Hawk."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cellbench import Cell, State

_C = 8.0
"""The constant c of equation (3)."""


class RGLRU(Cell):
    """RG-LRU: a real diagonal linear recurrence whose decay and input are gated by the input.

        u = W x + b                        the block's input projection, which brings x to hidden_size
        r = σ(Wa u + ba)                   (1), the recurrence gate
        i = σ(Wx u + bx)                   (2), the input gate
        a = σ(Λ)^(c r), c = 8              (3), computed as exp(c r log σ(Λ))
        h' = a h + sqrt(1 - a²) (i u)      (4)

    At first σ(Λ)^c is uniform in (0.9, 0.999), as the paper says (the released code draws σ(Λ) from there), kernels are
    normal(0, 1/inputs) and biases 0.

    References:
        De et al. 2024, "Griffin: Mixing Gated Linear Recurrences with Local Attention for Efficient Language Models",
        arXiv:2402.19427, section 2.4.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.projection = nn.Linear(input_size, hidden_size)
        self.recurrence_gate = nn.Linear(hidden_size, hidden_size)
        self.input_gate = nn.Linear(hidden_size, hidden_size)
        for layer in (self.projection, self.recurrence_gate, self.input_gate):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)
        decay = torch.empty(hidden_size).uniform_(0.9, 0.999) ** (1 / _C)
        self.decay = nn.Parameter(torch.log(decay / (1 - decay)))  # Λ

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step; the state is h, shape (batch, hidden_size), and so is the output."""
        u = self.projection(x)
        r = torch.sigmoid(self.recurrence_gate(u))
        i = torch.sigmoid(self.input_gate(u))
        log_a = -_C * r * nn.functional.softplus(-self.decay)
        # Bounded away from 0, where the root's derivative is infinite; the released code bounds the derivative.
        fresh = torch.sqrt((1 - torch.exp(2 * log_a)).clamp(min=1e-6))
        h = torch.exp(log_a) * state + fresh * (i * u)
        return h, h
