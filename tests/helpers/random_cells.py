"""Random small cells, composed of every operation that lanes has in its table.

A cell is a recipe: instructions that make a value each from values that were made before. Values have kinds, so that
every recipe runs; an instruction says which kinds it takes and which it makes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

from cellbench.cell import Cell

N = 6
"""Units."""

SHAPES = {"v": (N,), "m": (2, 3), "s": (1,), "p": (N,), "q": (2, 3), "w": (N, N), "t": (N,)}
"""What a value of each kind is: v, m, s and the truth values t differ between examples (the batch comes before the
shape); p, q and w are parameters or made of parameters."""


def _number(t: Tensor) -> Tensor:
    """Make numbers of truth values, in the precision that is usual: autograd is asked in double precision."""
    return t.to(torch.get_default_dtype())


def bounded(x: Tensor) -> Tensor:
    """Keep a number from growing, so that float32 stays near float64; smooth, and never flat."""
    return x / (1 + 0.1 * (x * x)).sqrt()


Made = Callable[..., Tensor]
INDEX = torch.tensor([3, 1, 1, 0, 5, 4])

# name -> the kinds that it takes, the kind that it makes, and how
INSTRUCTIONS: dict[str, tuple[str, str, Made]] = {}


def _each(names: str, kind: str, made: Callable[[Any], Made]) -> None:
    for name in names.split():
        INSTRUCTIONS[f"{name} {kind}"] = (kind, kind, made(getattr(torch, name)))


def _plain(f: Any) -> Made:
    return lambda a: f(a)


def _tamed(f: Any) -> Made:
    return lambda a: bounded(f(bounded(a)))


def _positive(f: Any) -> Made:
    return lambda a: f(a * a + 1.1)


def _within(f: Any) -> Made:
    return lambda a: f(0.9 * torch.tanh(a))


for _kind in "vmpqs":
    _each("sigmoid tanh sin cos atan erf erfc relu neg abs asinh", _kind, _plain)
    _each("exp exp2 expm1 sinh cosh", _kind, _tamed)
    _each("log log2 log10 log1p sqrt rsqrt reciprocal acosh", _kind, _positive)
    _each("asin acos atanh tan", _kind, _within)
for _kind in "vp":
    _each("floor ceil trunc round sign", _kind, lambda f: lambda a: f(3 * a + 0.123) * a)

for _a, _b, _to in ("vvv", "vpv", "pvv", "ppp", "mmm", "mqm", "qqq", "sss", "vsv", "svv", "pps"[:2] + "p"):
    _key = f"{_a}{_b}"
    INSTRUCTIONS |= {
        f"add {_key}": (_key, _to, lambda a, b: a + b),
        f"sub {_key}": (_key, _to, lambda a, b: torch.sub(a, b, alpha=2)),
        f"mul {_key}": (_key, _to, lambda a, b: bounded(a) * bounded(b)),
        f"div {_key}": (_key, _to, lambda a, b: a / (b * b + 1)),
        f"maximum {_key}": (_key, _to, torch.maximum),
        f"minimum {_key}": (_key, _to, torch.minimum),
        f"pow {_key}": (_key, _to, lambda a, b: (bounded(a) ** 2 + 0.5) ** bounded(b)),
        f"atan2 {_key}": (_key, _to, lambda a, b: torch.atan2(a, b * b + 0.5)),
        f"lerp {_key}": (_key, _to, lambda a, b: torch.sigmoid(a) * b + (1 - torch.sigmoid(a)) * a),
    }
INSTRUCTIONS |= {
    # truth values
    "gt": ("vv", "t", torch.gt),
    "le": ("vp", "t", torch.le),
    "lt": ("vs", "t", torch.lt),
    "ge": ("v", "t", lambda a: a >= 0.1),
    "eq": ("v", "t", lambda a: a == 0),
    "ne": ("v", "t", lambda a: a != 0),
    "isnan": ("v", "t", torch.isnan),
    "not": ("t", "t", lambda t: ~t),
    "logical_not": ("t", "t", torch.logical_not),
    "and": ("tt", "t", lambda a, b: a & b),
    "or": ("tt", "t", lambda a, b: torch.logical_or(a, b)),
    "where": ("tvv", "v", torch.where),
    "where shared": ("tpv", "v", torch.where),
    "where number": ("tv", "v", lambda t, a: torch.where(t, a, 0.5)),
    "float": ("t", "v", _number),
    "count": ("t", "s", lambda t: _number(t).mean(-1, keepdim=True)),
    # numbers
    "affine": ("v", "v", lambda a: 1.5 - 0.5 * a),
    "clamp": ("v", "v", lambda a: a.clamp(-0.7, 0.8)),
    "clamp below": ("p", "p", lambda a: a.clamp(min=-0.3)),
    "square": ("v", "v", lambda a: bounded(a) ** 2),
    "cube": ("v", "v", lambda a: bounded(a) ** 3),
    "power": ("v", "v", lambda a: (a * a + 1) ** -1.7),
    "fmod": ("v", "v", lambda a: torch.fmod(a * 0.37 + 11, 25.0)),
    "softplus": ("v", "v", F.softplus),
    "gelu": ("v", "v", F.gelu),
    "elu": ("m", "m", F.elu),
    "hardtanh": ("v", "v", F.hardtanh),
    # views and moves
    "fold": ("v", "m", lambda a: a.view(-1, 2, 3)),
    "fold across": ("v", "m", lambda a: a.view(-1, 3, 2).transpose(1, 2)),
    "flat": ("m", "v", lambda a: a.reshape(-1, N)),
    "flat across": ("m", "v", lambda a: a.transpose(1, 2).reshape(-1, N)),
    "permute": ("m", "v", lambda a: a.permute(0, 2, 1).flatten(1)),
    "fold p": ("p", "q", lambda a: a.view(2, 3)),
    "flat q": ("q", "p", lambda a: a.t().reshape(N)),
    "diagonal": ("w", "p", torch.diagonal),
    "row": ("w", "p", lambda w: w[1]),
    "column": ("w", "p", lambda w: w[:, 2]),
    "corner": ("w", "q", lambda w: w[1:3, ::2]),
    "turn": ("w", "w", lambda w: w.t()),
    "expand": ("s", "v", lambda a: a.expand(-1, N)),
    "spread": ("p", "w", lambda a: a.expand(N, N)),
    "slice": ("v", "v", lambda a: torch.cat([a[:, 1:5:2], a[:, -4:]], 1)),
    "select": ("v", "s", lambda a: a[:, 2].unsqueeze(1)),
    "narrow": ("m", "s", lambda a: a[:, 1, 2:]),
    "split": ("v", "v", lambda a: torch.cat(a.split([1, 2, 3], 1)[::-1], 1)),
    "chunk": ("v", "v", lambda a: torch.cat([a.chunk(2, 1)[1], a.chunk(2, 1)[1]], 1)),
    "unbind": ("v", "v", lambda a: torch.stack(a.unbind(1)[::-1], 1)),
    "flip": ("v", "v", lambda a: a.flip(1)),
    "cat": ("vv", "v", lambda a, b: torch.cat([a, b], 1)[:, 3:9]),
    "cat ms": ("ms", "v", lambda a, b: torch.cat([a[:, 0], b, a[:, 1, :2]], 1)),
    "stack": ("vv", "m", lambda a, b: torch.stack([a[:, :3], b[:, 3:]], 1)),
    "cat shared": ("pp", "p", lambda a, b: torch.cat([a[:2], b[:4]])),
    "pad": ("v", "v", lambda a: F.pad(a[:, :3], (1, 2), value=0.5)),
    "slice_scatter": ("vs", "v", lambda a, b: torch.slice_scatter(a, b.expand(-1, 2), 1, 1, 3)),
    "index": ("v", "v", lambda a: a[:, INDEX]),
    "index p": ("p", "p", lambda a: a[INDEX]),
    "index_select": ("v", "v", lambda a: torch.index_select(a, 1, INDEX)),
    "gather": ("v", "v", lambda a: torch.gather(a, 1, INDEX[None].expand(a.shape[0], N))),
    "roll": ("v", "v", lambda a: torch.roll(a, 2, 1)),
    "repeat": ("v", "v", lambda a: a.repeat(1, 2)[:, 2:8]),
    "assign": ("vs", "v", lambda a, b: _assigned(a, b)),
    "detach": ("v", "v", lambda a: a.detach()),
    "clone": ("v", "v", lambda a: a.clone()),
    # reductions
    "sum": ("v", "s", lambda a: a.sum(1, keepdim=True)),
    "sum of m": ("m", "s", lambda a: a.sum((1, 2)).unsqueeze(1)),
    "sum p": ("p", "p", lambda a: a.sum().expand(N)),
    "mean": ("m", "v", lambda a: a.mean(1).repeat(1, 2)),
    "mean p": ("q", "p", lambda a: a.mean(0).repeat(2)),
    "amax": ("v", "s", lambda a: a.amax(1, keepdim=True)),
    "amin": ("m", "s", lambda a: a.amin((1, 2)).unsqueeze(1)),
    "cumsum": ("v", "v", lambda a: a.cumsum(1)),
    "cumsum p": ("p", "p", lambda a: a.cumsum(0)),
    "var": ("v", "s", lambda a: a.var(1, keepdim=True)),
    "softmax": ("v", "v", lambda a: torch.softmax(a, 1)),
    "log_softmax": ("m", "m", lambda a: torch.log_softmax(a, 2)),
    "layer_norm": ("vp", "v", lambda a, p: F.layer_norm(a, (N,), p)),
    "norm": ("v", "s", lambda a: (a * a + 0.1).sum(1, keepdim=True).sqrt()),
    "softmax p": ("p", "p", lambda a: torch.softmax(a, 0)),
    # products
    "linear": ("vwp", "v", lambda a, w, p: F.linear(a, w, p)),
    "product": ("vw", "v", lambda a, w: a @ w),
    "two products": ("vwvwv", "v", lambda a, v, b, w, c: a @ v + F.linear(b, w) + c),
    "product of parameters": ("ww", "w", lambda a, b: a @ b * 0.3),
    "vector and matrix": ("pw", "p", lambda a, w: a @ w),
    "add w": ("ww", "w", lambda a, b: a - b.t()),
    "outer": ("pp", "w", lambda a, b: torch.outer(torch.tanh(a), torch.tanh(b))),
    "bmm": ("vv", "v", lambda a, b: torch.bmm(torch.tanh(a).unsqueeze(2), b.unsqueeze(1)).sum(2)),
    "einsum": ("vv", "s", lambda a, b: torch.einsum("bi,bi->b", torch.tanh(a), b)[:, None]),
    "matmul q": ("mq", "v", lambda a, q: (a @ q.t()).flatten(1).repeat(1, 2)[:, :N]),
    "baddbmm": ("mm", "m", lambda a, b: torch.baddbmm(a, torch.tanh(b @ b.transpose(1, 2)), a)),
    "heads": ("mq", "m", lambda a, q: torch.einsum("bhi,hij->bhj", a, q.unsqueeze(2) * torch.ones(3))),
    "left": ("wv", "v", lambda w, a: (w @ a.unsqueeze(2)).squeeze(2)),
}  # fmt: skip


def _assigned(a: Tensor, b: Tensor) -> Tensor:
    a = a.clone()
    a[:, ::3] = b
    return a


@dataclass(frozen=True)
class Recipe:
    """A cell: instructions, each a name and the places of its arguments among all values so far; then what leaves it.

    Attributes:
        instructions: (name, places).
        state: the places of the next state's leaves, values of kind v.
        output: the place of the output, a value of kind v.
    """

    instructions: tuple[tuple[str, tuple[int, ...]], ...]
    state: tuple[int, ...]
    output: int


def first_kinds(leaves: int) -> list[str]:
    """List the kinds of the values that every recipe begins with: sums of x and the states, states, tensors."""
    return ["v", "v", *"v" * leaves, "p", "p", "p", "q", "w", "w", "w"]


@st.composite
def recipes(draw: st.DrawFn, longest: int = 12) -> Recipe:
    """Draw a recipe of a few instructions."""
    leaves = draw(st.integers(1, 3))
    kinds = first_kinds(leaves)
    instructions = []

    def of(kind: str) -> int:
        return draw(st.sampled_from([place for place, one in enumerate(kinds) if one == kind]))

    for _ in range(draw(st.integers(1, longest))):
        names = [name for name, (takes, _, _) in INSTRUCTIONS.items() if set(takes) <= set(kinds)]
        name = draw(st.sampled_from(names))
        takes, makes, _ = INSTRUCTIONS[name]
        instructions.append((name, tuple(of(kind) for kind in takes)))
        kinds.append(makes)
    return Recipe(tuple(instructions), tuple(of("v") for _ in range(leaves)), of("v"))


class Composed(Cell):
    """The cell of a recipe."""

    def __init__(self, input_size: int, hidden_size: int, recipe: Recipe) -> None:
        super().__init__(input_size, hidden_size)
        self.recipe = recipe
        self.leaves = len(recipe.state)
        self.i = nn.Linear(input_size, N)
        self.h = nn.Linear(N, N)
        self.p = nn.Parameter(torch.randn(N) * 0.5)
        self.q = nn.Parameter(torch.randn(2, 3) * 0.5)
        self.frozen = nn.Parameter(torch.randn(N) * 0.5, requires_grad=False)
        self.register_buffer("mask", torch.randn(N, N) * 0.3)

    def initial_state(self, batch_size: int) -> Any:
        return tuple(torch.zeros(batch_size, N) for _ in range(self.leaves))

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        both = self.i(x) + self.h(state[0])
        of_x = self.i(x)
        values = [both, of_x, *state, self.p, self.i.bias, self.frozen, self.q, self.h.weight, self.mask]
        values.append(self.h.weight * self.mask)
        for name, places in self.recipe.instructions:
            _, makes, function = INSTRUCTIONS[name]
            made = function(*(values[place] for place in places))
            if makes in "vm":
                assert made.shape == (x.shape[0], *SHAPES[makes]), name
            values.append(made)
        # the last value takes part in any case
        last = _number(made).mean() if makes in "pqw" else _number(made).flatten(1).mean(1, keepdim=True)
        return values[self.recipe.output] + 0.3 * bounded(last), tuple(
            bounded(values[place]) for place in self.recipe.state
        )


class SideBySide(Cell):
    """Several cells in one, so that they are compiled together; the output is the sum of theirs."""

    def __init__(self, input_size: int, hidden_size: int, some: Sequence[Recipe]) -> None:
        super().__init__(input_size, hidden_size)
        self.cells = nn.ModuleList(Composed(input_size, hidden_size, recipe) for recipe in some)

    def initial_state(self, batch_size: int) -> Any:
        return [cell.initial_state(batch_size) for cell in self.cells]  # type: ignore[operator]

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        outputs, after = zip(*(cell(x, own) for cell, own in zip(self.cells, state, strict=True)), strict=True)
        return sum(map(bounded, outputs)), list(after)


def factory(some: Sequence[Recipe]) -> Callable[[int, int], Cell]:
    """Make the factory of the cells of some recipes."""

    def composed(input_size: int, hidden_size: int) -> Cell:
        return SideBySide(input_size, hidden_size, some)

    return composed
