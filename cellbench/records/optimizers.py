"""The optimizers that every engine has, with the hyperparameters of each, and how a file and a key write these.

Names and defaults are those of torch.optim, except that sgd has momentum 0.9.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Hyperparameter: TypeAlias = float | tuple[float, ...]

_ADAM: Mapping[str, Hyperparameter] = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
HYPERPARAMETERS: Mapping[str, Mapping[str, Hyperparameter]] = {
    "adam": _ADAM,
    "adamw": {**_ADAM, "weight_decay": 0.01},
    "sgd": {"momentum": 0.9, "weight_decay": 0.0},
    "rmsprop": {"alpha": 0.99, "eps": 1e-8, "momentum": 0.0, "weight_decay": 0.0},
}
"""By optimizer: what may be set beside the learning rate, and its default."""

NAMES = ("weight_decay", "betas", "momentum", "eps", "alpha")
"""The hyperparameters that have a key of their own in the section `train`."""

TORCH = "torch.optim."
"""What the path of a class of torch begins with; such an optimizer is trained by torch itself."""


def folded(section: Mapping[str, Any]) -> dict[str, Any]:
    """Collect the options of a section's optimizer from its keys, without those that hold their defaults.

    >>> folded({"optimizer": "adamw", "betas": [0.9, 0.99], "weight_decay": 0.01, "momentum": None})
    {'betas': (0.9, 0.99)}
    >>> folded({"optimizer": "torch.optim.Adagrad", "weight_decay": 0.1, "optimizer_options": {"lr_decay": 0.2}})
    {'weight_decay': 0.1, 'lr_decay': 0.2}
    """
    given = {name: section[name] for name in NAMES if section.get(name) is not None}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    given |= section.get("optimizer_options") or {}
    defaults = HYPERPARAMETERS.get(section["optimizer"], {})
    return {name: value for name, value in given.items() if name not in defaults or defaults[name] != value}


def unfolded(optimizer: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Write an optimizer's options as the section `train` has them; the inverse of `folded`.

    >>> unfolded("adam", {"betas": (0.9, 0.99)}), unfolded("torch.optim.Adagrad", {"lr_decay": 0.2})
    ({'betas': [0.9, 0.99]}, {'optimizer_options': {'lr_decay': 0.2}})
    """
    plain = {name: _plain(value) for name, value in options.items()}
    return {"optimizer_options": plain} if plain and optimizer not in HYPERPARAMETERS else plain


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple) else value
