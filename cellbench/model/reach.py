"""Which parameters a loss reaches: torch's optimizers pass over those that have no gradient, weight decay and all."""

from __future__ import annotations

import torch

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
