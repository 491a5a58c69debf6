"""The model and the contract of a cell."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from cellbench import Cell, TorchCell
from cellbench.cells.gru import gru
from cellbench.cells.lstm import lstm
from cellbench.cells.rnn import rnn
from cellbench.errors import CellError
from cellbench.model import Blueprint, Model, measure
from cellbench.model.sizes import largest_fitting
from tests.helpers import cells as odd


def blueprint(factory: Any, hidden: int = 5, options: tuple[tuple[str, Any], ...] = (), **keys: Any) -> Blueprint:
    return Blueprint(factory, getattr(factory, "__name__", "x"), options, 2, hidden, 1, **keys)


@pytest.mark.parametrize(("ours", "theirs"), [(rnn, nn.RNN), (lstm, nn.LSTM), (gru, nn.GRU)])
@pytest.mark.parametrize("batch", [1, 7])
def test_built_in_cells_are_torchs(ours: Any, theirs: Any, batch: int) -> None:
    """Given the same weights, a built-in cell step by step equals torch's layer over the sequence."""
    cell, layer = ours(2, 6), theirs(2, 6)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        getattr(layer, f"{name}_l0").data.copy_(getattr(cell.module, name))
    x = torch.randn(9, batch, 2, generator=torch.Generator().manual_seed(0))
    state, outputs = cell.initial_state(batch), []
    for t in x:
        output, state = cell(t, state)
        outputs.append(output)
    torch.testing.assert_close(torch.stack(outputs), layer(x)[0])


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


def test_torch_cell_finds_the_number_of_states() -> None:
    """TorchCell tells h from (h, c), and says what it tried when neither fits."""
    assert TorchCell(nn.GRUCell(2, 3)).states == 1
    assert TorchCell(nn.LSTMCell(2, 3)).states == 2
    linear = nn.Linear(2, 3)
    linear.input_size, linear.hidden_size = 2, 3  # type: ignore[assignment]
    with pytest.raises(TypeError, match=r"neither h nor \(h, c\)"):
        TorchCell(linear)


def test_forget_bias() -> None:
    """The option sets the forget gate's whole bias and nothing else."""
    plain, biased = (blueprint(lstm, 4, o).build("p", 0) for o in ((), (("forget_bias", 1.0),)))
    cell = biased.cell.module  # type: ignore[union-attr]
    assert (cell.bias_ih + cell.bias_hh)[4:8].tolist() == [1.0] * 4  # type: ignore[operator]
    with pytest.raises(CellError, match="forget_bias needs bias: true"):
        blueprint(lstm, 4, (("bias", False), ("forget_bias", 1.0))).build("p", 0)
    assert isinstance(plain, Model)


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
