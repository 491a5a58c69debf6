"""The linear recurrent unit."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cellbench import Cell, State


class LRU(Cell):
    """Linear recurrent unit: a complex diagonal linear recurrence, stable by its parametrisation.

        λ = exp(-exp(ν) + i exp(θ))                    (sections 3.3 and 3.4)
        s' = λ s + exp(γ) (B x)                        (7); γ is trained, from log sqrt(1 - |λ|²)
        y = Re(C s') + D x                             (section 3.2.1)

    ν, θ and γ are real vectors; λ, s, B and C are complex, each held as two reals: λ = a + i b.

    At first, |λ| lies uniformly by area in the ring from `r_min` to `r_max`, its angle uniformly in (0, `max_phase`)
    (lemma 3.2 and section 3.4); B is normal with variance 1/(2 input size) in each part, C with 1/hidden size, as in
    the code of appendix A. D is normal(0, 1/input size); that code's is diagonal, for as many inputs as outputs.

    Args:
        input_size: features of x.
        hidden_size: complex units, and features of y.
        r_min, r_max: the ring of |λ| at first, 0 <= r_min < r_max <= 1.
        max_phase: the largest angle of λ at first.

    References:
        Orvieto et al. 2023, "Resurrecting Recurrent Neural Networks for Long Sequences", arXiv:2303.06349.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        r_min: float = 0.0,
        r_max: float = 1.0,
        max_phase: float = 2 * math.pi,
    ) -> None:
        super().__init__(input_size, hidden_size)
        # Kept off 0 and 1, where ν and θ would be infinite.
        radius, angle = torch.rand(2, hidden_size).clamp(1e-4, 1 - 1e-4)
        squared = radius * (r_max**2 - r_min**2) + r_min**2
        self.nu = nn.Parameter(torch.log(-0.5 * torch.log(squared)))
        self.theta = nn.Parameter(torch.log(max_phase * angle))
        self.gamma = nn.Parameter(0.5 * torch.log(1 - squared))
        self.b_re = nn.Parameter(torch.randn(hidden_size, input_size) / math.sqrt(2 * input_size))
        self.b_im = nn.Parameter(torch.randn(hidden_size, input_size) / math.sqrt(2 * input_size))
        self.c_re = nn.Parameter(torch.randn(hidden_size, hidden_size) / math.sqrt(hidden_size))
        self.c_im = nn.Parameter(torch.randn(hidden_size, hidden_size) / math.sqrt(hidden_size))
        self.d = nn.Parameter(torch.randn(hidden_size, input_size) / math.sqrt(input_size))

    def initial_state(self, batch_size: int) -> State:
        """Zeros: the real and the imaginary part of s, each of shape (batch, hidden_size)."""
        return torch.zeros(batch_size, self.hidden_size), torch.zeros(batch_size, self.hidden_size)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step; the output is y, shape (batch, hidden_size)."""
        re, im = state
        size, angle, scale = torch.exp(-torch.exp(self.nu)), torch.exp(self.theta), torch.exp(self.gamma)
        a, b = size * torch.cos(angle), size * torch.sin(angle)
        re, im = (
            a * re - b * im + scale * (x @ self.b_re.T),
            a * im + b * re + scale * (x @ self.b_im.T),
        )
        y = re @ self.c_re.T - im @ self.c_im.T + x @ self.d.T
        return y, (re, im)
