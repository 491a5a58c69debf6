"""The Legendre memory unit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cellbench import Cell, State


def legendre(order: int, theta: float) -> tuple[Tensor, Tensor]:
    """The memory's step, discretised exactly for an input held over one step (zero-order hold).

        θ dm/dt = A m + B u                                                        (1)
        A[i, j] = (2i + 1) (-1 if i < j else (-1)^(i - j + 1)), B[i] = (2i + 1) (-1)^i     (2)

    Args:
        order: numbers of memory.
        theta: the window's length in steps.

    Returns:
        Ā of shape (order, order) and B̄ of shape (order,), for m' = Ā m + B̄ u (4), in float64.
    """
    i = torch.arange(order, dtype=torch.float64)
    sign = torch.where(i[:, None] < i, -1.0, (-1.0) ** (i[:, None] - i + 1))
    # exp [[A, B], [0, 0]] = [[Ā, B̄], [0, 1]]
    system = torch.zeros(order + 1, order + 1, dtype=torch.float64)
    system[:order, :order] = (2 * i[:, None] + 1) * sign
    system[:order, order] = (2 * i + 1) * (-1.0) ** i
    step = torch.linalg.matrix_exp(system / theta)
    return step[:order, :order].contiguous(), step[:order, order].contiguous()


class LMU(Cell):
    """Legendre memory unit: a fixed linear memory of the last θ steps, read and written by a nonlinear layer.

        u = ex·x + eh·h + em·m                (7)
        m' = Ā m + B̄ u                        (4), Ā and B̄ fixed
        h' = tanh(Wx x + Wh h + Wm m')        (6)

    At first, ex and eh are uniform in ±sqrt(3 / inputs), em is 0, and the W are Xavier normal (section 3; for Wm the
    released code's default).

    Args:
        input_size: features of x.
        hidden_size: units.
        order: numbers of memory, d in the paper.
        theta: the memory's window in steps, θ.

    References:
        Voelker, Kajić & Eliasmith 2019, "Legendre Memory Units: Continuous-Time Representation in Recurrent Neural
        Networks", NeurIPS.
    """

    a: Tensor
    b: Tensor

    def __init__(self, input_size: int, hidden_size: int, *, order: int = 8, theta: float = 16.0) -> None:
        super().__init__(input_size, hidden_size)
        self.order = order
        a, b = legendre(order, theta)
        self.register_buffer("a", a.to(torch.get_default_dtype()))
        self.register_buffer("b", b.to(torch.get_default_dtype()))
        self.encode_x = nn.Linear(input_size, 1, bias=False)
        self.encode_h = nn.Linear(hidden_size, 1, bias=False)
        self.encode_m = nn.Linear(order, 1, bias=False)
        for encoder in (self.encode_x, self.encode_h):
            bound = (3 / encoder.in_features) ** 0.5
            nn.init.uniform_(encoder.weight, -bound, bound)
        nn.init.zeros_(self.encode_m.weight)
        self.from_x = nn.Linear(input_size, hidden_size, bias=False)
        self.from_h = nn.Linear(hidden_size, hidden_size, bias=False)
        self.from_m = nn.Linear(order, hidden_size, bias=False)
        for kernel in (self.from_x, self.from_h, self.from_m):
            nn.init.xavier_normal_(kernel.weight)

    def initial_state(self, batch_size: int) -> State:
        """Zeros: h of shape (batch, hidden_size), m of shape (batch, order)."""
        return torch.zeros(batch_size, self.hidden_size), torch.zeros(batch_size, self.order)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step; the output is h, shape (batch, hidden_size)."""
        h, m = state
        u = self.encode_x(x) + self.encode_h(h) + self.encode_m(m)
        m = m @ self.a.T + u * self.b
        h = torch.tanh(self.from_x(x) + self.from_h(h) + self.from_m(m))
        return h, (h, m)
