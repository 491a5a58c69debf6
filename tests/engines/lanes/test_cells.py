"""Cells unlike an LSTM: lanes carries them and equals the reference, or refuses them and names the cause."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cellbench.cell import Cell
from cellbench.engines import OPTIMIZERS, Refused, reference
from cellbench.engines.lanes import prepare
from cellbench.errors import CellError
from tests.helpers import lane_cells as odd
from tests.helpers.lanes import addition, blueprint, losses

QUICK = (odd.RandomMask, odd.FastWeights, odd.OwnInitialState, odd.Orthogonalish, odd.Pieces, odd.NewStateAdded)
"""Those of the odd cells that plain `pytest` compiles."""
QUICK_WRONG = (odd.BatchMean, odd.Squeezed)


def slow_unless(quick: tuple[Any, ...], cells: Any) -> list[Any]:
    return [pytest.param(c, id=c.__name__, marks=[] if c in quick else [pytest.mark.slow]) for c in cells]


@pytest.mark.parametrize("cell", slow_unless(QUICK, odd.CARRIED))
def test_an_odd_cell_is_carried_and_equals_the_reference(cell: type[Cell]) -> None:
    plan = blueprint(cell)
    data = addition(1, 40, batch=9)
    assert np.abs(losses("lanes", plan, data) - losses("reference", plan, data)).max() < 5e-6


def test_buffers_are_each_replicas_own() -> None:
    """Replicas whose masks differ, in one stack, each equal to itself alone."""
    plan = blueprint(odd.RandomMask)
    ready = prepare(plan, optimizer=OPTIMIZERS["adam"], clip_norm=1.0)
    x, y = addition(1, 5)
    models = [plan.build("test", s) for s in range(3)]
    assert not torch.equal(models[0].cell.mask, models[1].cell.mask)
    together = ready.begin(models, [0.01] * 3)
    both = together.advance(x, y, np.zeros(3, np.int64)).losses
    for row, model in enumerate(models):
        alone = ready.begin([model], [0.01]).advance(x, y, np.zeros(1, np.int64)).losses
        assert np.array_equal(alone[0], both[row])
    assert not np.array_equal(both[0], both[1])


@pytest.mark.parametrize("cell", odd.REFUSED_EARLY, ids=lambda cell: cell.__name__)
def test_a_cell_is_refused_with_its_cause(cell: type[Cell]) -> None:
    with pytest.raises(Refused) as refusal:
        prepare(blueprint(cell), optimizer=OPTIMIZERS["adam"], clip_norm=1.0)
    # the line's number is left out
    assert odd.REFUSED_EARLY[cell] in re.sub(r"(lane_cells\.py:)\d+: ", r"\1", str(refusal.value))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("cell", slow_unless(QUICK_WRONG, odd.REFUSED_BY_PROOF))
def test_a_cell_that_would_be_wrong_fails_its_proof(cell: type[Cell]) -> None:
    """And goes on to fail it when its refusal comes from the cache."""
    for _ in range(2):
        with pytest.raises(
            Refused, match=r"the examples of a batch change one another's outputs.*compiled gradient differs"
        ):
            prepare(blueprint(cell), optimizer=OPTIMIZERS["adam"], clip_norm=1.0)


def test_a_factory_that_makes_no_module_is_the_cells_fault() -> None:
    with pytest.raises(CellError, match=r"not a torch\.nn\.Module"):
        prepare(blueprint(dict_factory), optimizer=OPTIMIZERS["adam"], clip_norm=1.0)


def dict_factory(input_size: int, hidden_size: int) -> dict[str, int]:
    return {"input": input_size, "hidden": hidden_size}


class TorchRecurrent(Cell):
    """A cell of torchrecurrent, whose state is one tensor or several."""

    def __init__(self, module: nn.Module, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.module = module
        with torch.no_grad():
            state = module(torch.zeros(1, input_size))
        self.several = isinstance(state, tuple | list)
        self.widths = [leaf.shape[-1] for leaf in (state if self.several else [state])]
        self.output_size = self.widths[0]

    def initial_state(self, batch_size: int) -> Any:
        leaves = tuple(torch.zeros(batch_size, width) for width in self.widths)
        return leaves if self.several else leaves[0]

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        state = self.module(x, state)
        return (state[0], tuple(state)) if self.several else (state, state)


NOT_MADE = {"IntersectionRNNCell", "MCLSTMCell", "TLSTMCell"}
"""Cells of torchrecurrent that do not take (input_size, hidden_size) with two inputs."""
CHAOTIC = {"AntisymmetricRNNCell": 0.1, "GatedAntisymmetricRNNCell": 1e-3}
"""Where float32 itself leaves float64 within 30 steps at this learning rate."""


def torchrecurrent_names() -> list[str]:
    try:
        import torchrecurrent
    except ImportError:
        return []
    return [name for name in dir(torchrecurrent) if name.endswith("Cell") and name not in NOT_MADE]


@pytest.mark.slow
@pytest.mark.parametrize("name", torchrecurrent_names())
def test_a_cell_of_torchrecurrent_equals_the_reference(name: str) -> None:
    import torchrecurrent

    def factory(input_size: int, hidden_size: int) -> Cell:
        return TorchRecurrent(getattr(torchrecurrent, name)(input_size, hidden_size), input_size, hidden_size)

    plan = blueprint(factory, 20)
    data = addition(1, 30, bits=8, batch=16)
    difference = np.abs(losses("lanes", plan, data) - losses("reference", plan, data)).max()
    assert difference < CHAOTIC.get(name, 5e-6)


def test_the_reference_carries_what_lanes_refuses() -> None:
    """A refusal is no dead end."""
    plan = blueprint(odd.Dropped)
    assert reference.prepare(plan, optimizer=OPTIMIZERS["adam"], clip_norm=1.0).name == "reference"
