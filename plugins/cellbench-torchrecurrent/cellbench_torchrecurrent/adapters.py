"""From torchrecurrent's four state protocols to cellbench's one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cellbench import Cell, State

INITIALISERS = (
    "zeros",
    "ones",
    "normal",
    "uniform",
    "uniform_centered",
    "xavier_uniform",
    "xavier_normal",
    "kaiming_uniform",
    "kaiming_normal",
    "orthogonal",
)
"""The names that torchrecurrent 0.2.5 understands."""


def checked(module: type[nn.Module], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, if torchrecurrent will do what they say.

    The library takes initialisers as names or functions and silently uses its default for a function that it does not
    know, so here they are names and nothing else.

    Raises:
        TypeError: the cell has no such option, or an initialiser is not a name.
        ValueError: the library knows no initialiser of this name.
    """
    known = {n: p for n, p in inspect.signature(module).parameters.items() if n not in ("device", "dtype")}
    for name, value in options.items():
        if name not in known:
            raise TypeError(f"{module.__name__} has no option {name!r}; it has {', '.join(list(known)[2:])}")
        # Some `*_init` are numbers (FastRNN's alpha_init); an initialiser's default is a function or a name.
        default = known[name].default
        if name.endswith("_init") and (callable(default) or isinstance(default, str)):
            if not isinstance(value, str):
                raise TypeError(f"{name} must be the name of an initialiser, not {value!r}")
            if value not in INITIALISERS:
                raise ValueError(f"{name}: no initialiser {value!r}; there are {', '.join(INITIALISERS)}")
    return dict(options)


class Adapted(Cell):
    """A cell of torchrecurrent, `module`, behind cellbench's contract.

    Args:
        input_size: features of x.
        hidden_size: units.
        options: those of the library's cell; initialisers by name.
    """

    wraps: ClassVar[type[nn.Module]]
    """The library's class."""

    def __init__(self, input_size: int, hidden_size: int, **options: Any) -> None:
        super().__init__(input_size, hidden_size)
        self.module = self.wraps(input_size, hidden_size, **checked(self.wraps, options))


class SingleState(Adapted):
    """`h = module(x, h)`; the output is h, shape (batch, hidden_size)."""

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = self.module(x, state)
        return h, h


class DoubleState(Adapted):
    """`(h, c) = module(x, (h, c))`; the output is h, both of shape (batch, hidden_size)."""

    def initial_state(self, batch_size: int) -> State:
        return torch.zeros(batch_size, self.hidden_size), torch.zeros(batch_size, self.hidden_size)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h, c = self.module(x, state)
        return h, (h, c)


class DecoupledSingleState(Adapted):
    """`(y, h) = module(x, h)`; the output is y, not the state; both of shape (batch, hidden_size)."""

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, h = self.module(x, state)
        return y, h


class DecoupledDoubleState(DoubleState):
    """`(y, (a, b)) = module(x, (a, b))`; the output is y, no part of the state; all of shape (batch, hidden_size)."""

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, (a, b) = self.module(x, state)
        return y, (a, b)
