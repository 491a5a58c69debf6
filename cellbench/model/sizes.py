"""The size of a cell: measured at a hidden size, or the largest hidden size that fits a budget of parameters."""

from __future__ import annotations

from collections.abc import Callable

from cellbench.errors import CellError
from cellbench.model.model import Blueprint, Sizes, measure
from cellbench.plugins.contained import contained

LARGEST = 4096


class NothingFits(CellError):
    """No hidden size fits the budget."""


def largest_fitting(make: Callable[[int], Blueprint], budget: int) -> tuple[int, Sizes]:
    """The largest hidden size whose parameters, readout and learnt initial state included, fit the budget.

    A cell that cannot be made at some hidden sizes (one that needs an even number, say) is tried at its neighbours.

    Args:
        make: hidden size -> blueprint.
        budget: the most parameters.

    Raises:
        NothingFits: none does.
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
        """Whether this hidden size fits, judged by the next one below it at which the cell can be made."""
        for near in range(hidden, max(0, hidden - 8), -1):
            sizes = at(near)
            if sizes is not None:
                return sizes.parameters <= budget
        return True

    low, high = 0, 1
    while high <= LARGEST and fits(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    for hidden in range(low, max(0, low - 8), -1):
        sizes = at(hidden)
        if sizes is not None and sizes.parameters <= budget:
            return hidden, sizes
    least = next((s.parameters for h in range(1, 9) if (s := at(h)) is not None), None)
    if least is None:
        measured(make(1))  # raises what the cell itself says
    raise NothingFits(f"no hidden size fits {budget} parameters; the smallest has {least}")


def measured(blueprint: Blueprint) -> Sizes:
    """Sizes at the blueprint's own hidden size.

    Raises:
        CellError: the cell cannot be made, or its first step raises.
    """
    model = blueprint.build("size")
    try:
        with contained():
            return measure(model, blueprint.input_size)
    except Exception as error:
        raise CellError(
            f"{blueprint.origin}: one step at batch 1 with hidden_size={blueprint.hidden_size} raised "
            f"{type(error).__name__}: {error}"
        ) from error
