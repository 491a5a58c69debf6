"""The tensors of a model that its step depends on. Tracing is another module, because it takes long to import."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cellbench.engines.engine import Refused
from cellbench.model import Model


@dataclass(frozen=True)
class Tensors:
    """The tensors of a model that a trace takes as inputs, by name.

    Attributes:
        trained: parameters that are trained.
        frozen: buffers, parameters that are not trained, and tensors that are plain attributes. Each replica has its
            own, and they do not change.
    """

    trained: dict[str, Tensor]
    frozen: dict[str, Tensor]


def tensors_of(model: Model) -> Tensors:
    """List the tensors that a trace of the model depends on.

    Raises:
        Refused: one of them is not float32 or not on the CPU, or none is trained.
    """
    # parameters, buffers, and tensors that a module keeps as plain attributes
    trained: dict[str, Tensor] = {}
    frozen: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        (trained if parameter.requires_grad else frozen)[name] = parameter.detach()
    for name, buffer in model.named_buffers():
        frozen[name] = buffer.detach()
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                frozen[f"{path}.{name}"] = value.detach()
    # a replica's row in C++ holds floats in the CPU's memory, nothing else
    for name, tensor in {**trained, **frozen}.items():
        if tensor.dtype != torch.float32:
            raise Refused(f"{name} is {str(tensor.dtype).removeprefix('torch.')}, not float32")
        if tensor.device.type != "cpu":
            raise Refused(f"{name} is on {tensor.device.type}, not on the CPU")
    if not trained:
        raise Refused("the model has no parameter to train")
    return Tensors(trained, frozen)
