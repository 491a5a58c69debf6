"""The gated delta rule of Gated DeltaNet."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cellbench import Cell, State


class GatedDeltaNet(Cell):
    """Gated delta rule: a matrix of associations that forgets, corrects what a key recalls, and is read by a query.

        q = l2(SiLU(Wq x)), k = l2(SiLU(Wk x)), v = SiLU(Wv x)
        α = exp(-exp(a) softplus(wα·x + bα)), β = σ(wβ·x)
        S' = S (α (I - β k kᵀ)) + β v kᵀ                    (10)
        y = S' q

    l2 scales to length 1. There is one head. (10) is its number in version 3, of ICLR 2025; an earlier one has (8). The
    paper takes Mamba2's α: at first exp(a) is uniform in (1, 16), softplus(bα) log-uniform in (0.001, 0.1), as there;
    the released code draws exp(a) from (0, 16). Kernels are those of torch.nn.Linear, uniform in ±1/sqrt(input size).

    Args:
        input_size: features of x.
        hidden_size: length of a value, and features of y.
        key_size: length of a key.

    References:
        Yang, Kautz & Hatamizadeh 2024, "Gated Delta Networks: Improving Mamba2 with Delta Rule", arXiv:2412.06464,
        sections 3.1 and 3.4.
    """

    def __init__(self, input_size: int, hidden_size: int, *, key_size: int = 8) -> None:
        super().__init__(input_size, hidden_size)
        self.key_size = key_size
        self.query = nn.Linear(input_size, key_size, bias=False)
        self.key = nn.Linear(input_size, key_size, bias=False)
        self.value = nn.Linear(input_size, hidden_size, bias=False)
        self.forget = nn.Linear(input_size, 1)
        self.write = nn.Linear(input_size, 1, bias=False)
        step = torch.exp(torch.empty(1).uniform_(math.log(0.001), math.log(0.1)))
        with torch.no_grad():
            self.forget.bias.copy_(torch.log(torch.expm1(step)))  # softplus of it is the step
        self.log_rate = nn.Parameter(torch.log(torch.empty(1).uniform_(1, 16)))  # a

    def initial_state(self, batch_size: int) -> State:
        """Zeros of shape (batch, hidden_size, key_size)."""
        return torch.zeros(batch_size, self.hidden_size, self.key_size)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step; the output is y, shape (batch, hidden_size)."""
        q, k = _l2(nn.functional.silu(self.query(x))), _l2(nn.functional.silu(self.key(x)))
        v = nn.functional.silu(self.value(x))
        alpha = torch.exp(-torch.exp(self.log_rate) * nn.functional.softplus(self.forget(x)))
        beta = torch.sigmoid(self.write(x))
        # Written with sums over products, so that nothing but elementwise operations and sums is needed.
        recalled = (state * k.unsqueeze(1)).sum(dim=2)  # S k, shape (batch, hidden)
        written = beta * (v - alpha * recalled)
        s = alpha.unsqueeze(2) * state + written.unsqueeze(2) * k.unsqueeze(1)
        return (s * q.unsqueeze(1)).sum(dim=2), s


def _l2(x: Tensor) -> Tensor:
    # The released code's guard: a key of zeros, which the input 0 gives, stays zeros.
    return x * torch.rsqrt((x * x).sum(dim=1, keepdim=True) + 1e-6)
