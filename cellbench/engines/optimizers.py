"""Optimizers as pure pairs (init, update) over flat parameters: one row and one learning rate per replica.

Rules and constants are the defaults of torch.optim (sgd: momentum 0.9). Every engine reads them from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Slots = tuple[Tensor, ...]
"""The tensors that an optimizer remembers, each of shape (replicas, parameters)."""
Update = Callable[[Tensor, Tensor, Slots, Tensor, int], tuple[Tensor, Slots]]
"""See `Optimizer.update`."""


@dataclass(frozen=True)
class Optimizer:
    """One optimizer.

    Attributes:
        name: its name in experiment files.
        slots: how many tensors it remembers beside the parameters; all are zero at first.
        constants: the hyperparameters other than the learning rate, by torch.optim's names.
        update: `(parameters, gradients, slots, learning_rates, step) -> (parameters, slots)`, where parameters and
            gradients have shape (replicas, parameters), learning rates (replicas, 1), and step counts from 1.
        torch_class: the class of torch.optim that does the same for one replica.
    """

    name: str
    slots: int
    constants: Mapping[str, float]
    update: Update
    torch_class: type[torch.optim.Optimizer]

    def init(self, parameters: Tensor) -> Slots:
        """Make zeros, one tensor per slot."""
        return tuple(torch.zeros_like(parameters) for _ in range(self.slots))

    def for_one(self, parameters: Iterable[Tensor], learning_rate: float) -> torch.optim.Optimizer:
        """Make torch's own optimizer with the same rule, for the reference engine."""
        options: dict[str, Any] = dict(self.constants)
        if "beta1" in options:
            options["betas"] = (options.pop("beta1"), options.pop("beta2"))
        return self.torch_class(parameters, lr=learning_rate, **options)  # type: ignore[call-arg]


def _adam_direction(g: Tensor, slots: Slots, step: int) -> tuple[Tensor, Slots]:
    """Compute Adam's step (Kingma & Ba 2015, algorithm 1), in the order of operations of torch.optim.Adam."""
    m = torch.lerp(slots[0], g, 0.1)
    v = slots[1] * 0.999 + 0.001 * g * g
    denominator = v.sqrt() / (1 - 0.999**step) ** 0.5 + 1e-8
    return (m / denominator) / (1 - 0.9**step), (m, v)


def _adam(p: Tensor, g: Tensor, slots: Slots, rate: Tensor, step: int) -> tuple[Tensor, Slots]:
    direction, slots = _adam_direction(g, slots, step)
    return p - rate * direction, slots


def _adamw(p: Tensor, g: Tensor, slots: Slots, rate: Tensor, step: int) -> tuple[Tensor, Slots]:
    # Loshchilov & Hutter 2019: the decay does not pass through the moments
    direction, slots = _adam_direction(g, slots, step)
    return p * (1 - rate * 0.01) - rate * direction, slots


def _sgd(p: Tensor, g: Tensor, slots: Slots, rate: Tensor, step: int) -> tuple[Tensor, Slots]:
    velocity = slots[0] * 0.9 + g
    return p - rate * velocity, (velocity,)


def _rmsprop(p: Tensor, g: Tensor, slots: Slots, rate: Tensor, step: int) -> tuple[Tensor, Slots]:
    square = slots[0] * 0.99 + 0.01 * g * g
    return p - rate * g / (square.sqrt() + 1e-8), (square,)


_ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
OPTIMIZERS: Mapping[str, Optimizer] = {
    o.name: o
    for o in (
        Optimizer("adam", 2, {**_ADAM}, _adam, torch.optim.Adam),
        Optimizer("adamw", 2, {**_ADAM, "weight_decay": 0.01}, _adamw, torch.optim.AdamW),
        Optimizer("sgd", 1, {"momentum": 0.9}, _sgd, torch.optim.SGD),
        Optimizer("rmsprop", 1, {"alpha": 0.99, "eps": 1e-8}, _rmsprop, torch.optim.RMSprop),
    )
}


def clip(gradients: Tensor, norms: Tensor, most: float) -> Tensor:
    """Scale each replica's gradient to a norm of at most `most`, as torch.nn.utils.clip_grad_norm_ does.

    Args:
        gradients: shape (replicas, parameters).
        norms: their Euclidean norms, shape (replicas, 1).
        most: the greatest norm left alone.
    """
    return gradients * torch.clamp(most / (norms + 1e-6), max=1.0)
