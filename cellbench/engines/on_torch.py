"""Shared by the engines on torch: copies of parameters, and the versions that their numbers depend on."""

from __future__ import annotations

import platform

import torch

from cellbench.model import Model
from cellbench.task import Floats


def parameters_of(model: Model) -> dict[str, Floats]:
    """Copy the model's parameters, by name."""
    return {name: p.detach().numpy().copy() for name, p in model.named_parameters()}


def instruction_set() -> str:
    """Name the instruction set that torch's own kernels use here, for example `x86_64 AVX2`."""
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def compiler() -> str:
    """Name the library that does the arithmetic, with its version."""
    return f"torch {torch.__version__}"
