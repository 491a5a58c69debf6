"""The tensors of a model that its step depends on. Tracing is another module, because it takes long to import."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cellbench.engines.engine import Refused
from cellbench.model import Model

NUMBERS = (torch.float32, torch.complex64)
"""What a replica's row can hold; a complex number is two floats."""


@dataclass(frozen=True)
class Tensors:
    """The tensors of a model that a trace takes as inputs, by name.

    Attributes:
        trained: parameters that are trained.
        frozen: buffers, parameters that are not trained, and tensors that are plain attributes. Each replica has its
            own, and they do not change.
        constants: those of other types, such as counts and truth values. A trace takes their numbers as they are, so
            those must be every replica's.
        own: where else the model may read the trained and the frozen ones: the tensors themselves, not copies.
    """

    trained: dict[str, Tensor]
    frozen: dict[str, Tensor]
    constants: dict[str, Tensor]
    own: dict[str, Tensor]


def named(model: Model) -> dict[str, Tensor]:
    """List a model's parameters, buffers, and tensors that its modules keep as plain attributes, by name."""
    found: dict[str, Tensor] = dict(model.named_parameters())
    found |= dict(model.named_buffers())
    for path, module in model.named_modules():
        found |= {f"{path}.{name}": value for name, value in vars(module).items() if isinstance(value, Tensor)}
    return found


def tensors_of(model: Model) -> Tensors:
    """List the tensors that a trace of the model depends on.

    Raises:
        Refused: a parameter cannot be in a row, a tensor is not on the CPU, or none is trained.
    """
    found = Tensors({}, {}, {}, {})
    parameters = dict(model.named_parameters())
    for name, tensor in named(model).items():
        if nn.parameter.is_lazy(tensor):
            raise Refused(f"{name} is made when the cell first runs: give its layer all sizes, not a lazy one")
        # a replica's row in C++ holds floats in the CPU's memory, nothing else
        if tensor.device.type != "cpu":
            raise Refused(f"{name} is on {tensor.device.type}, not on the CPU: move it there with .cpu()")
        if tensor.dtype not in NUMBERS:
            if name in parameters:
                kind = str(tensor.dtype).removeprefix("torch.")
                raise Refused(f"the parameter {name} is {kind}, not float32: call .float() on it where it is made")
            found.constants[name] = tensor.detach()
            continue
        found.own[name] = tensor
        trained = name in parameters and tensor.requires_grad
        (found.trained if trained else found.frozen)[name] = as_reals(tensor.detach())
    if not found.trained:
        raise Refused("the model has no parameter to train")
    return found


def as_reals(tensor: Tensor) -> Tensor:
    """View a complex tensor as reals, with one more axis of length 2; others are left as they are."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
