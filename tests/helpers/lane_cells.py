"""Cells unlike an LSTM, for the tests of lanes: odd ones that it carries, and ones that it has to refuse."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cellbench.cell import Cell


class Base(Cell):
    """Two linear layers; a subclass adds what makes it odd."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.i = nn.Linear(input_size, hidden_size)
        self.h = nn.Linear(hidden_size, hidden_size)
        self.n = hidden_size
        self.more()

    def more(self) -> None:
        """What the odd cell adds."""

    def sum(self, x: Tensor, h: Tensor) -> Tensor:
        return self.i(x) + self.h(h)


# ------------------------------------------------------------------------------------------------ lanes carries these


class LayerNormed(Base):
    def more(self) -> None:
        self.norm = nn.LayerNorm(self.n)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        h = torch.tanh(self.norm(self.sum(x, h)))
        return h, h


class RootMeanSquared(Base):
    def more(self) -> None:
        self.g = nn.Parameter(torch.ones(self.n))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        a = self.sum(x, h)
        h = torch.tanh(a * torch.rsqrt(a.pow(2).mean(-1, keepdim=True) + 1e-6) * self.g)
        return h, h


class InPlace(Base):
    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        a = self.i(x)
        a += self.h(h)
        a.tanh_()
        return a, a


class RandomMask(Base):
    """A buffer that differs between replicas."""

    def more(self) -> None:
        self.register_buffer("mask", (torch.rand(self.n, self.n) < 0.5).float())

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        h = torch.tanh(self.i(x) + F.linear(h, self.h.weight * self.mask))
        return h, h


class MaskAttribute(Base):
    """The same as a plain attribute."""

    def more(self) -> None:
        self.mask = (torch.rand(self.n, self.n) < 0.5).float()

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        h = torch.tanh(self.i(x) + F.linear(h, self.h.weight * self.mask))
        return h, h


class Reservoir(Base):
    """A parameter that is not trained."""

    def more(self) -> None:
        self.h.weight.requires_grad_(False)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        h = torch.tanh(self.sum(x, h))
        return h, h


class Leaky(Base):
    """A transform of a parameter alone, which runs once a training step."""

    def more(self) -> None:
        self.tau = nn.Parameter(torch.zeros(self.n))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        a = torch.exp(-F.softplus(self.tau))
        h = a * h + (1 - a) * torch.tanh(self.sum(x, h))
        return h, h


class Orthogonalish(Base):
    """Products and views of parameters, before they meet the state."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        a = self.h.weight - self.h.weight.T
        h = torch.tanh(self.i(x) + h @ (a @ a.T * 0.1))
        return h, h


class Joined(Base):
    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        weight = torch.cat([self.i.weight, self.h.weight], 1)
        h = torch.tanh(F.linear(torch.cat([x, h], 1), weight, self.i.bias))
        return h, h


class FastWeights(Base):
    """A matrix in the state; products of two things that differ between examples."""

    def initial_state(self, batch_size: int) -> Any:
        return torch.zeros(batch_size, self.n), torch.zeros(batch_size, self.n, self.n)

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        h, a = state
        k = torch.tanh(self.sum(x, h))
        a = 0.9 * a + 0.1 * torch.einsum("bi,bj->bij", k, h)
        h = torch.tanh(k + torch.bmm(a, h.unsqueeze(-1)).squeeze(-1))
        return h, (h, a)


class Attention(Base):
    """A dictionary as the state, and a softmax over four slots."""

    def initial_state(self, batch_size: int) -> Any:
        return {"h": torch.zeros(batch_size, self.n), "m": torch.zeros(batch_size, 4, self.n)}

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        h, m = state["h"], state["m"]
        w = torch.softmax((m * h.unsqueeze(1)).sum(-1), -1)
        h = torch.tanh(self.sum(x, h) + (w.unsqueeze(-1) * m).sum(1))
        return h, {"h": h, "m": torch.cat([m[:, 1:], h.unsqueeze(1)], 1)}


class Rotation(Base):
    def more(self) -> None:
        self.angle = nn.Parameter(torch.randn(self.n // 2))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        a, b, c, d = h[:, 0::2], h[:, 1::2], torch.cos(self.angle), torch.sin(self.angle)
        h = F.relu(torch.stack([a * c - b * d, a * d + b * c], -1).flatten(1) + self.i(x))
        return h, h


class Activations(Base):
    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        a = F.gelu(self.i(x)) + F.silu(self.h(h)) + F.elu(h) - F.leaky_relu(h, 0.1) + F.softsign(h) * 0.1
        a = a + F.hardtanh(h) * 0.1 + F.mish(h) * 0.1 + F.hardsigmoid(h) + F.logsigmoid(h) * 0.1 + F.softplus(h) * 0.1
        h = F.layer_norm(a, (self.n,))
        return h, h


class TwoLayers(Base):
    """A list of tuples as the state."""

    def more(self) -> None:
        self.a, self.b = nn.LSTMCell(self.input_size, self.n), nn.LSTMCell(self.n, self.n)

    def initial_state(self, batch_size: int) -> Any:
        return [tuple(torch.zeros(batch_size, self.n) for _ in range(2)) for _ in range(2)]

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        first = self.a(x, state[0])
        second = self.b(first[0], state[1])
        return second[0], [first, second]


class OwnInitialState(Base):
    """The initial state is computed from a parameter."""

    def more(self) -> None:
        self.start = nn.Parameter(torch.randn(self.n) * 0.1)

    def initial_state(self, batch_size: int) -> Any:
        return torch.tanh(self.start * 2).expand(batch_size, self.n)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        h = torch.tanh(self.sum(x, h))
        return h, h


class StraightThrough(Base):
    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        a = torch.tanh(self.sum(x, h))
        h = a + (torch.sign(a) - a).detach()
        return h, h


class Heads(Base):
    """A stack of small matrices."""

    def more(self) -> None:
        self.q = nn.Parameter(torch.randn(2, self.n // 2, self.n // 2) * 0.3)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        k = torch.einsum("bhi,hij->bhj", h.view(-1, 2, self.n // 2), self.q).reshape(h.shape[0], -1)
        h = torch.tanh(self.i(x) + k)
        return h, h


class Cumax(Base):
    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        a = self.sum(x, h)
        h = torch.cumsum(torch.softmax(a, -1), -1) * torch.tanh(a)
        return h, h


class Shuffled(Base):
    """Elements moved about by constant indices."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        h = torch.tanh(self.i(x) + torch.roll(self.h(h), 1, -1)[:, torch.arange(self.n).flip(0)])
        return h, h


class WeightNormed(Base):
    def more(self) -> None:
        self.h = nn.utils.parametrizations.weight_norm(self.h)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        h = torch.tanh(self.sum(x, h))
        return h, h


class Pieces(Base):
    """Comparisons, clamps, standard deviations."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        a = self.sum(x, h)
        b = (a - a.mean(-1, keepdim=True)) / (a.std(-1, keepdim=True) + 0.1)
        h = torch.where(a > 0, b.clamp(max=1.0), 0.1 * a).clamp(-0.9, 0.9)
        return h, h


class NewStateAdded(Base):
    """A new state is an addend of a matrix product."""

    def initial_state(self, batch_size: int) -> Any:
        return torch.zeros(batch_size, self.n), torch.zeros(batch_size, self.n)

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        c = 0.9 * state[1] + self.i(x)
        h = torch.tanh(c + self.h(state[0]))
        return h, (h, c)


CARRIED = (
    LayerNormed, RootMeanSquared, InPlace, RandomMask, MaskAttribute, Reservoir, Leaky, Orthogonalish, Joined,
    FastWeights, Attention, Rotation, Activations, TwoLayers, OwnInitialState, StraightThrough, Heads, Cumax,
    Shuffled, WeightNormed, Pieces, NewStateAdded,
)  # fmt: skip


# ------------------------------------------------------------------------------------------------- lanes refuses these


class BatchNormed(Base):
    def more(self) -> None:
        self.norm = nn.BatchNorm1d(self.n, track_running_stats=False)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        h = torch.tanh(self.norm(self.sum(x, h)))
        return h, h


class BatchMean(Base):
    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        a = self.sum(x, h)
        h = torch.tanh(a - 0.5 * a.mean(0, keepdim=True))
        return h, h


class Squeezed(Base):
    """Behaves otherwise at batch 1."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        a = self.i(x).squeeze()
        h = torch.tanh((a if a.dim() == 2 else a[None] * 2) + self.h(h))
        return h, h


class Dropped(Base):
    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        h = torch.tanh(self.i(x) + self.h(F.dropout(h, 0.2)))
        return h, h


class RandomStart(Base):
    def initial_state(self, batch_size: int) -> Any:
        return torch.randn(batch_size, self.n)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        h = torch.tanh(self.sum(x, h))
        return h, h


class Branching(Base):
    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        h = torch.tanh(self.sum(x, h))
        return (h, h) if h.sum() > 0 else (h, h * 0.5)


class WeightBranching(Base):
    """Control flow that depends on the weights: replicas would be different programs."""

    def more(self) -> None:
        self.gain = float(torch.rand(()))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        h = torch.tanh(self.i(x) + self.gain * self.h(h))
        return h, h


class Counting(Base):
    """A buffer that changes."""

    def more(self) -> None:
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        self.steps += 1
        h = torch.tanh(self.i(x) + self.h(h) / (1 + self.steps))
        return h, h


class Remembering(Base):
    """State kept in an attribute, unseen by the contract."""

    def more(self) -> None:
        self.before: Any = None

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        a = self.sum(x, h)
        if self.before is not None and self.before.shape == a.shape:
            a = a + 0.1 * self.before.detach()
        h = self.before = torch.tanh(a)
        return h, h


class Growing(Base):
    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        new = torch.tanh(self.sum(x, h[:, : self.n]))
        return new, torch.cat([h, new], 1)


class Doubled(Base):
    def more(self) -> None:
        self.double()

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        h = torch.tanh(self.sum(x.double(), h.double())).float()
        return h, h


class DoubledInside(Base):
    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        h = torch.tanh(self.sum(x, h).double()).float()
        return h, h


class WholeNumbers(Base):
    def more(self) -> None:
        self.register_buffer("order", torch.randperm(self.n))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        h = torch.tanh(self.i(x) + self.h(h)[:, self.order])
        return h, h


class BatchSized(Base):
    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        h = torch.tanh(self.i(x) + self.h(h) / x.shape[0])
        return h, h


class LazyLayer(Base):
    def more(self) -> None:
        self.lazy = nn.LazyLinear(self.n)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        h = torch.tanh(self.lazy(x) + self.h(h))
        return h, h


class HookedGradient(Base):
    """Clips the gradient of the state by a hook."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        h = torch.tanh(self.sum(x, h))
        if h.requires_grad:
            h.register_hook(lambda gradient: gradient.clamp(-1e-3, 1e-3))
        return h, h


class Untabled(Base):
    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        h = torch.tanh(torch.digamma(self.sum(x, h) ** 2 + 1))
        return h, h


class Listed(Base):
    """A mask of its own in each replica, in a list."""

    def more(self) -> None:
        self.mask = [(torch.rand(self.n) < 0.5).float()]

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        h = torch.tanh(self.i(x) + self.h(h) * self.mask[0])
        return h, h


class Past(Base):
    """Keeps the last state in a list that `initial_state` empties."""

    def initial_state(self, batch_size: int) -> Any:
        self.past: list[Tensor] = []
        return torch.zeros(batch_size, self.n)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        self.past.append(h)
        h = torch.tanh(self.sum(x, h) + 0.1 * self.past[max(0, len(self.past) - 2)])
        return h, h


HERE = "lane_cells.py:"
REFUSED_EARLY: dict[type[Base], str] = {
    BatchNormed: "Expected more than 1 value per channel",
    Dropped: f"random numbers inside the cell, from torch's generator ({HERE}h = torch.tanh(self.i(x) + self.h(F.drop",
    RandomStart: f"random numbers inside the cell, from torch's generator ({HERE}return torch.randn(",
    Branching: f"depend on its weights or on the data ({HERE}return (h, h) if h.sum() > 0 else",
    WeightBranching: "cell.gain differs between seeds and is no tensor",
    Counting: "hidden memory: cell.steps is remembered from one sequence to the next",
    Remembering: "hidden memory: cell.before is remembered from one sequence to the next",
    Growing: "the state changes shape",
    Doubled: "cell.i.weight is float64",
    DoubledInside: f"_to_copy gives float64, not float32 ({HERE}h = torch.tanh(self.sum(x, h).double()).float()",
    LazyLayer: "cell.lazy.weight is made when the cell first runs",
    HookedGradient: f"a hook changes a gradient inside the cell: use a torch.autograd.Function instead ({HERE}h.reg",
    Untabled: f"the operation digamma is not in the table of lanes ({HERE}h = torch.tanh(torch.digamma(",
    Listed: "cell.mask[0] differs between seeds and is no tensor of a module: make it a buffer",
    Past: f"hidden memory: a step reads what an earlier step made, beside the state ({HERE}h = torch.tanh(self.sum(",
    WholeNumbers: "cell.order is int64 and differs between seeds",
}
"""Refused before anything is compiled, and what the reason has to name."""
REFUSED_BY_PROOF = (BatchMean, Squeezed, BatchSized)
"""Compiled, and found wrong by the proof."""
