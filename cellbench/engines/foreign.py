"""Optimizers that torch alone has: a class of torch.optim by its path, tried before anything is trained by it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from cellbench.engines.engine import first_line
from cellbench.errors import CellbenchError
from cellbench.records import TORCH
from cellbench.wording import did_you_mean, short


class OptimizerError(CellbenchError):
    """An optimizer that cannot be had.

    Args:
        key: the key of the section `train`, or the option, that is to blame.
        message: what is wrong, and what to do.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def torch_class(path: str, options: Mapping[str, Any]) -> type[torch.optim.Optimizer]:
    """Find a class of torch.optim, and make one step with it.

    Args:
        path: for example `torch.optim.Adagrad`.
        options: its arguments beside parameters and learning rate.

    Raises:
        OptimizerError: there is no such class, it does not take the options, or it cannot train by plain steps.
    """
    known = {name: each for name, each in vars(torch.optim).items() if _is_one(each)}
    name = path.removeprefix(TORCH)
    if name not in known:
        hint = did_you_mean(name, sorted(known))
        raise OptimizerError("optimizer", f"torch {torch.__version__} has no optimizer {short(path)}. {hint}")
    found: type[torch.optim.Optimizer] = known[name]
    closure = inspect.signature(found.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise OptimizerError(
            "optimizer",
            f"not offered: {path} needs a closure, which computes the loss several times per step; see "
            "docs/experiment.md",
        )
    takes = [name for name in inspect.signature(found).parameters if name not in ("params", "lr")]
    for option in options:
        if option not in takes:
            raise OptimizerError(option, f"{path} takes no {short(option)}. {did_you_mean(option, takes)}")
    _try(path, found, options)
    return found


def _is_one(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, torch.optim.Optimizer) and found is not torch.optim.Optimizer


def _try(path: str, found: Any, options: Mapping[str, Any]) -> None:
    """Make a step of a small matrix.

    Raises:
        OptimizerError: torch refuses the options, or the gradient of a plain parameter.
    """
    parameter = torch.nn.Parameter(torch.ones(2, 3))
    parameter.grad = torch.ones(2, 3)
    try:
        optimizer = found([parameter], lr=0.01, **options)
    except Exception as error:
        raise OptimizerError("optimizer_options", f"{path} refuses them: {first_line(error)}") from error
    try:
        optimizer.step()
    except Exception as error:
        key = "optimizer_options" if options else "optimizer"
        raise OptimizerError(key, f"{path} cannot train: {first_line(error)}") from error
