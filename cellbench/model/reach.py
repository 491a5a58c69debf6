"""What a gradient runs through: the parameters that a loss reaches, and the cell's own functions behind a value.

torch's optimizers pass over parameters that have no gradient, weight decay and all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from cellbench.model.blueprint import Blueprint
from cellbench.model.randomness import seeded

STEPS, BATCH = 6, 5
"""Time steps and examples of the sequence whose loss is traced back."""


def reached(blueprint: Blueprint) -> list[bool]:
    """Tell for each trained parameter, in their order, whether a loss has a gradient there; zeros are one, too.

    A parameter that is never read has none, and neither has one that is read through `detach()` alone.

    Raises:
        CellError: the cell cannot be made.
        Exception: whatever running it raises.
    """
    model = blueprint.build("reached", 0)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    inputs = torch.zeros(STEPS, BATCH, blueprint.input_size)
    with seeded("reached"), torch.enable_grad():
        total = model(inputs).sum()
        gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    return [gradient is not None for gradient in gradients]


def functions_behind(values: Iterable[Tensor]) -> list[type[Function]]:
    """List the classes of `torch.autograd.Function` that values were computed with, each once."""
    waiting: list[Any] = [value.grad_fn for value in values]
    seen: set[Any] = set()
    found: dict[type[Function], None] = {}
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [parent for parent, _ in node.next_functions]
        kind = getattr(type(node), "_forward_cls", None)
        if kind is not None:
            found[kind] = None
    return list(found)
