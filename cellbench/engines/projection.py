"""`after_update()` of the cells of a stack: called for one replica after the other, on a module of its own.

vmap has no part in it: what the method does to one module, in place or through `.data`, it does to each replica.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cellbench.model import Contents, Model, after_update


class Projection:
    """The method as a change of one replica's tensors.

    Args:
        model: a module that nothing else uses.
        names: the trained parameters, in the order of a row.
        own: paths of the other tensors that each replica has for itself.
    """

    def __init__(self, model: Model, names: Sequence[str], own: Sequence[str]) -> None:
        held = dict(model.named_parameters())
        self._model, self._own = model, own
        self._parameters = [held[name] for name in names]
        self._sizes = [parameter.numel() for parameter in self._parameters]

    def __call__(self, row: Tensor, own: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute a replica's row and its other tensors after the method, from those before it."""
        with torch.no_grad():
            for parameter, part in zip(self._parameters, torch.split(row, self._sizes), strict=True):
                parameter.copy_(part.view(parameter.shape))
            if own:
                places = Contents(self._model).tensors
                for path, tensor in own.items():
                    for put in places[path].put:
                        put(tensor.clone())
            after_update(self._model)
            after = torch.cat([parameter.reshape(-1) for parameter in self._parameters])
        places = Contents(self._model).tensors if own else {}
        return after, {path: places[path].tensor.detach().clone() for path in own}
