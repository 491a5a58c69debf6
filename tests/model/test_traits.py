"""What a cell does is measured: each trait on cells that have it, and none on the built-in cells."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cellbench.cells.gru import gru
from cellbench.cells.lstm import lstm
from cellbench.cells.rnn import rnn
from cellbench.model import Traits, traits_of
from tests.helpers import awkward
from tests.helpers.oracle import blueprint


@pytest.mark.parametrize("factory", [rnn, lstm, gru, awkward.Plain, awkward.weight_norm, awkward.scripted])
def test_the_ordinary_have_none(factory: Any) -> None:
    """Parameters and arithmetic, however they are computed."""
    assert traits_of(blueprint(factory)) == Traits()


@pytest.mark.parametrize(
    ("factory", "trait", "where"),
    [
        (awkward.Reservoir, "frozen", "cell.u"),
        (awkward.frozen_afterwards, "frozen", "cell.i.weight"),
        (awkward.Buffers, "own", "cell.w"),
        (awkward.Attributes, "own", "cell.u"),
        (awkward.Nested, "own", "cell.all[0]['w'][0]"),
        (awkward.Nested, "own", "cell.inner.u"),
        (awkward.Permuted, "own", "cell.order"),
        (awkward.Closure, "own", "cell.act.shift"),
        (awkward.Listed, "own", "cell.own['shift']"),
        (awkward.DrawnNumber, "drawn", "cell.leak"),
        (awkward.DrawnArray, "drawn", "cell.shift"),
        (awkward.Normed, "keeps", "cell.norm.running_var"),
        (awkward.spectral, "keeps", "cell.h.parametrizations.weight.0._u"),
        (awkward.Centred, "keeps", "cell.mean"),
        (awkward.Annealed, "keeps", "cell.calls"),
        (awkward.OwnGenerator, "keeps", "cell.generator"),
        (awkward.Dropped, "random", "torch's"),
        (awkward.ZonedOut, "random", "Python's"),
        (awkward.Noisy, "random", "numpy's"),
        (awkward.Gumbel, "random", "torch's"),
        (awkward.Apart, "hooks", "cell.h.weight"),
        (awkward.ModuleHook, "module_hooks", "cell.act"),
        (awkward.AfterAccumulation, "late_hooks", "cell.h.weight"),
        (awkward.Seen, "views", "cell.turned"),
    ],
)
def test_each_is_found_by_name(factory: Any, trait: str, where: str) -> None:
    """The tensor, the attribute or the generator concerned."""
    assert where in getattr(traits_of(blueprint(factory)), trait)


def test_training_and_evaluation_are_told_apart() -> None:
    """With and without randomness; and at weights that hide the difference at first."""

    class Hidden(awkward.Plain):
        """A factor of zero hides what differs."""

        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__(input_size, hidden_size)
            self.scale = torch.nn.Parameter(torch.zeros(hidden_size))

        def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            h = torch.tanh(self.i(x) + self.scale * (self.h(h) + float(self.training)))
            return h, h

    for factory in (awkward.Scaled, awkward.Dropped, awkward.Normed, Hidden):
        assert traits_of(blueprint(factory)).modes, factory
    for factory in (awkward.Plain, awkward.Gumbel, awkward.Buffers):
        assert not traits_of(blueprint(factory)).modes, factory


SHARED = torch.Generator().manual_seed(0)


class Outside(awkward.Plain):
    """Noise of a generator that belongs to the module, and so to all replicas of a process."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.i(x) + self.h(h) + 0.1 * torch.randn(len(h), self.hidden_size, generator=SHARED))
        return h, h


def test_what_no_seed_determines_is_found() -> None:
    """Two equal models give other outputs: only those that draw from what no replica owns."""
    assert traits_of(blueprint(Outside)).unrepeatable
    for factory in (*awkward.RANDOM, *awkward.CHANGING, *awkward.LATE):
        assert not traits_of(blueprint(factory)).unrepeatable, factory
