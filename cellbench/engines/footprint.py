"""How many replicas a card holds at once: what a training step of one takes, counted on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from cellbench.engines.optimizers import Optimizer
from cellbench.model import Blueprint, DispatchMode, seeded, spelt_out

MOST = 1024
"""Replicas of a stack on a card, at most."""
SHARE = 0.8
"""Share of the free memory that is planned with: the rest is for libraries, and for what the allocator cannot use."""
_SHORT, _LONG = 4, 8
"""Time steps of the sequences that are counted; what a longer one takes more, its steps take."""
_ROWS = 6
"""Copies of a row of parameters beside the optimizer's: the weights, the gradient, and those in between."""


class _Made(DispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of all tensors that operations make within it; views make none."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view and not func._schema.is_mutable:
            self.bytes += sum(x.numel() * x.element_size() for x in pytree.tree_leaves(out) if isinstance(x, Tensor))
        return out


def step_bytes(blueprint: Blueprint, time: int, batch: int, optimizer: Optimizer) -> int:
    """Bound the bytes that a training step of one replica takes, as if none were freed before its end.

    Args:
        blueprint: the model.
        time, batch: time steps and examples of a batch.
        optimizer: what it remembers beside the parameters counts too.

    Raises:
        CellError: the cell cannot be made.
        Exception: whatever running it raises.
    """
    model = blueprint.build("footprint")
    trained = [p for p in model.parameters() if p.requires_grad]
    counts = []
    for steps in (_SHORT, _LONG):
        inputs = torch.zeros(steps, batch, blueprint.input_size)
        generator = torch.Generator().manual_seed(0)
        targets = blueprint.objective.example(steps, batch, blueprint.output_size, generator)
        with seeded("footprint"), torch.enable_grad(), spelt_out(), _Made() as made:
            value = blueprint.objective.loss(model(inputs), targets)
            torch.autograd.grad(value, trained, allow_unused=True)
        counts.append(made.bytes)
    per_step = (counts[1] - counts[0]) / (_LONG - _SHORT)
    row = sum(p.numel() * p.element_size() for p in trained)
    return int(counts[0] + per_step * (time - _SHORT) + row * (_ROWS + 2 * optimizer.slots))


def width(of_one: int, free: int) -> int:
    """Compute how many replicas to stack on a card, at least one.

    Args:
        of_one: bytes that one takes.
        free: bytes of the card that are free.

    >>> width(10**6, 80 * 10**9), width(10**9, 80 * 10**9), width(10**11, 80 * 10**9)
    (1024, 64, 1)
    """
    return max(1, min(MOST, int(SHARE * free) // of_one))
