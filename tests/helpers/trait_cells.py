"""Cells that each have one trait of cells that people write; lanes carries all of them, at the losses of reference."""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from tests.helpers.lane_cells import Base


class Plain(Base):
    """An Elman network; a subclass adds its trait."""

    def forward(self, x: Tensor, h: Any) -> tuple[Tensor, Any]:
        h = torch.tanh(self.sum(x, h))
        return h, h


# ---- tensors that no step reads, or whose numbers are every replica's


class Unread(Plain):
    """A count, truth values and an empty buffer, which no step reads; and numbers that differ, which none reads."""

    def more(self) -> None:
        self.register_buffer("count", torch.tensor(3))
        self.register_buffer("mask", torch.ones(2, dtype=torch.bool))
        self.register_buffer("order", torch.randperm(self.n))
        self.memory = torch.zeros(0, dtype=torch.float64)


class Indexed(Plain):
    """A permutation and a mask that are the same in every replica, one of them a global constant."""

    def more(self) -> None:
        self.register_buffer("order", torch.arange(self.n).flip(0))
        self.even = torch.arange(self.n) % 2 == 0

    def forward(self, x: Tensor, h: Any) -> tuple[Tensor, Any]:
        h = torch.tanh(self.i(x) + self.h(h)[:, self.order] * TWO)
        return torch.where(self.even, h, -h), h


TWO = torch.tensor(2.0)


class Branched(Plain):
    """Control flow that depends on constants, as snntorch's on the number of its way to reset."""

    def more(self) -> None:
        self.register_buffer("way", torch.tensor(1))

    def forward(self, x: Tensor, h: Any) -> tuple[Tensor, Any]:
        h = torch.tanh(self.sum(x, h))
        if self.way == 0:
            h = -h
        elif bool(self.way * 2 > TWO - 1):
            h = h * int(self.way + 1) * 0.45
        return h, h


class KeepsWhatItSaw(Plain):
    """Leaves its state in a buffer, which it never reads before it writes, as snntorch does."""

    def more(self) -> None:
        self.register_buffer("memory", torch.zeros(0))

    def forward(self, x: Tensor, h: Any) -> tuple[Tensor, Any]:
        self.memory = torch.tanh(self.sum(x, h))
        return self.memory, self.memory


# ---- parameters


class OwnDict(Plain):
    """Reads its parameters through a dict and a list of its own, as ncps' LTC."""

    def more(self) -> None:
        self.own = {"i": self.i.weight, "rest": [self.h.weight, self.h.bias]}

    def forward(self, x: Tensor, h: Any) -> tuple[Tensor, Any]:
        h = torch.tanh(F.linear(x, self.own["i"]) + F.linear(h, *self.own["rest"]))  # type: ignore[arg-type, call-arg]
        return h, h


class Tied(Base):
    """One matrix in two layers."""

    def more(self) -> None:
        self.second = nn.Linear(self.n, self.n)
        self.second.weight = self.h.weight

    def forward(self, x: Tensor, h: Any) -> tuple[Tensor, Any]:
        h = torch.tanh(self.sum(x, h) + self.second(torch.tanh(h)))
        return h, h


_names = itertools.count()


class Numbered(Base):
    """Names its parameters anew in each model, as keras does."""

    def more(self) -> None:
        self.name = f"scale_{next(_names)}"
        self.register_parameter(self.name, nn.Parameter(torch.ones(self.n)))

    def forward(self, x: Tensor, h: Any) -> tuple[Tensor, Any]:
        h = torch.tanh(self.sum(x, h) * getattr(self, self.name))
        return h, h


class HookedParameter(Plain):
    """A hook keeps the gradient of a matrix from its diagonal, as norse's recurrent cells do."""

    def more(self) -> None:
        self.h.weight.register_hook(lambda gradient: gradient.clone().fill_diagonal_(0.0))


# ---- functions of weights


class MatrixExp(Plain):
    def more(self) -> None:
        self.h = parametrizations.orthogonal(self.h, orthogonal_map="matrix_exp")  # type: ignore[assignment]


class Householder(Plain):
    def more(self) -> None:
        self.h = parametrizations.orthogonal(self.h, orthogonal_map="householder")  # type: ignore[assignment]


class Cayley(Plain):
    def more(self) -> None:
        self.h = parametrizations.orthogonal(self.h, orthogonal_map="cayley")  # type: ignore[assignment]


class Factorised(Base):
    """QR, Cholesky, an inverse, a triangular system and determinants."""

    def forward(self, x: Tensor, h: Any) -> tuple[Tensor, Any]:
        w = self.h.weight + torch.eye(self.n)
        q, r = torch.linalg.qr(w)
        spd = w @ w.T + torch.eye(self.n)
        low = torch.linalg.cholesky(spd)
        solved = torch.linalg.solve_triangular(low, w, upper=False) * 0.1 + torch.linalg.inv(spd)
        scale = torch.linalg.slogdet(spd)[1] * 0.01 + torch.linalg.det(q) + r.diagonal().abs().mean()
        h = torch.tanh(self.i(x) + h @ q * 0.9 + 0.1 * scale * (h @ solved))
        return h, h


class Strided(Base):
    """Windows of the state, by `as_strided`."""

    def forward(self, x: Tensor, h: Any) -> tuple[Tensor, Any]:
        a = self.sum(x, h)
        windows = torch.as_strided(a, (a.shape[0], self.n - 2, 3), (self.n, 1, 1)).mean(2)
        h = torch.tanh(a + F.pad(windows, (1, 1)))
        return h, h


class Assigned(Base):
    """Writes its gates into a tensor that it made."""

    def forward(self, x: Tensor, h: Any) -> tuple[Tensor, Any]:
        out = torch.empty(x.shape[0], self.n)
        out[:, ::2] = torch.tanh(self.sum(x, h))[:, ::2]
        out[:, 1::2] = torch.sigmoid(self.i(x))[:, 1::2]
        return out, out


# ---- gradients of the cell's own


class Spike(torch.autograd.Function):
    """A step whose gradient is that of a fast sigmoid, in torch's older style, with a number beside the tensor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        ctx.slope = slope
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return gradient / (ctx.slope * x.abs() + 1) ** 2, None


class Sign(torch.autograd.Function):
    """A sign whose gradient is that of the identity, in torch's newer style."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:  # type: ignore[override]
        return torch.sign(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient


spike = Spike.apply


class Spiking(Base):
    """A leaky integrate-and-fire neuron."""

    def initial_state(self, batch_size: int) -> Any:
        return torch.zeros(batch_size, self.n), torch.zeros(batch_size, self.n)

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        spikes, v = state
        v = 0.8 * v * (1 - spikes) + 1.5 * self.sum(x, spikes)
        spikes = spike(v - 0.5, 2.0)
        return torch.tanh(v) + spikes, (spikes, v)


class OwnGradient(Base):
    def forward(self, x: Tensor, h: Any) -> tuple[Tensor, Any]:
        a = torch.tanh(self.sum(x, h))
        h = 0.5 * a + 0.5 * Sign.apply(a)
        return h, h


class Untracked(Base):
    def forward(self, x: Tensor, h: Any) -> tuple[Tensor, Any]:
        with torch.no_grad():
            k = self.h(h)
        h = torch.tanh(self.i(x) + k)
        return h, h


# ---- what torch has for whole layers


class WholeLayers(Base):
    """nn.LSTM of two layers, called with sequences of length 1."""

    def more(self) -> None:
        self.rnn = nn.LSTM(self.input_size, self.n, 2, batch_first=True)

    def initial_state(self, batch_size: int) -> Any:
        return tuple(torch.zeros(batch_size, 2, self.n) for _ in range(2))

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, (h, c) = self.rnn(x[:, None], tuple(leaf.transpose(0, 1).contiguous() for leaf in state))
        return y[:, 0], (h.transpose(0, 1), c.transpose(0, 1))


# ---- complex numbers


class LinearRecurrentUnit(Base):
    """A complex state with eigenvalues inside the unit circle, and complex weights (Orvieto et al. 2023)."""

    def more(self) -> None:
        self.nu, self.theta = nn.Parameter(torch.rand(self.n)), nn.Parameter(torch.rand(self.n) * 3)
        self.b = nn.Parameter(torch.randn(self.n, self.input_size, dtype=torch.complex64) * 0.5)
        self.c = nn.Parameter(torch.randn(self.n, self.n, dtype=torch.complex64) * 0.3)

    def initial_state(self, batch_size: int) -> Any:
        return torch.zeros(batch_size, self.n, dtype=torch.complex64)

    def forward(self, x: Tensor, s: Any) -> tuple[Tensor, Any]:
        eigenvalues = torch.polar(torch.exp(-torch.exp(self.nu)), self.theta)
        s = eigenvalues * s + x.to(torch.complex64) @ self.b.T
        return torch.tanh((s @ self.c.mT).real), s


class ComplexFunctions(Base):
    """Every function of complex numbers that is written with reals."""

    def forward(self, x: Tensor, h: Any) -> tuple[Tensor, Any]:
        a, b = self.sum(x, h).chunk(2, 1)
        z = torch.complex(torch.tanh(a), torch.tanh(b))
        w = torch.view_as_complex(self.h.weight[: self.n // 2, :2].contiguous())
        t = z * w + z.conj() / (2 + 1j * z) - 0.5j * z + 1.0 / (w + 3)
        t = t + torch.exp(1j * z) + torch.log(z + 2) * torch.tanh(z) + torch.sigmoid(z) + torch.sin(z) * torch.cos(w)
        t = t + z**3 + (z + 2) ** -2 + (z + 2) ** 0.5 + torch.sqrt(z + 2) + torch.sgn(z + 2) + torch.where(a > 0, z, w)
        t = t + torch.stack([z, t], 1).sum(1) + torch.cat([z, t], 1).mean(1, keepdim=True) - torch.neg(z).flip(1)
        t = t + torch.bmm(z[:, :, None], t[:, None, :]).sum(1) * 0.1 + torch.zeros_like(z) + torch.view_as_complex(
            torch.view_as_real(t)
        )  # fmt: skip
        h = torch.tanh(0.1 * torch.cat([t.real + t.abs(), t.imag + (z + 2).angle()], 1) + self.i(x))
        return h, h


# ---- states


class NoneBeside(Plain):
    """`None` beside the state, as for an interface shared with LSTM."""

    def initial_state(self, batch_size: int) -> Any:
        return super().initial_state(batch_size), None

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, h = super().forward(x, state[0])
        return y, (h, None)


TRAITS = (
    Unread, Indexed, Branched, KeepsWhatItSaw, OwnDict, Tied, Numbered, HookedParameter, MatrixExp, Householder, Cayley,
    Factorised, Strided, Assigned, Spiking, OwnGradient, LinearRecurrentUnit, ComplexFunctions, NoneBeside, Untracked,
    WholeLayers,
)  # fmt: skip
