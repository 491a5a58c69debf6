"""Optimizers as pure pairs (init, update) over flat parameters: one row and one learning rate per replica.

Rules and constants are the defaults of torch.optim (sgd: momentum 0.9). Every engine reads them from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from cellbench.engines.engine import Refused
from cellbench.engines.foreign import torch_class
from cellbench.engines.schedules import CONSTANT, Schedule, schedule_of
from cellbench.records import HYPERPARAMETERS, Train

Slots = tuple[Tensor, ...]
"""The tensors that an optimizer remembers, each of shape (replicas, parameters)."""
Constants = Mapping[str, float]
"""The hyperparameters other than the learning rate, by torch.optim's names; `betas` are `beta1` and `beta2`."""
Number = int | Tensor
"""The number of a step from 1; as a tensor without dimensions it may change where the step was recorded."""
Rule = Callable[[Tensor, Tensor, Slots, Tensor, Number, Constants], tuple[Tensor, Slots]]
"""See `Optimizer.update`."""


@dataclass(frozen=True)
class Optimizer:
    """One optimizer with its hyperparameters: all that lies between a gradient and new weights but clipping by norm.

    Attributes:
        name: its name in experiment files.
        torch_class: the class of torch.optim that does the same for one replica.
        constants: the hyperparameters other than the learning rate.
        rule: what `update` does with clipped gradients; None for a class that torch alone has.
        slots: how many tensors it remembers beside the parameters; all are zero at first.
        options: the arguments of `torch_class`, if torch alone has it.
        schedule: what the learning rate is multiplied by at each step.
        clip_value: the greatest number of a gradient that is left alone; None: no clipping by value.
    """

    name: str
    torch_class: type[torch.optim.Optimizer]
    constants: Constants = field(default_factory=dict)
    rule: Rule | None = None
    slots: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    schedule: Schedule = CONSTANT
    clip_value: float | None = None

    @property
    def decays(self) -> bool:
        """Whether it changes weights whose gradient is 0, so that it matters which parameters have one at all."""
        return bool(self.constants.get("weight_decay"))

    def init(self, parameters: Tensor) -> Slots:
        """Make zeros, one tensor per slot."""
        return tuple(torch.zeros_like(parameters) for _ in range(self.slots))

    def update(self, p: Tensor, g: Tensor, slots: Slots, rates: Tensor, step: Number) -> tuple[Tensor, Slots]:
        """Make one step.

        Args:
            p, g: parameters, and gradients that are clipped by norm; shape (replicas, parameters).
            slots: what the optimizer remembers.
            rates: learning rates, the schedule's factor included; shape (replicas, 1).
            step: counts from 1.

        Returns:
            The new parameters and slots.
        """
        assert self.rule is not None, self.name
        if self.clip_value is not None:
            g = g.clamp(-self.clip_value, self.clip_value)
        return self.rule(p, g, slots, rates, step, self.constants)

    def for_one(self, parameters: Iterable[Tensor], learning_rate: float) -> torch.optim.Optimizer:
        """Make torch's own optimizer with the same rule, for the reference engine."""
        options: dict[str, Any] = {**self.constants, **self.options}
        if "beta1" in options:
            options["betas"] = (options.pop("beta1"), options.pop("beta2"))
        return self.torch_class(parameters, lr=learning_rate, **options)  # type: ignore[call-arg]

    def refuse_torchs(self) -> None:
        """Refuse an optimizer that torch alone has, in the name of an engine that computes updates itself.

        Raises:
            Refused: it is one.
        """
        if self.rule is None:
            raise Refused(f"only reference trains by {self.name}")


def _decayed(p: Tensor, g: Tensor, c: Constants) -> Tensor:
    """Add the gradient of the L2 penalty, as torch.optim does; without one, the gradient keeps its bits."""
    return g + c["weight_decay"] * p if c["weight_decay"] else g


def _adam_direction(g: Tensor, slots: Slots, step: Number, c: Constants) -> tuple[Tensor, Slots]:
    """Compute Adam's step (Kingma & Ba 2015, algorithm 1), in the order of operations of torch.optim.Adam."""
    beta1, beta2 = c["beta1"], c["beta2"]
    m = torch.lerp(slots[0], g, 1 - beta1)
    v = slots[1] * beta2 + (1 - beta2) * g * g
    denominator = v.sqrt() / (1 - beta2**step) ** 0.5 + c["eps"]
    return (m / denominator) / (1 - beta1**step), (m, v)


def _adam(p: Tensor, g: Tensor, slots: Slots, rate: Tensor, step: Number, c: Constants) -> tuple[Tensor, Slots]:
    direction, slots = _adam_direction(_decayed(p, g, c), slots, step, c)
    return p - rate * direction, slots


def _adamw(p: Tensor, g: Tensor, slots: Slots, rate: Tensor, step: Number, c: Constants) -> tuple[Tensor, Slots]:
    # Loshchilov & Hutter 2019: the decay does not pass through the moments
    direction, slots = _adam_direction(g, slots, step, c)
    return p * (1 - rate * c["weight_decay"]) - rate * direction, slots


def _sgd(p: Tensor, g: Tensor, slots: Slots, rate: Tensor, step: Number, c: Constants) -> tuple[Tensor, Slots]:
    velocity = slots[0] * c["momentum"] + _decayed(p, g, c)
    return p - rate * velocity, (velocity,)


def _rmsprop(p: Tensor, g: Tensor, slots: Slots, rate: Tensor, step: Number, c: Constants) -> tuple[Tensor, Slots]:
    g = _decayed(p, g, c)
    square = slots[0] * c["alpha"] + (1 - c["alpha"]) * g * g
    if not c["momentum"]:
        return p - rate * g / (square.sqrt() + c["eps"]), (square,)
    velocity = slots[1] * c["momentum"] + g / (square.sqrt() + c["eps"])
    return p - rate * velocity, (square, velocity)


_RULES: Mapping[str, tuple[type[torch.optim.Optimizer], Rule]] = {
    "adam": (torch.optim.Adam, _adam),
    "adamw": (torch.optim.AdamW, _adamw),
    "sgd": (torch.optim.SGD, _sgd),
    "rmsprop": (torch.optim.RMSprop, _rmsprop),
}


def _with(name: str, options: Mapping[str, Any]) -> Optimizer:
    """Make one of the optimizers that every engine has, with some hyperparameters other than their defaults."""
    constants = {**HYPERPARAMETERS[name], **options}
    if "betas" in constants:
        constants["beta1"], constants["beta2"] = constants.pop("betas")
    torch_class, rule = _RULES[name]
    slots = 1 if name == "sgd" or (name == "rmsprop" and not constants["momentum"]) else 2
    return Optimizer(name, torch_class, constants, rule, slots)


OPTIMIZERS: Mapping[str, Optimizer] = {name: _with(name, {}) for name in HYPERPARAMETERS}


def optimizer_of(train: Train) -> Optimizer:
    """Make the optimizer of an experiment.

    Raises:
        OptimizerError: torch has no such optimizer, it does not take the options, or it cannot train by plain steps.
    """
    options = dict(train.optimizer_options)
    if train.optimizer in HYPERPARAMETERS:
        made = _with(train.optimizer, options)
    else:
        made = Optimizer(train.optimizer, torch_class(train.optimizer, options), options=options)
    return replace(made, schedule=schedule_of(train), clip_value=train.clip_value)


def clip(gradients: Tensor, norms: Tensor, most: float) -> Tensor:
    """Scale each replica's gradient to a norm of at most `most`, as torch.nn.utils.clip_grad_norm_ does.

    Args:
        gradients: shape (replicas, parameters).
        norms: their Euclidean norms, shape (replicas, 1).
        most: the greatest norm left alone.
    """
    return gradients * torch.clamp(most / (norms + 1e-6), max=1.0)


def clip_value(parameters: Iterable[Tensor], most: float) -> None:
    """Bring each number of the gradients to at most `most` in size, in place.

    As torch.nn.utils.clip_grad_value_ does, which takes no complex gradients: their real and imaginary parts are two
    numbers, as torch's optimizers take them.
    """
    for parameter in parameters:
        if parameter.grad is not None:
            gradient = torch.view_as_real(parameter.grad) if parameter.grad.is_complex() else parameter.grad
            gradient.clamp_(-most, most)
