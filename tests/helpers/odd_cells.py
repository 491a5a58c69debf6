"""Cells that are sound, or wrong in one thing alone, and that a careless law judges wrongly."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cellbench import Cell, State
from tests.helpers.awkward import Plain

# ---- gradients that are meant to differ from the slope ----


class _Spike(torch.autograd.Function):
    """1 above 0, with the derivative of a fast sigmoid."""

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        ctx.save_for_backward(v)
        return (v > 0).to(v)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (v,) = ctx.saved_tensors
        surrogate: Tensor = gradients[0] / (1 + 10 * v.abs()) ** 2
        return surrogate


class Spiking(Plain):
    """Leaky integrate and fire with a surrogate gradient; loud enough to spike at inputs of size 1."""

    gain = 4.0

    def initial_state(self, batch_size: int) -> State:
        return torch.zeros(batch_size, self.hidden_size), torch.zeros(batch_size, self.hidden_size)

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, State]:
        v, s = state
        v = 0.9 * v * (1 - s.detach()) + self.gain * self.i(x) + self.h(s)
        s = _Spike.apply(v - 1.0)  # type: ignore[no-untyped-call]
        return s, (v, s)


class Rounded(Plain):
    """Quantised activations, straight through by detach."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.i(x) + self.h(h))
        h = h + ((4 * h).round() / 4 - h).detach()
        return h, h


class QuantisedWeights(Plain):
    """Weights of 16 levels, straight through by detach."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        w = self.h.weight
        w = w + ((8 * w).round() / 8 - w).detach()
        h = torch.tanh(self.i(x) + nn.functional.linear(h, w, self.h.bias))
        return h, h


class Clipped(Plain):
    """A hook that halves the gradient of the state."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.i(x) + self.h(h))
        if h.requires_grad:
            h.register_hook(lambda g: g * 0.5)
        return h, h


class AtAJump(Plain):
    """A whole number taken from a weight that is 1 to begin with: the first weights lie at a jump, as Householder's."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.sign = nn.Parameter(torch.ones(hidden_size))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.i(x) * self.sign.int() + self.h(h) + 0.1 * self.sign)
        return h, h


# ---- gradients that are wrong ----


class _WrongTanh(torch.autograd.Function):
    """tanh with the derivative of another function."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        y = z.tanh()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        wrong: Tensor = gradients[0] * (1 - y)
        return wrong


class WrongTanh(Plain):
    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = _WrongTanh.apply(self.i(x) + self.h(h))  # type: ignore[no-untyped-call]
        return h, h


class WrongAndKinked(Plain):
    """A wrong gradient beside a kink, which is no jump."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.relu(_WrongTanh.apply(self.i(x) + self.h(h)))  # type: ignore[no-untyped-call]
        return h, h


class Detached(Plain):
    """Forgets to learn through time."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.i(x) + self.h(h.detach()))
        return h, h


# ---- complex numbers ----


class ComplexDiagonal(Cell):
    """A diagonal linear recurrence with complex parameters and a complex state, cast as LRU's authors write it."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.nu, self.theta = nn.Parameter(torch.rand(hidden_size)), nn.Parameter(3 * torch.rand(hidden_size))
        self.b = nn.Parameter(torch.randn(hidden_size, input_size, dtype=torch.complex64) / 2)
        self.c = nn.Parameter(torch.randn(hidden_size, hidden_size, dtype=torch.complex64) / hidden_size)

    def initial_state(self, batch_size: int) -> State:
        return torch.zeros(batch_size, self.hidden_size, dtype=torch.complex64)

    def forward(self, x: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        lam = torch.polar(torch.exp(-torch.exp(self.nu)), self.theta)
        s = lam * s + x.to(torch.complex64) @ self.b.T
        return torch.tanh((s @ self.c.T).real), s


class _Conjugated(torch.autograd.Function):
    """The identity, with the conjugate of its gradient."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        return z.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].conj()


class WronglyComplex(ComplexDiagonal):
    def forward(self, x: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        y, s = super().forward(x, _Conjugated.apply(s))  # type: ignore[no-untyped-call]
        return y, s


# ---- what has nothing to train, or begins at 0 ----


class Frozen(Cell):
    """A reservoir in buffers: nothing of it is trained."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.register_buffer("u", torch.randn(hidden_size, hidden_size) / hidden_size**0.5)
        self.register_buffer("w", torch.randn(hidden_size, input_size))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(x @ self.w.T + h @ self.u.T)  # type: ignore[operator]
        return h, h


class FrozenAndDetached(Frozen):
    """The same, computed without gradients."""

    @torch.no_grad()
    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(x, h)


class LowRank(Plain):
    """A low-rank addition to the weights one of whose factors begins at 0, as LoRA's."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.a = nn.Parameter(torch.randn(2, hidden_size))
        self.b = nn.Parameter(torch.zeros(hidden_size, 2))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.i(x) + self.h(h) + h @ (self.b @ self.a).T)
        return h, h


class Residual(Plain):
    """A residual step whose share begins at 0, as ReZero's, with another of that kind within it."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.share, self.inner = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(hidden_size))
        self.deep = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = 0.9 * h + self.i(x) + self.share * torch.tanh(self.h(h) + self.inner * self.deep(h))
        return h, h


class Registered(Plain):
    """Keeps a list of all its kind in the class, as snntorch's neurons do: other cells' weights are not its own."""

    every: ClassVar[list[nn.Module]] = []

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.register_buffer("membrane", torch.zeros(0), persistent=False)
        self.every.append(self)


# ---- states of other kinds ----


class Counts(Plain):
    """A counter of steps in the state, a whole number."""

    def initial_state(self, batch_size: int) -> State:
        return torch.zeros(batch_size, self.hidden_size), torch.zeros(batch_size, 1, dtype=torch.int64)

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, State]:
        h, t = state
        h = torch.where(t % 2 == 1, h, torch.tanh(self.i(x) + self.h(h)))
        return h, (h, t + 1)


class Begins(Plain):
    """A truth value in the state: whether this is the first step."""

    def initial_state(self, batch_size: int) -> State:
        return torch.zeros(batch_size, self.hidden_size), torch.ones(batch_size, 1, dtype=torch.bool)

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, State]:
        h, first = state
        h = torch.tanh(self.i(x) + self.h(torch.where(first, 0.5, h)))
        return h, (h, torch.zeros_like(first))


class Late(Plain):
    """Sees its input ten steps late; half of its weights serve at every 16th step alone. All of it is in the state."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.slow = nn.Linear(hidden_size, hidden_size)

    def initial_state(self, batch_size: int) -> State:
        waiting = [torch.zeros(batch_size, self.input_size) for _ in range(10)]
        return torch.zeros(batch_size, self.hidden_size), waiting, torch.zeros(batch_size, 1)

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, State]:
        h, (first, *waiting), t = state
        t = t + 1
        h = torch.tanh(self.i(first) + self.h(h) + torch.where(t % 16 == 0, self.slow(h), 0.0))
        return h, (h, [*waiting, x], t)


# ---- memory that small inputs do not show ----


class SilentMemory(Plain):
    """Spikes, with the membrane in an attribute that nothing resets; it is silent at inputs of size 1."""

    gain = 0.5

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.v: Tensor | float = 0.0

    def forward(self, x: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        v = 0.9 * self.v + self.gain * self.i(x)
        if torch.is_tensor(self.v) and len(self.v) != len(x):
            v = self.gain * self.i(x)
        s = _Spike.apply(v - 4.0)  # type: ignore[no-untyped-call]
        self.v = (v * (1 - s)).detach()
        return s, s


class AlwaysSilent(SilentMemory):
    """The same with a threshold that nothing reaches."""

    gain = 1e-6


# ---- what is not a number ----


class NotANumber(Plain):
    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.i(x) + self.h(h)) * float("nan")
        return h, h


class LaterNotANumber(Plain):
    """One output of the last example, from the third step on."""

    def initial_state(self, batch_size: int) -> State:
        return torch.zeros(batch_size, self.hidden_size), torch.zeros(batch_size, 1)

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, State]:
        h, t = state
        h = torch.tanh(self.i(x) + self.h(h))
        late = torch.where(t >= 2, float("nan"), 0.0)
        return torch.cat([h[:, :-1], h[:, -1:] + late], 1), (h, t + 1)


class WeightNotANumber(Plain):
    """A weight from memory that nobody set."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.bias = nn.Parameter(torch.full((hidden_size,), float("nan")))


class DrawsInVain(Plain):
    """Draws a mask at each step, and uses it in training alone."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        mask = torch.rand(self.hidden_size) > 0.1
        h = torch.tanh(self.i(x) + self.h(h * mask if self.training else h))
        return h, h


# ---- random numbers in `eval()` mode too ----


class NoisyAlways(Plain):
    """Noise of torch's generator, in `eval()` mode too."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        z = self.i(x) + self.h(h)
        h = torch.tanh(z + 0.1 * torch.randn_like(z))
        return h, h
