"""Cells as people bring them, each with one thing that an engine can get wrong; every kind has several."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cellbench.cell import Cell, TorchCell


class Plain(Cell):
    """An Elman network, which the others change in one thing."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.i, self.h = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor, h: Any) -> tuple[Tensor, Any]:
        h = torch.tanh(self.i(x) + self.h(h))
        return h, h


# ---- parameters that are not trained ----


class Reservoir(Cell):
    """An echo state network whose reservoir is parameters that are not trained, drawn for each seed."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.u = nn.Parameter(torch.randn(hidden_size, hidden_size) / hidden_size**0.5, requires_grad=False)
        self.w = nn.Parameter(torch.randn(hidden_size, input_size), requires_grad=False)
        self.gain = nn.Parameter(torch.ones(hidden_size))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.atan(x @ self.w.T + h @ self.u.T) * self.gain
        return h, h


def frozen_afterwards(input_size: int, hidden_size: int) -> Cell:
    """A cell whose factory freezes a part of it after it was made."""
    cell = Plain(input_size, hidden_size)
    cell.i.requires_grad_(False)
    cell.h.bias.requires_grad_(False)
    return cell


class Wired(Plain):
    """A mask over the recurrent weights, kept as a parameter, as wirings are."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.mask = nn.Parameter((torch.rand(hidden_size, hidden_size) > 0.5).float(), requires_grad=False)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.i(x) + h @ (self.h.weight * self.mask).T + self.h.bias)
        return h, h


class Unreached(Plain):
    """Trained parameters that no gradient reaches, beside a frozen one that the loss depends on."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.unused = nn.Parameter(torch.randn(hidden_size))
        self.scale = nn.Parameter(1 + torch.rand(hidden_size), requires_grad=False)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.i(x) + self.scale * self.h(h))
        return h, h


FROZEN = (Reservoir, frozen_afterwards, Wired, Unreached)

# ---- buffers and plain tensors ----


class Buffers(Cell):
    """A reservoir in buffers, one of them not persistent."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.register_buffer("u", torch.randn(hidden_size, hidden_size) / hidden_size**0.5)
        self.register_buffer("w", torch.randn(hidden_size, input_size), persistent=False)
        self.gain = nn.Parameter(torch.ones(hidden_size))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(x @ self.w.T + h @ self.u.T) * self.gain  # type: ignore[operator]
        return h, h


class Attributes(Cell):
    """The same in plain attributes."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.u, self.w = torch.randn(hidden_size, hidden_size) / hidden_size**0.5, torch.randn(hidden_size, input_size)
        self.gain = nn.Parameter(torch.ones(hidden_size))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(x @ self.w.T + h @ self.u.T) * self.gain
        return h, h


class Nested(Cell):
    """The same in a tuple within a dict within a list, and in an object of its own class."""

    @dataclass
    class Weights:
        u: Tensor

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.inner = self.Weights(torch.randn(hidden_size, hidden_size) / hidden_size**0.5)
        self.all = [{"w": (torch.randn(hidden_size, input_size), 1.0)}]
        self.gain = nn.Parameter(torch.ones(hidden_size))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        w, scale = self.all[0]["w"]
        h = torch.tanh(scale * (x @ w.T) + h @ self.inner.u.T) * self.gain
        return h, h


class Permuted(Plain):
    """A buffer of whole numbers, drawn for each seed, that says which unit reads which."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.register_buffer("order", torch.randperm(hidden_size))
        self.register_buffer("on", torch.rand(hidden_size) > 0.5)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.i(x) + torch.where(self.on, self.h(h)[:, self.order], 0.5))  # type: ignore[index, arg-type]
        return h, h


class Closure(Plain):
    """A tensor in the closure of a function."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        shift = torch.randn(hidden_size)
        self.act = lambda z: torch.tanh(z + shift)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = self.act(self.i(x) + self.h(h))
        return h, h


class Listed(Plain):
    """Parameters read through a dict of the cell's own, beside a constant."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.own = {"bias": self.h.bias, "shift": torch.randn(hidden_size)}

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.i(x) + h @ self.h.weight.T + self.own["bias"] + self.own["shift"])
        return h, h


def orthogonal(input_size: int, hidden_size: int) -> Cell:
    """torch's parametrization, which keeps its base in a buffer."""
    cell = Plain(input_size, hidden_size)
    nn.utils.parametrizations.orthogonal(cell.h, orthogonal_map="cayley")
    return cell


class DrawnNumber(Plain):
    """A Python number, drawn for each seed."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.leak = float(torch.rand(()))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = self.leak * h + (1 - self.leak) * torch.tanh(self.i(x) + self.h(h))
        return h, h


class DrawnArray(Plain):
    """A numpy array, drawn for each seed."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.shift = np.random.randn(hidden_size).astype(np.float32)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.i(x) + self.h(h) + torch.from_numpy(self.shift))
        return h, h


class Seen(Plain):
    """A plain tensor that looks into the memory of a parameter, and follows it."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.turned = self.h.weight.data.T

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.i(x) + self.h(h) + h @ self.turned)
        return h, h


OWN = (Buffers, Attributes, Nested, Permuted, Closure, Listed, orthogonal, DrawnNumber, DrawnArray, Seen)

# ---- tensors that change as the cell runs ----


class Normed(Plain):
    """Running statistics."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.norm = nn.BatchNorm1d(hidden_size)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.norm(self.i(x) + self.h(h)))
        return h, h


def spectral(input_size: int, hidden_size: int) -> Cell:
    """torch's spectral norm, whose power iteration goes on in buffers."""
    cell = Plain(input_size, hidden_size)
    nn.utils.parametrizations.spectral_norm(cell.h)
    return cell


def spectral_of_old(input_size: int, hidden_size: int) -> Cell:
    """torch's older spectral norm, which keeps a weight that is no parameter."""
    cell = Plain(input_size, hidden_size)
    nn.utils.spectral_norm(cell.h)
    return cell


class Centred(Plain):
    """A running mean in a plain attribute that a new tensor takes the place of."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.mean = torch.zeros(hidden_size)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        z = self.i(x) + self.h(h)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * z.detach().mean(0)
        h = torch.tanh(z - self.mean)
        return h, h


class Annealed(Plain):
    """A temperature that falls with every call, kept as a number."""

    calls = 0

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        h = torch.tanh((self.i(x) + self.h(h)) / max(0.05, 1.0 - 1e-3 * self.calls))
        return h, h


CHANGING = (Normed, spectral, spectral_of_old, Centred, Annealed)

# ---- memory within a sequence, outside the state ----


class Clockwork(Plain):
    """Half of the units move every eighth step; the clock is an attribute that initial_state resets."""

    def initial_state(self, batch_size: int) -> Tensor:
        self.t = 0
        return torch.zeros(batch_size, self.hidden_size)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        new = torch.tanh(self.i(x) + self.h(h))
        half = self.hidden_size // 2
        if self.t and self.t % 8 == 0:
            new = torch.cat([new[:, :half], h[:, half:]], 1)
        self.t += 1
        return new, new


class Delayed(Plain):
    """Reads the state of ten steps ago out of a deque."""

    def initial_state(self, batch_size: int) -> Tensor:
        self.past: deque[Tensor] = deque(maxlen=10)
        return torch.zeros(batch_size, self.hidden_size)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        z = self.i(x) + self.h(h)
        if len(self.past) == 10:
            z = z + self.past[0]
        h = torch.tanh(z)
        self.past.append(h)
        return h, h


class Fading(Plain):
    """A gate that opens a millionth further with each step of a sequence."""

    def initial_state(self, batch_size: int) -> Tensor:
        self.t = 0
        return torch.zeros(batch_size, self.hidden_size)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        self.t += 1
        h = torch.tanh(self.i(x) + (1 + 1e-6 * self.t) * self.h(h))
        return h, h


class LateHook(Plain):
    """Clips the gradient of the state, but only from the twelfth step on."""

    def initial_state(self, batch_size: int) -> Tensor:
        self.t = 0
        return torch.zeros(batch_size, self.hidden_size)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        self.t += 1
        h = torch.tanh(self.i(x) + self.h(h))
        if self.t > 11 and h.requires_grad:
            h.register_hook(lambda g: g.clamp(-1e-3, 1e-3))
        return h, h


LATE = (Clockwork, Delayed, Fading, LateHook)

# ---- hooks on gradients ----


class Apart(Plain):
    """A unit does not read itself: a hook takes the gradient from the diagonal."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        with torch.no_grad():
            self.h.weight.fill_diagonal_(0)
        self.h.weight.register_hook(lambda g: g * (1 - torch.eye(hidden_size)))


class AfterAccumulation(Plain):
    """A hook that halves a gradient once it is there."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.h.weight.register_post_accumulate_grad_hook(self.halve)

    @staticmethod
    def halve(parameter: Tensor) -> None:
        assert parameter.grad is not None
        parameter.grad.mul_(0.5)


class ModuleHook(Plain):
    """A hook on what flows back through a module."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.act = nn.Tanh()
        self.act.register_full_backward_hook(lambda module, into, out: tuple(0.5 * g for g in into))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = self.act(self.i(x) + self.h(h))
        return h, h


HOOKS = (Apart, AfterAccumulation, ModuleHook)

# ---- what cannot be copied ----


def weight_norm_of_old(input_size: int, hidden_size: int) -> Cell:
    """torch's older weight norm, which keeps a weight that was computed."""
    cell = Plain(input_size, hidden_size)
    nn.utils.weight_norm(cell.h)
    return cell


def weight_norm(input_size: int, hidden_size: int) -> Cell:
    """torch's newer weight norm."""
    cell = Plain(input_size, hidden_size)
    nn.utils.parametrizations.weight_norm(cell.h)
    return cell


def scripted(input_size: int, hidden_size: int) -> Cell:
    """A TorchScript module."""
    return TorchCell(torch.jit.script(nn.GRUCell(input_size, hidden_size)))


class Uncopied(Plain):
    """Refuses to be copied, and cannot be pickled."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Uncopied:
        raise RuntimeError("no copies of this cell")

    def __reduce__(self) -> Any:
        raise TypeError("no pickles of this cell")


UNCOPIED = (weight_norm_of_old, weight_norm, scripted, Uncopied)

# ---- what says nothing about itself ----


class Bare(nn.Module):
    """A module with the two methods of a cell and no attribute of one; it has twice as many outputs as units."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.gates = nn.Linear(input_size + hidden_size, 2 * hidden_size)
        self.units = hidden_size

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, self.units)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        both = torch.tanh(self.gates(torch.cat([x, h], 1)))
        return both, both[:, : self.units]


# ---- random numbers while the cell runs ----


class Dropped(Plain):
    """Dropout on the recurrent input."""

    def __init__(self, input_size: int, hidden_size: int, p: float = 0.2) -> None:
        super().__init__(input_size, hidden_size)
        self.drop = nn.Dropout(p)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.i(x) + self.h(self.drop(h)))
        return h, h


class ZonedOut(Plain):
    """Zoneout: units keep their state with Python's random numbers in training, and a mixture in evaluation."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        new = torch.tanh(self.i(x) + self.h(h))
        if self.training:
            keep = torch.tensor([[random.random() < 0.1 for _ in range(self.hidden_size)] for _ in h])
            new = torch.where(keep, h, new)
        else:
            new = 0.1 * h + 0.9 * new
        return new, new


class Noisy(Plain):
    """Noise of numpy's global generator, in training and in evaluation."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        z = self.i(x) + self.h(h)
        h = torch.tanh(z + torch.from_numpy(0.05 * np.random.randn(*z.shape).astype(np.float32)))
        return h, h


class Gumbel(Plain):
    """A gate that is drawn with Gumbel noise, always."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.gate = nn.Linear(input_size, 2 * hidden_size)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        on = nn.functional.gumbel_softmax(self.gate(x).view(-1, self.hidden_size, 2), hard=True)[..., 0]
        h = torch.where(on > 0.5, torch.tanh(self.i(x) + self.h(h)), h)
        return h, h


class OwnGenerator(Plain):
    """Noise of a generator that belongs to the cell."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.generator = torch.Generator().manual_seed(int(torch.randint(1 << 30, ())))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        z = self.i(x) + self.h(h)
        if self.training:
            z = z + 0.05 * torch.randn(z.shape, generator=self.generator)
        h = torch.tanh(z)
        return h, h


class Scaled(Plain):
    """No randomness, but training and evaluation differ."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.i(x) + (1.0 if self.training else 0.8) * self.h(h))
        return h, h


RANDOM = (Dropped, ZonedOut, Noisy, Gumbel, OwnGenerator)

# ---- cells that a tape of two steps takes for one another ----


class NoneBeside(Plain):
    """Plain, but the state is (h, None), as for an interface shared with LSTM."""

    def initial_state(self, batch_size: int) -> Any:
        return torch.zeros(batch_size, self.hidden_size), None

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        h = torch.tanh(self.i(x) + self.h(state[0]))
        return h, (h, None)


class InAList(Plain):
    """Plain, but the state is [h]."""

    def initial_state(self, batch_size: int) -> Any:
        return [torch.zeros(batch_size, self.hidden_size)]

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        h = torch.tanh(self.i(x) + self.h(state[0]))
        return h, [h]


class WrappedGru(Cell):
    """torch's GRU, as the built-in cell has it, but the state is (h, None)."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.module = nn.GRUCell(input_size, hidden_size)

    def initial_state(self, batch_size: int) -> Any:
        return super().initial_state(batch_size), None

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        h = self.module(x, state[0])
        return h, (h, None)


class ByItsOwnDict(Plain):
    """Plain, but it reads its parameters through a dict that a trace cannot see into."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.own = dict(self.named_parameters())

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        p = self.own
        h = torch.tanh(
            nn.functional.linear(x, p["i.weight"], p["i.bias"]) + nn.functional.linear(h, p["h.weight"], p["h.bias"])
        )
        return h, h


class ByItsOwnDictAnew(ByItsOwnDict):
    """The same, with the dict made anew at each step."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        self.own = dict(self.named_parameters())
        return super().forward(x, h)


def clock(every: int) -> type[Plain]:
    """Make a class of cells that skip a step after so many; two of them differ in a closure alone."""

    class Clock(Plain):
        def initial_state(self, batch_size: int) -> Tensor:
            self.t = 0
            return torch.zeros(batch_size, self.hidden_size)

        def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            self.t += 1
            if self.t == every:
                return h, h
            return super().forward(x, h)

    return Clock


class ManyExamples(Plain):
    """Plain, unless more than four examples are in a batch."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        y, h = super().forward(x, h)
        return (y, h) if len(x) <= 4 else (y * 0.5, h * 0.5)


class HalfGradient(Plain):
    """Plain, but a tensor hook halves the gradient of the state."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.i(x) + self.h(h))
        if h.requires_grad:
            h.register_hook(lambda g: g * 0.5)
        return h, h


ALIKE = (Plain, NoneBeside, InAList, ByItsOwnDict, ByItsOwnDictAnew, clock(7), clock(60), ManyExamples, HalfGradient)

# ---- TorchScript in the middle of a cell ----


@torch.jit.script
def gate(x: Tensor, h: Tensor) -> Tensor:
    """A function of TorchScript."""
    return torch.sigmoid(x) * h


class Gated(Plain):
    """Calls it from Python."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.i(x) + gate(self.i(x), self.h(h)))
        return h, h


class _Gate(nn.Module):
    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.h = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.sigmoid(x) * self.h(h)


class PartlyScripted(Plain):
    """A part of it is a module of TorchScript."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.gate = torch.jit.script(_Gate(hidden_size))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.i(x) + self.gate(self.i(x), h))
        return h, h


SCRIPTED = (scripted, Gated, PartlyScripted)
