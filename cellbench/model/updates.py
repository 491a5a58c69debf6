"""What a cell does after each update of its parameters: its optional method `after_update()`, and a trial of it.

It keeps parameters where the optimizer does not: clamped, of one sign, of norm 1. It writes to them in place.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from cellbench.model.blueprint import Blueprint
from cellbench.model.contents import Contents, changed
from cellbench.model.layers import layers_of
from cellbench.model.model import Model
from cellbench.model.once import once
from cellbench.model.randomness import generator_states, seeded

NAME = "after_update"
"""The method's name."""


def follows_updates(model: Model) -> bool:
    """Tell whether a cell of the model has the method."""
    return any(callable(getattr(cell, NAME, None)) for cell in layers_of(model.cell))


def after_update(model: Model) -> None:
    """Call the method of each layer's cell, without gradients."""
    with torch.no_grad():
        for cell in layers_of(model.cell):
            method = getattr(cell, NAME, None)
            if callable(method):
                method()


@dataclass(frozen=True)
class Trial:
    """What the method did to two models, one of them with moved weights.

    Attributes:
        replaced: names of parameters in whose place it put others, which no optimizer knows of.
        tensors: paths of tensors, trained parameters apart, that it changed.
        others: paths of everything else that it changed: counters, numbers, objects.
        random: the global generators that it drew from.
    """

    replaced: tuple[str, ...] = ()
    tensors: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    random: tuple[str, ...] = ()

    def __or__(self, other: Trial) -> Trial:
        """Unite what two trials found."""
        return Trial(
            *(tuple(dict.fromkeys((*getattr(self, n), *getattr(other, n)))) for n in self.__dataclass_fields__)
        )


@once
def try_update(blueprint: Blueprint) -> Trial:
    """Try the method on models of a blueprint, once per process.

    Raises:
        CellError: the cell cannot be made.
        Exception: whatever the method raises.
    """
    plain, moved = blueprint.build("update", 0), blueprint.build("update", 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in moved.parameters():
            if parameter.requires_grad and not nn.parameter.is_lazy(parameter):
                # far enough to cross whatever bounds it keeps
                parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter.dtype), alpha=3.0)
    return _once(plain) | _once(moved)


def _once(model: Model) -> Trial:
    """Call the method once, and compare what the model holds then with what it held before."""
    before, held = Contents(model), dict(model.named_parameters())
    constants, digest = before.constants(model), before.digest()
    with seeded("update"):
        states = generator_states()
        after_update(model)
        drawn = tuple(name for name, state in generator_states().items() if states[name] != state)
    replaced = tuple(name for name, p in model.named_parameters() if held.get(name) is not p)
    paths = changed(digest, Contents(model).digest())
    rest = [path for path in paths if path not in held or not held[path].requires_grad]
    return Trial(
        replaced,
        tensors=tuple(path for path in rest if path in constants),
        others=tuple(path for path in rest if path not in constants),
        random=drawn,
    )
