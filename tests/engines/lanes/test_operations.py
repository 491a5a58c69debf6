"""Every entry of the table of operations: met by a case here, and its gradient proved against float64."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cellbench.engines import OPTIMIZERS, Refused
from cellbench.engines.lanes import prepare
from cellbench.engines.lanes.cache import FOLDER_VARIABLE
from cellbench.engines.lanes.code.operations import OPERATIONS, Pointwise
from cellbench.engines.lanes.compiled import Programs
from cellbench.engines.lanes.graph.graphs import operation
from cellbench.engines.lanes.graph.trace import trace
from tests.helpers.lane_cells import Base
from tests.helpers.lanes import blueprint

Case = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of a and b (batch, 6), which differ between examples, and p (6,), a parameter."""


def of_one(names: str, case: Callable[..., Tensor]) -> dict[str, Case]:
    """Cases for functions of torch with one argument: `case` gets the function too."""

    def made(function: Any) -> Case:
        return lambda a, b, p: case(function, a, b, p)

    return {name: made(getattr(torch, name)) for name in names.split()}


CASES: dict[str, Case] = {
    **of_one("sigmoid tanh exp exp2 expm1 sin cos tan atan sinh cosh asinh erf erfc", lambda f, a, b, p: f(a) + f(p)),
    **of_one("sign neg abs relu", lambda f, a, b, p: f(a) * b + f(p)),
    **of_one("log log2 log10 log1p sqrt rsqrt reciprocal acosh", lambda f, a, b, p: f(a * a + 1.1)),
    **of_one("asin acos atanh", lambda f, a, b, p: f(torch.tanh(a) * 0.9)),
    **of_one("floor ceil trunc round", lambda f, a, b, p: f(a * 3) * b),
    # of two
    "add": lambda a, b, p: torch.add(a, b, alpha=2) + p + 1.5,
    "sub": lambda a, b, p: torch.sub(a, b, alpha=2) - p - 1.5,
    "mul": lambda a, b, p: a * b * p * 0.5,
    "div": lambda a, b, p: a / (b * b + 1) / 2 + torch.div(a * 3, 2, rounding_mode="floor") * b,
    "maximum": lambda a, b, p: torch.maximum(a, b),
    "minimum": lambda a, b, p: torch.minimum(a, p),
    "clamp": lambda a, b, p: a.clamp(-0.2, 0.3) + b.clamp(min=0.1) + a.clamp(max=0.1),
    "pow": lambda a, b, p: a**2 + a**3 + (a * a + 1) ** -1.7 + (a * a + 1) ** b + (b * b + 1) ** -2 + 2.0**a,
    "atan2": lambda a, b, p: torch.atan2(a, b + 2),
    "fmod": lambda a, b, p: torch.fmod(a * 5, 2.0),
    # truth values
    "where": lambda a, b, p: torch.where(a > b, a, p),
    "comparisons": lambda a, b, p: (
        (a > 0) * b + (a < 0.1) * a + (a >= b) * p + (a <= b) * a + (a == 0) * b + (a != 0) * 0.5 * a
    ),
    "logical": lambda a, b, p: (
        ((a > 0) & (b > 0)) * a + ((a > 0) | (b > 0)) * b + (~(a > 0)) * b
        + torch.logical_and(a > 0.1, b > 0) * a + torch.logical_or(a > 0.1, b > 0) * b + torch.logical_not(a > 0.2) * b
    ),
    "isnan": lambda a, b, p: torch.where(torch.isnan(a), b, a),
    "to": lambda a, b, p: (a > 0).float() * b + (a > 0).to(torch.float32).mean(-1, keepdim=True),
    # views
    "view": lambda a, b, p: a.view(-1, 2, 3).sum(1) + p.view(2, 3).sum(0) + a.unsqueeze(1).squeeze(1)[:, :3],
    "copies": lambda a, b, p: a.view(-1, 2, 3).transpose(1, 2).reshape(-1, 6) * b + a.clone() + b.detach() * a,
    "permute": lambda a, b, p: (a.view(-1, 2, 3).permute(0, 2, 1) * p.view(2, 3).t()).sum(-1),
    "transpose": lambda a, b, p: (a.view(-1, 3, 2) * p.view(2, 3).transpose(0, 1)).sum(-1),
    "expand": lambda a, b, p: a[:, :1].expand(-1, 6) * b + p[:1].expand(6),
    "slice": lambda a, b, p: a[:, 1:5:2] * b[:, -2:] + p[::3],
    "select": lambda a, b, p: a[:, 2:3] * b.select(1, -1).unsqueeze(1) + p.select(0, 1),
    "split": lambda a, b, p: (
        torch.cat([s * (i + 1) for i, s in enumerate(a.split([1, 2, 3], 1))], 1) + p.split(3)[0][0]
    ),
    "chunk": lambda a, b, p: a.chunk(2, 1)[0] * b.chunk(2, 1)[1] + p.chunk(2)[0],
    "unbind": lambda a, b, p: torch.stack([s * (i + 1) for i, s in enumerate(a.unbind(1))], 1) + p.unbind(0)[2],
    "flip": lambda a, b, p: a.flip(1) * b,
    # kernels
    "cat": lambda a, b, p: torch.cat([a * 2, b, a], 1) * torch.cat([p, p, p]),
    "sum": lambda a, b, p: a.sum(1, keepdim=True) * b + (a * b).view(-1, 2, 3).sum((1, 2)).unsqueeze(1) + p.sum(),
    "mean": lambda a, b, p: (a * b).mean(1, keepdim=True) + (a.view(-1, 2, 3) * 2).mean(1) + p.mean(),
    "amax": lambda a, b, p: torch.amax(a, 1, keepdim=True) * b + torch.softmax(a * p, 1),
    "amin": lambda a, b, p: torch.amin(a, 1, keepdim=True) * b,
    "var": lambda a, b, p: a.var(1, keepdim=True) + b.std(1, keepdim=True, correction=0) + p.var(),
    "cumsum": lambda a, b, p: a.cumsum(1) * b,
    "pad": lambda a, b, p: F.pad(a, (1, 2), value=0.5)[:, :6] * b,
    "slice_scatter": lambda a, b, p: torch.slice_scatter(a * 1.5, b[:, :2], 1, 1, 3) * b,
    "index": lambda a, b, p: a[:, torch.tensor([3, 1, 1])] * b[:, :3] + p[torch.tensor([0, 5, 5])],
    "index_select": lambda a, b, p: torch.index_select(a * 2, 1, torch.tensor([4, 0])) * b[:, :2],
    "gather": lambda a, b, p: torch.gather(a * 2, 1, torch.tensor([[4, 0]]).expand(a.shape[0], 2)) * b[:, :2],
    "roll": lambda a, b, p: torch.roll(a, 2, 1) * b,
    "repeat": lambda a, b, p: (a * 2).repeat(1, 2) * torch.cat([b, b], 1),
    # matrix products
    "mm": lambda a, b, p: (a @ torch.outer(p, p)) * 0.3 + F.linear(b, torch.outer(p, p + 1), p),
    "bmm": lambda a, b, p: torch.bmm(a.unsqueeze(2), b.unsqueeze(1)).sum(2) + torch.einsum("bi,bi->b", a, b)[:, None],
    "baddbmm": lambda a, b, p: torch.baddbmm(a.view(-1, 2, 3), b.view(-1, 2, 3), torch.diag_embed(a[:, :3])).sum(2),
    "inverse": lambda a, b, p: a @ torch.linalg.inv(torch.outer(p, p) * 0.1 + torch.diag(p * 0 + 2)),
    "diagonal": lambda a, b, p: torch.diagonal_scatter(a[:, :, None] * b[:, None], a * 0.5, 0, 1, 2).sum(2),
    "stacked": lambda a, b, p: torch.einsum("bhi,hij->bhj", a.view(-1, 2, 3), p.view(2, 3, 1) * torch.ones(3)).sum(2),
}  # fmt: skip


class Cases(Base):
    """A cell whose next state every one of some cases takes part in."""

    names: tuple[str, ...] = ()

    def more(self) -> None:
        self.p = nn.Parameter(torch.randn(self.n) * 0.5)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        a, b = self.sum(x, h), self.i(x) * 0.7 + h
        total = sum(CASES[name](a, b, self.p).flatten(1).mean(1, keepdim=True) for name in self.names)
        h = torch.tanh(a + total / len(self.names))
        return h, h


class OfMatrices(Cases):
    """Apart from the others: with more in their sum, some case comes near a pole, where float32 is far off."""

    names = ("inverse", "diagonal")


class AllCases(Cases):
    names = tuple(name for name in CASES if name not in OfMatrices.names)


def with_case(name: str) -> type[Cases]:
    return type(f"Case_{name}", (Cases,), {"names": (name,)})


@pytest.mark.slow
def test_every_operation_of_the_table_is_met_and_proved() -> None:
    met: set[str] = set()
    for cell in (AllCases, OfMatrices):
        plan = blueprint(cell)
        programs = Programs(plan)
        for batch_size in (1, 4, 16, 64):
            proved = programs.of(programs.training(batch_size)).entry.proved
            assert proved is not None
            assert proved < 1e-4
        traced = trace(plan.build("test"), 2)
        graphs = (traced.prologue.graph, traced.step.graph)
        met |= {operation(node) for graph in graphs for node in graph.nodes}
        met |= {operation(view) for use in traced.uses for view in use.views}
    assert not set(OPERATIONS) - met, "an operation without a case"


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_case_alone(name: str) -> None:
    """To find the culprit when the test above fails."""
    prepare(blueprint(with_case(name)), optimizer=OPTIMIZERS["adam"], clip_norm=1.0)


def test_one_entry_is_all_that_a_new_operation_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The example of docs/engines.md, word for word."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cells"))
    monkeypatch.setitem(CASES, "hypot", lambda a, b, p: torch.hypot(a, b + 2) + torch.hypot(p, p + 2))
    plan = blueprint(with_case("hypot"))
    with pytest.raises(Refused, match="the operation hypot is not in the table of lanes"):
        prepare(plan, optimizer=OPTIMIZERS["adam"], clip_norm=1.0)
    text = (Path(__file__).parents[3] / "docs" / "engines.md").read_text()
    name, entry = next(line for line in text.splitlines() if line.strip().startswith('"hypot"')).strip().split(": ", 1)
    monkeypatch.setitem(OPERATIONS, eval(name), eval(entry.rstrip(","), {"Pointwise": Pointwise}))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "others"))  # refusals are remembered
    prepare(plan, optimizer=OPTIMIZERS["adam"], clip_norm=1.0)
