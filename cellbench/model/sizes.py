"""The size of a cell: measured at a hidden size, or the largest hidden size that fits a budget of parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import flop_registry

from cellbench.errors import CellError
from cellbench.model.blueprint import Blueprint
from cellbench.model.fused import spelt_out
from cellbench.model.layers import takes_sequences
from cellbench.model.model import Model, evaluating
from cellbench.model.modes import DispatchMode
from cellbench.model.randomness import seeded
from cellbench.plugins import contained, kept

LARGEST = 4096
"""No larger hidden size is tried."""


class NothingFits(CellError):
    """No hidden size fits the budget."""


def largest_fitting(make: Callable[[int], Blueprint], budget: int) -> tuple[int, Sizes]:
    """Find the largest hidden size that fits a budget of parameters, readout and learnt initial state included.

    A cell that cannot be made at some hidden sizes (one that needs an even number, say) is tried at smaller ones.

    Args:
        make: hidden size -> blueprint.
        budget: the most parameters.

    Returns:
        The hidden size, and the sizes measured there.

    Raises:
        NothingFits: no hidden size fits.
        CellError: the cell cannot be made at all.
    """
    known: dict[int, Sizes | None] = {}

    def at(hidden: int) -> Sizes | None:
        if hidden not in known:
            try:
                known[hidden] = measured(make(hidden))
            except CellError:
                known[hidden] = None
        return known[hidden]

    def fits(hidden: int) -> bool:
        """Return whether a hidden size fits, judged by the nearest one, not above it, at which the cell can be made."""
        for near in range(hidden, max(0, hidden - 8), -1):
            sizes = at(near)
            if sizes is not None:
                return sizes.parameters <= budget
        return True

    # double until it no longer fits, then halve the gap: low fits, high does not
    low, high = 0, 1
    while high <= LARGEST and fits(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    # low fits by its neighbour, perhaps; the answer must be a hidden size at which the cell was made
    for hidden in range(low, max(0, low - 8), -1):
        sizes = at(hidden)
        if sizes is not None and sizes.parameters <= budget:
            return hidden, sizes
    least = next((s.parameters for h in range(1, 9) if (s := at(h)) is not None), None)
    if least is None:
        measured(make(1))  # raises the cell's own error
    raise NothingFits(f"no hidden size fits {budget} parameters; the smallest has {least}")


def measured(blueprint: Blueprint) -> Sizes:
    """Measure the model at the blueprint's own hidden size.

    Raises:
        CellError: the cell cannot be made, or its first step raises.
    """
    model = blueprint.build("size")
    try:
        with contained(), kept(blueprint.origin):
            return measure(model, blueprint.input_size)
    except Exception as error:
        raise CellError(
            f"{blueprint.origin}: one step at batch 1 with hidden_size={blueprint.hidden_size} raised "
            f"{type(error).__name__}: {error}"
        ) from error


@dataclass(frozen=True)
class Sizes:
    """How large a model is; measured from its tensors, never taken from a declaration.

    Attributes:
        parameters: how many numbers are trained, readout and learnt initial state included.
        state: how many numbers the state of one example has.
        multiply_adds: multiply-adds in one time step of one example, readout included: those of matrix products, and
            one per element of an elementwise product.
    """

    parameters: int
    state: int
    multiply_adds: int


_ELEMENTWISE_PRODUCTS = {"mul", "addcmul", "lerp", "div"}


class _Counter(DispatchMode):  # type: ignore[no-untyped-call]
    """Counts the multiply-adds of all operations that run within it."""

    def __init__(self) -> None:
        super().__init__()
        self.multiply_adds = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        if packet in flop_registry:
            # torch counts a multiply-add as two operations
            self.multiply_adds += flop_registry[packet](*args, **(kwargs or {}), out_val=out) // 2
        elif packet.__name__.rstrip("_") in _ELEMENTWISE_PRODUCTS and isinstance(out, Tensor):
            self.multiply_adds += out.numel()
        return out


def measure(model: Model, input_size: int) -> Sizes:
    """Measure a model by one step at batch 1, or, if its cell takes whole sequences, by a few of them.

    It is in `eval()` mode, because statistics over a batch of one cannot be trained.
    """
    with torch.no_grad(), evaluating(model), seeded("size"):
        state = model.initial_state(1)
        if takes_sequences(model.cell):
            # torch's fused LSTM shows no products; what a longer sequence takes more, its steps take
            with spelt_out(torch._VF.lstm):
                short, long = (_counted(model, torch.zeros(steps, 1, input_size)) for steps in (4, 8))
            multiply_adds = (long - short) // 4
        else:
            multiply_adds = _counted(lambda x: model.step(x, state), torch.zeros(1, input_size))
    return Sizes(
        parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        state=sum(leaf.numel() for leaf in pytree.tree_leaves(state) if isinstance(leaf, Tensor)),
        multiply_adds=multiply_adds,
    )


def _counted(run: Callable[[Tensor], object], inputs: Tensor) -> int:
    """Count the multiply-adds of a call."""
    with _Counter() as counter:
        run(inputs)
    found: int = counter.multiply_adds
    return found
