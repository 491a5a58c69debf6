"""Shared by the engines on torch: scores from logits, and the versions that their numbers depend on."""

from __future__ import annotations

import platform

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cellbench.model import Model
from cellbench.task import Floats


def scores_of(logits: Tensor, targets: Tensor) -> tuple[NDArray[np.float64], ...]:
    """Compute loss, bit accuracy and sequence accuracy.

    Args:
        logits, targets: shape (replicas, time, examples, output_size).

    Returns:
        Three arrays of shape (replicas,).
    """
    losses = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=(1, 2, 3))
    # within 0.5 of the target, strictly: a logit of 0, and NaN, are wrong
    right = logits * (2 * targets - 1) > 0
    bits = right.double().mean(dim=(1, 2, 3))
    sequences = right.all(dim=3).all(dim=1).double().mean(dim=1)
    return losses.double().numpy(), bits.numpy(), sequences.numpy()


def parameters_of(model: Model) -> dict[str, Floats]:
    """Copy the model's parameters, by name."""
    return {name: p.detach().numpy().copy() for name, p in model.named_parameters()}


def instruction_set() -> str:
    """Name the instruction set that torch's own kernels use here, for example `x86_64 AVX2`."""
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def compiler() -> str:
    """Name the library that does the arithmetic, with its version."""
    return f"torch {torch.__version__}"
