"""The model of any cell: its lengths and batches, its initial weights and state, and a factory that is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from cellbench.cells.gru import gru
from cellbench.cells.lstm import lstm
from cellbench.cells.rnn import rnn
from cellbench.errors import CellError
from cellbench.model import Blueprint
from tests.helpers import awkward
from tests.helpers import cells as odd


def blueprint(factory: Any, hidden: int = 5, options: tuple[tuple[str, Any], ...] = (), **keys: Any) -> Blueprint:
    return Blueprint(factory, getattr(factory, "__name__", "x"), options, 2, hidden, 1, **keys)


@pytest.mark.parametrize("factory", [rnn, lstm, gru, odd.DictState])
@pytest.mark.parametrize("keys", [{}, {"learn_initial_state": True}, {"readout_hidden": 3}])
def test_any_length_and_batch(factory: Any, keys: dict[str, Any]) -> None:
    """Steps and batch size are those of the input; one model runs at all of them, examples apart."""
    model = blueprint(factory, **keys).build("p", 0)
    x = torch.randn(12, 5, 2, generator=torch.Generator().manual_seed(1))
    whole = model(x)
    assert whole.shape == (12, 5, 1)
    torch.testing.assert_close(model(x[:4, 2:3]), whole[:4, 2:3])


def test_initial_weights_depend_on_their_name_alone() -> None:
    """The same factory, options, point and seed give the same weights; others give others; globals stay."""
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    plan = blueprint(lstm)
    first = plan.build(("bits", 8), 0)
    torch.manual_seed(99)
    again = plan.build(("bits", 8), 0)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    for other in (plan.build(("bits", 8), 1), plan.build(("bits", 9), 0)):
        assert not torch.equal(next(first.parameters()), next(other.parameters()))
    torch.manual_seed(5)
    plan.build("x", 3)
    assert torch.equal(before, torch.random.get_rng_state())


def test_learnt_initial_state_is_one_copy() -> None:
    """A learnt initial state is tiled along the batch, starts where the cell's does, and gets gradients."""
    model = blueprint(lstm, learn_initial_state=True).build("p", 0)
    assert model.initial is not None
    assert [tuple(p.shape) for p in model.initial] == [(1, 5), (1, 5)]
    model(torch.ones(3, 4, 2)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.initial)


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        (lambda i, h: 3, "returned int, not a torch.nn.Module"),
        (lambda i, h: nn.Linear(i, h), r"has no initial_state\(batch_size\)"),
        (lambda i, h, x: None, "raised TypeError"),
    ],
)
def test_a_factory_that_breaks_the_contract_is_named(factory: Any, said: str) -> None:
    """What a factory returns is checked, and the message says what to do."""
    with pytest.raises(CellError, match=said):
        Blueprint(factory, "my.module:Mine", (), 2, 3, 1).build("p")


def test_a_module_that_says_nothing_about_itself() -> None:
    """Its outputs are counted, on another one: the cell itself has run no step, and the weights of its name."""
    plan = blueprint(awkward.Bare)
    model = plan.build("p", 0)
    assert (model.readout.in_features, model(torch.zeros(4, 3, 2)).shape) == (10, (4, 3, 1))
    assert torch.equal(plan.build("p", 0).cell.gates.weight, model.cell.gates.weight)
