"""The recurrence of the hierarchically gated recurrent network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cellbench import Cell, State


class HGRN(Cell):
    """HGRU, the recurrence of HGRN: complex, with a forget gate that has a lower bound.

    λ and h' are in figure 1 of the paper, all of it in the README of the authors' repository; no equation number could
    be checked.

        c = SiLU(Wr x + br) + i SiLU(Wi x + bi)
        λ = γ + (1 - γ) σ(Wμ x + bμ)
        h' = λ exp(iθ) h + (1 - λ) c
        g = SiLU(Wg x + bg)
        y = g (Re h', Im h')

    θ is trained, from 10000^(-2k / hidden size) for unit k = 0, 1, ...; γ is the layer's lower bound, which grows over
    layers from 0 at the first. θ and the SiLU of g are the released code's; for that SiLU its README has some τ. The
    kernels and biases are those of torch.nn.Linear: uniform in ±1/sqrt(input size).

    Args:
        input_size: features of x.
        hidden_size: complex units; y has twice as many features.
        lower_bound: γ, in [0, 1).

    References:
        Qin, Yang & Zhong 2023, "Hierarchically Gated Recurrent Neural Network for Sequence Modeling",
        arXiv:2311.04823.
    """

    def __init__(self, input_size: int, hidden_size: int, *, lower_bound: float = 0.0) -> None:
        super().__init__(input_size, hidden_size, output_size=2 * hidden_size)
        if not 0 <= lower_bound < 1:
            raise ValueError(f"lower_bound must be in [0, 1), not {lower_bound}")
        self.lower_bound = lower_bound
        self.candidate = nn.Linear(input_size, 2 * hidden_size)
        self.forget = nn.Linear(input_size, hidden_size)
        self.gate = nn.Linear(input_size, 2 * hidden_size)
        self.theta = nn.Parameter(10000.0 ** (-2 / hidden_size * torch.arange(hidden_size)))

    def initial_state(self, batch_size: int) -> State:
        """Zeros: the real and the imaginary part of h, each of shape (batch, hidden_size)."""
        return torch.zeros(batch_size, self.hidden_size), torch.zeros(batch_size, self.hidden_size)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step; the output is y, shape (batch, 2 hidden_size)."""
        re, im = state
        c_re, c_im = nn.functional.silu(self.candidate(x)).chunk(2, dim=1)
        decay = self.lower_bound + (1 - self.lower_bound) * torch.sigmoid(self.forget(x))
        a, b = decay * torch.cos(self.theta), decay * torch.sin(self.theta)
        re, im = a * re - b * im + (1 - decay) * c_re, a * im + b * re + (1 - decay) * c_im
        y = nn.functional.silu(self.gate(x)) * torch.cat([re, im], dim=1)
        return y, (re, im)
