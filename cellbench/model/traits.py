"""What a cell does that an engine must know of before it trains it: measured on models, never taken from a declaration.

Two models of different seeds and two of the same seed are made and run for a few steps, in `train()` and in `eval()`
mode, with their own weights and with moved ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cellbench.model.blueprint import Blueprint
from cellbench.model.contents import Contents, changed
from cellbench.model.model import Model, evaluating
from cellbench.model.once import once
from cellbench.model.randomness import generator_states, seeded

STEPS, BATCH = 4, 3
"""Time steps and examples of a run."""


@dataclass(frozen=True)
class Traits:
    """What was found; each field names the tensors, attributes or generators concerned, and is empty if there are none.

    Attributes:
        frozen: parameters that are not trained.
        own: buffers and other tensors, trained parameters apart, that differ between two seeds.
        drawn: other values that differ between two seeds: numbers, arrays, generators.
        keeps: what is not the same after a second, equal sequence as after the first: memory that outlives a sequence.
        random: the global generators that it draws from while it runs.
        modes: whether `train()` and `eval()` give different outputs.
        hooks: parameters with hooks on their gradients.
        module_hooks: modules with hooks on what flows back through them.
        late_hooks: parameters with hooks that run after a gradient was accumulated.
        views: tensors that lie in the memory of a trained parameter.
        elsewhere: trained parameters that the cell also keeps where torch does not look, in a dict of its own, say.
        unrepeatable: whether two equal models that run the same way give different outputs.
    """

    frozen: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    random: tuple[str, ...] = ()
    modes: bool = False
    hooks: tuple[str, ...] = ()
    module_hooks: tuple[str, ...] = ()
    late_hooks: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    unrepeatable: bool = False

    def __or__(self, other: Traits) -> Traits:
        """Unite what was found at two hidden sizes."""
        joined: dict[str, Any] = {}
        for name in self.__dataclass_fields__:
            a, b = getattr(self, name), getattr(other, name)
            joined[name] = a or b if isinstance(a, bool) else tuple(dict.fromkeys((*a, *b)))
        return Traits(**joined)


@once
def traits_of(blueprint: Blueprint) -> Traits:
    """Measure the traits of a cell at the blueprint's hidden size, once per process.

    Raises:
        CellError: the cell cannot be made.
        Exception: whatever running it raises.
    """
    one, twin, other = (blueprint.build("traits_of", seed) for seed in (0, 0, 1))
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 2, (STEPS, BATCH, blueprint.input_size), generator=generator).float()
    before, contents = Contents(other), Contents(one)
    constants, others = contents.constants(one), before.constants(other)
    differing = changed(contents.digest(), before.digest())
    # one sequence twice on the same model, and once on its twin
    first, drawn = _train(one, x)
    after_first = Contents(one).digest()
    _train(one, x)
    after_second = Contents(one)
    again, _ = _train(twin, x)
    # the twin once more in each mode, and the other model with moved weights
    trained = {name for name, p in one.named_parameters() if p.requires_grad}
    frozen = tuple(name for name, p in one.named_parameters() if not p.requires_grad)
    late = tuple(n for n, p in one.named_parameters() if getattr(p, "_post_accumulate_grad_hooks", None))
    hooked = tuple(n for n, p in one.named_parameters() if p._backward_hooks)
    modules = tuple(n for n, m in one.named_modules() if m._backward_hooks or m._backward_pre_hooks)
    return Traits(
        frozen=frozen,
        own=tuple(path for path in differing if path in constants or path in others),
        drawn=tuple(p for p in differing if p not in constants and p not in others and p not in trained),
        keeps=(*changed(after_first, after_second.digest()), *after_second.iterators),
        random=drawn,
        modes=_modes_differ(twin, x) or _modes_differ(_moved(other), x),
        hooks=hooked,
        module_hooks=modules,
        late_hooks=late,
        views=tuple(contents.views_of_trained(one)),
        elsewhere=tuple(name for name in sorted(trained) if contents.tensors[name].elsewhere),
        unrepeatable=not torch.equal(torch.nan_to_num(first), torch.nan_to_num(again)),
    )


def _train(model: Model, x: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """Run a model as training does, and return its outputs and the generators that it drew from."""
    with seeded("traits"), torch.enable_grad():
        before = generator_states()
        out = model(x).detach()
        after = generator_states()
    return out, tuple(name for name, state in before.items() if state != after[name])


def _modes_differ(model: Model, x: Tensor) -> bool:
    """Return whether a model gives other outputs in `eval()` mode than in the mode that it is trained in."""
    try:
        with torch.no_grad():
            with seeded("traits"):
                trained = model(x)
            with seeded("traits"), evaluating(model):
                evaluated = model(x)
    except Exception:
        # at weights that the cell cannot have
        return False
    return not torch.allclose(trained, evaluated, rtol=1e-4, atol=1e-6, equal_nan=True)


def _moved(model: Model) -> Model:
    """Move the weights a little, so that a factor that starts at 0 hides nothing."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and not nn.parameter.is_lazy(parameter):
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return model
