"""What one module cannot be for many replicas, and a trial of a stack beside each of its models alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from cellbench.engines.engine import Refused, first_line
from cellbench.model import Blueprint, Model, Traits, evaluating, follows_updates, try_update

if TYPE_CHECKING:
    from cellbench.engines.stack import StackEngine

TOLERANCE = 1e-4
"""The largest difference of a loss or a gradient under vmap from the same model alone, relative to the largest."""
_TIME, _BATCH = 6, 5
"""Time steps and examples of the trial."""

_KNOWN_FAILURES = {
    "data-dependent control flow": "control flow that depends on the data",
    ".item() on a Tensor": "a number is read from a tensor, as .item() does",
    "(self, *extra_args) is not possible": "it writes into a tensor that it made: make it by x.new_zeros or torch.cat",
    "override the setup_context": "an autograd.Function in the old style: give it setup_context and generate_vmap_rule",
    "does not have vmap support": "an autograd.Function without a vmap rule: set generate_vmap_rule = True in it",
}
"""A part of torch's message, and the reason in our words."""


def why(error: Exception) -> str:
    """Say why vmap does not carry a cell: in our words where they are known, else in torch's first line."""
    return next((said for part, said in _KNOWN_FAILURES.items() if part in str(error)), first_line(error))


def refuse_traits(found: Traits) -> None:
    """Refuse what many replicas cannot share one module for.

    Raises:
        Refused: the cell does one of these things; the message names the tensor, attribute or generator.
    """
    for names, why in (
        (found.drawn, "differs between replicas, and is no tensor"),
        (found.views, "lies in the memory of a trained parameter"),
        ((*found.hooks, *found.module_hooks), "has a hook on its gradient"),
        (found.late_hooks, "has a hook that runs after its gradient was accumulated"),
        (found.keeps, "is remembered from one sequence to the next"),
    ):
        if names:
            raise Refused(f"{names[0]} {why}")
    if found.random:
        raise Refused(f"it draws from {found.random[0]} generator while it runs")


def changed_by_updates(blueprint: Blueprint, model: Model) -> tuple[str, ...]:
    """List the tensors, trained parameters apart, that `after_update` changes: each replica must have its own.

    Raises:
        Refused: it changes something else, or draws.
    """
    if not follows_updates(model):
        return ()
    found = try_update(blueprint)
    if found.replaced or found.others:
        raise Refused(
            f"its after_update() changes {(*found.replaced, *found.others)[0]}, which is no tensor of a replica"
        )
    if found.random:
        raise Refused(f"its after_update() draws from {found.random[0]} generator")
    return found.tensors


def compare(engine: StackEngine, blueprint: Blueprint, models: Sequence[Model]) -> None:
    """Compare losses and gradients of a stack of models with those of each model alone, on two batches.

    Raises:
        Refused: they differ. vmap may change what a cell computes without an error (writes in place, a mean over the
            wrong axis).
    """
    generator = torch.Generator().manual_seed(0)
    replicas = engine.begin(models, [0.01] * len(models))
    for _ in range(2):
        x = torch.randint(0, 2, (_TIME, _BATCH, blueprint.input_size), generator=generator).float()
        y = blueprint.objective.example(_TIME, _BATCH, blueprint.output_size, generator)
        which = np.zeros(len(models), np.int64)
        scores = replicas.evaluate(x[None].numpy(), y[None].numpy(), which)
        losses, gradients = replicas.gradients([x[None], y[None]], torch.from_numpy(which))
        for row, model in enumerate(models):
            with torch.no_grad(), evaluating(model):
                evaluated = model.objective.loss(model(x), y).item()
            value = model.objective.loss(model(x), y)
            parameters = [p for p in model.parameters() if p.requires_grad]
            grads = torch.autograd.grad(value, parameters, allow_unused=True)
            own = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, grads, strict=True)]
            flat = torch.cat([g.reshape(-1) for g in own])
            for got, want in ((scores.loss[row], evaluated), (float(losses[row]), value.item())):
                if not np.isclose(got, want, rtol=TOLERANCE, atol=1e-6, equal_nan=True):
                    raise Refused(f"vmap: the loss under vmap is {got:.6g}, alone it is {want:.6g}")
            gap = (gradients[row] - flat).abs().max() / flat.abs().max().clamp(min=1e-6)
            if not (gap <= 10 * TOLERANCE or torch.isnan(flat).any()):
                raise Refused(f"vmap: the gradient under vmap differs from that alone (by {gap:.1e} of the largest)")
