"""Sizes: counted from tensors, and the largest hidden size within a budget."""

from __future__ import annotations

from typing import Any

import pytest

from cellbench import Cell
from cellbench.cells.gru import gru
from cellbench.cells.lstm import lstm
from cellbench.cells.rnn import rnn
from cellbench.errors import CellError
from cellbench.model import Blueprint, measure
from cellbench.model.sizes import largest_fitting


def blueprint(factory: Any, hidden: int = 5, **keys: Any) -> Blueprint:
    return Blueprint(factory, getattr(factory, "__name__", "x"), (), 2, hidden, 1, **keys)


def test_sizes_are_measured() -> None:
    """Parameters, state and multiply-adds are counted from tensors, as one counts them by hand."""
    sizes = measure(blueprint(lstm, 20).build("p", 0), 2)
    assert sizes.parameters == 4 * 20 * (2 + 20 + 2) + 21
    assert sizes.state == 40
    assert sizes.multiply_adds == 80 * 22 + 3 * 20 + 20
    layered = measure(blueprint(rnn, 20, readout_hidden=7, learn_initial_state=True).build("p", 0), 2)
    assert layered.parameters == 20 * (2 + 20 + 2) + 20 + 21 * 7 + 8
    assert layered.state == 20


@pytest.mark.parametrize("factory", [rnn, lstm, gru])
def test_a_budget_takes_the_largest_that_fits(factory: Any) -> None:
    """The hidden size for a budget fits, and one more unit does not; too small a budget is refused."""
    for budget in (150, 2000):
        hidden, sizes = largest_fitting(lambda h: blueprint(factory, h), budget)
        assert sizes.parameters <= budget < measure(blueprint(factory, hidden + 1).build("p"), 2).parameters
    with pytest.raises(CellError, match="no hidden size fits 3 parameters; the smallest has"):
        largest_fitting(lambda h: blueprint(factory, h), 3)


def test_a_budget_with_a_cell_of_even_sizes() -> None:
    """A cell that can be made at even sizes only gets the largest even one that fits."""

    def even(input_size: int, hidden_size: int) -> Cell:
        if hidden_size % 2:
            raise ValueError("even sizes only")
        return rnn(input_size, hidden_size)

    hidden, sizes = largest_fitting(lambda h: blueprint(even, h), 500)
    assert hidden % 2 == 0
    assert sizes.parameters <= 500 < measure(blueprint(rnn, hidden + 2).build("p"), 2).parameters
