"""Memory outside the state is found at whatever step it shows, forward or backward."""

from __future__ import annotations

from typing import Any

import pytest

from cellbench.cells.gru import gru
from cellbench.cells.lstm import lstm
from cellbench.engines import Refused
from cellbench.engines.lanes.graph.steady import MOST_CHANGING, refuse_memory
from tests.helpers import awkward
from tests.helpers.oracle import blueprint

FIRST = {awkward.Clockwork: 9, awkward.Delayed: 11, awkward.Fading: 4, awkward.LateHook: 12}
"""The step at which each of them first shows."""


@pytest.mark.parametrize("factory", awkward.LATE)
def test_memory_is_found_where_it_shows(factory: Any) -> None:
    """A sequence that is one step shorter passes, if it has five: the cell cannot be told from one without memory."""
    first = FIRST[factory]
    if first > 5:
        refuse_memory(blueprint(factory).build(0), 2, first - 1)
    for longest in (first, first + 30):
        with pytest.raises(Refused, match="hidden memory"):
            refuse_memory(blueprint(factory).build(0), 2, longest)


@pytest.mark.parametrize("factory", [gru, lstm, awkward.Plain, awkward.Buffers, awkward.weight_norm_of_old])
def test_sound_cells_have_none(factory: Any) -> None:
    """The built-in cells, buffers, and a weight that a hook computes anew at each step."""
    refuse_memory(blueprint(factory, learn_initial_state=True).build(0), 2, 40)


class Handed(awkward.Plain):
    """Hands its state to a part of itself by an attribute, and caches what depends on its weights alone."""

    def initial_state(self, batch_size: int) -> Any:
        self.cached: Any = None
        return super().initial_state(batch_size)

    def forward(self, x: Any, h: Any) -> Any:
        self.handed = h
        if self.cached is None:
            self.cached = self.h.weight.T * 0.5
        h = (self.i(x) + self.handed @ self.cached).tanh()
        self.last = h
        return h, h


def test_attributes_that_carry_nothing_are_no_memory() -> None:
    """What is written before it is read, or depends on parameters alone, may be kept anywhere."""
    refuse_memory(blueprint(Handed).build(0), 2, 40)


def test_a_sequence_longer_than_can_be_looked_at() -> None:
    """A cell with a clock is refused there, though nothing shows; one without passes."""
    longest = MOST_CHANGING + 1
    with pytest.raises(Refused, match=r"hidden memory: cell\.t changes from step to step"):
        refuse_memory(blueprint(awkward.clock(10**9)).build(0), 2, longest)
    refuse_memory(blueprint(awkward.Plain).build(0), 2, longest)
