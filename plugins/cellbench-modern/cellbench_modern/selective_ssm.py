"""The diagonal selective state space step of Mamba."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cellbench import Cell, State


class SelectiveSSM(Cell):
    """S6: a diagonal state space for each channel, whose step, input and output matrices depend on the input.

        u = SiLU(W x + b)                               the block's input projection, which brings x to hidden_size
        B = WB u, C = WC u, Δ = softplus(bΔ + wΔ·u)     (algorithm 2, lines 2 to 4; wΔ·u is one number for all channels)
        Ā = exp(Δ A), B̄ = (exp(Δ A) - 1) / A B          (4)
        s' = Ā s + B̄ u                                  (2a)
        y = C·s' + D u                                  (2b), with the skip D u of the released code

    A = -exp(a) is diagonal in each channel. The released code takes Δ B for B̄. At first A is -1, -2, ..., -state size
    in every channel, softplus(bΔ) is log-uniform in (0.001, 0.1) and D is 1, as there; kernels are those of
    torch.nn.Linear, uniform in ±1/sqrt(inputs).

    Args:
        input_size: features of x.
        hidden_size: channels.
        state_size: numbers of state for each channel.

    References:
        Gu & Dao 2023, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", arXiv:2312.00752, sections
        2 and 3.2.
    """

    def __init__(self, input_size: int, hidden_size: int, *, state_size: int = 16) -> None:
        super().__init__(input_size, hidden_size)
        self.state_size = state_size
        self.projection = nn.Linear(input_size, hidden_size)
        self.to_b = nn.Linear(hidden_size, state_size, bias=False)
        self.to_c = nn.Linear(hidden_size, state_size, bias=False)
        self.to_step = nn.Linear(hidden_size, 1, bias=False)
        step = torch.exp(torch.empty(hidden_size).uniform_(math.log(0.001), math.log(0.1)))
        self.step_bias = nn.Parameter(torch.log(torch.expm1(step)))  # softplus of it is the step
        self.log_a = nn.Parameter(torch.log(torch.arange(1.0, state_size + 1)).repeat(hidden_size, 1))
        self.d = nn.Parameter(torch.ones(hidden_size))

    def initial_state(self, batch_size: int) -> State:
        """Zeros of shape (batch, hidden_size, state_size)."""
        return torch.zeros(batch_size, self.hidden_size, self.state_size)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step; the output is y, shape (batch, hidden_size)."""
        u = nn.functional.silu(self.projection(x))
        b, c = self.to_b(u).unsqueeze(1), self.to_c(u).unsqueeze(1)  # (batch, 1, state)
        step = nn.functional.softplus(self.step_bias + self.to_step(u)).unsqueeze(2)  # (batch, hidden, 1)
        a = -torch.exp(self.log_a)
        decay = torch.exp(step * a)
        s = decay * state + (decay - 1) / a * b * u.unsqueeze(2)
        y = (c * s).sum(dim=2) + self.d * u
        return y, s
