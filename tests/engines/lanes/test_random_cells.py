"""The compiler against autograd: random small cells of every operation in the table, their losses and gradients.

150 cells in the slow suite; CELLBENCH_FUZZ=2000 makes it more.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from cellbench.engines.lanes import build
from cellbench.engines.lanes.cache import CacheEntry
from cellbench.engines.lanes.code.lower import lower
from cellbench.engines.lanes.graph.trace import trace
from cellbench.engines.lanes.program import Program
from cellbench.engines.lanes.units import training
from cellbench.model import Blueprint, Model, double_precision, loss
from tests.helpers.random_cells import N, Recipe, factory, recipes

TOGETHER = 3
"""Cells that are compiled together."""
MANY = int(os.environ.get("CELLBENCH_FUZZ", "150"))
STEPS, BATCH = 4, 5

FOUND = [
    # its state is a truth value made a number, which autograd got in single precision
    Recipe((("ge", (0,)), ("float", (12,)), ("sigmoid v", (13,))), state=(14, 0, 1), output=0),
    # all of a bias has one gradient: that of a sum over the units, which the sum over time took for as many numbers
    Recipe((("sum", (0,)), ("mul vs", (1, 12))), state=(4, 1, 3), output=2),
]
"""Recipes that failed once: what was wrong is mended, and they are tried each time."""


@lru_cache(maxsize=1)
def compiler() -> build.Compiler:
    """This machine's compiler with -O0 as its last option: quicker, and the text is what is tested."""
    found = build.find_compiler()
    assert found is not None
    script = Path(tempfile.mkdtemp()) / "quick"
    script.write_text(f'#!/bin/sh\nexec {" ".join(found.command)} "$@" -O0 -w\n')
    script.chmod(0o755)
    return build.Compiler((str(script),), found.version)


def compiled(plan: Blueprint) -> Program:
    """Trace, lower and compile a cell without the cache, which would only grow."""
    isa = build.chosen_isa()
    unit = training("bits", BATCH, isa.name)
    lowered = lower(trace(plan.build("fuzz"), 2))
    with tempfile.TemporaryDirectory() as folder:
        content = build.compile_program(unit.texts(lowered.source), compiler(), isa, Path(folder))
    entry = CacheEntry(
        object=str(hash(content)), trained=tuple(lowered.trained), frozen=tuple(lowered.frozen), row=lowered.row,
        trained_row=lowered.trained_row,
    )  # fmt: skip
    return Program(content, entry, unit)


def by_autograd(model: Model, inputs: Tensor, targets: Tensor) -> tuple[float, list[Tensor]]:
    """Loss and gradients in float64."""
    with double_precision():
        model, logits = model.double(), []
        state = model.initial_state(inputs.shape[1])
        for x in inputs.double():
            y, state = model.step(x, state)
            logits.append(y)
        total = loss(torch.stack(logits), targets.double())
    trained = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(total, trained, allow_unused=True)
    return float(total.detach()), [
        torch.zeros_like(p) if g is None else g for p, g in zip(trained, gradients, strict=True)
    ]


def agrees(some: Sequence[Recipe]) -> None:
    """Compare the program of some recipes with autograd."""
    plan = Blueprint(factory(some), "composed", (), 2, N, 1)
    program = compiled(plan)
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(STEPS, BATCH, 2, generator=generator)
    targets = torch.randint(0, 2, (STEPS, BATCH, 1), generator=generator).float()
    model = plan.build("fuzz", 3)
    got_loss, flat = program.gradient(program.row_of(model), inputs.numpy(), targets.numpy())
    want_loss, gradients = by_autograd(model, inputs, targets)
    want = np.concatenate([g.flatten().numpy() for g in gradients])
    assert abs(got_loss - want_loss) < 1e-5 * max(1, abs(want_loss))
    assert np.abs(flat - want).max() < 2e-4 * max(np.abs(want).max(), 1e-3)


@pytest.mark.slow
@settings(
    max_examples=MANY // TOGETHER, deadline=None, derandomize=MANY == 150, suppress_health_check=list(HealthCheck)
)
@given(some=st.lists(recipes(), min_size=TOGETHER, max_size=TOGETHER))
def test_random_cells_compute_what_autograd_does(some: list[Recipe]) -> None:
    agrees(some)


@pytest.mark.parametrize("recipe", FOUND, ids=lambda recipe: recipe.instructions[-1][0])
def test_a_recipe_that_failed_once(recipe: Recipe) -> None:
    agrees([recipe])
