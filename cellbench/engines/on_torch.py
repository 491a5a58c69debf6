"""Shared by the engines on torch: copies of parameters, and the versions that their numbers depend on."""

from __future__ import annotations

import platform

import torch

from cellbench.engines.device import is_card
from cellbench.model import Model
from cellbench.records import CPU
from cellbench.task import Floats


def parameters_of(model: Model) -> dict[str, Floats]:
    """Copy the model's parameters, by name."""
    return {name: p.detach().cpu().numpy().copy() for name, p in model.named_parameters()}


def instruction_set(device: str = CPU) -> str:
    """Name the instruction set that torch's own kernels use here: `x86_64 AVX2`, on a card its generation, `sm_90`."""
    if is_card(device):
        return "sm_{}{}".format(*torch.cuda.get_device_capability())
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def compiler(device: str = CPU) -> str:
    """Name the library that does the arithmetic, with its version."""
    kind = "CUDA" if torch.version.hip is None else "ROCm"
    on_card = f", {kind} {torch.version.cuda or torch.version.hip}" if is_card(device) else ""
    return f"torch {torch.__version__}{on_card}"
