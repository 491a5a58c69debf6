"""Cells in layers: torch's own stacks in a plain loop, weights that keep their names, sizes, and odd widths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cellbench
from cellbench.cells.lstm import lstm
from cellbench.engines import Refused
from cellbench.errors import CellbenchError, CellError
from cellbench.model import Blueprint, Model, measure
from cellbench.model.sizes import NothingFits, largest_fitting
from tests.helpers.oracle import ENGINES, blueprint, data, plain_loop, started


def gru_cell(input_size: int, hidden_size: int) -> cellbench.TorchCell:
    return cellbench.TorchCell(nn.GRUCell(input_size, hidden_size))


def lstm_cell(input_size: int, hidden_size: int) -> cellbench.TorchCell:
    return cellbench.TorchCell(nn.LSTMCell(input_size, hidden_size))


def rnn_cell(input_size: int, hidden_size: int) -> cellbench.TorchCell:
    return cellbench.TorchCell(nn.RNNCell(input_size, hidden_size))


CELLS: dict[str, tuple[Callable[..., nn.Module], type[nn.RNNBase]]] = {
    "rnn": (rnn_cell, nn.RNN), "lstm": (lstm_cell, nn.LSTM), "gru": (gru_cell, nn.GRU),
}  # fmt: skip


class OfTorch(nn.Module):
    """torch's own layers with a linear readout, at the weights of a model, and at its learnt initial state if any."""

    def __init__(self, kind: type[nn.RNNBase], model: Model, layers: int) -> None:
        super().__init__()
        hidden = model.readout.in_features
        self.rnn = kind(2, hidden, num_layers=layers)  # type: ignore[call-arg, arg-type]
        self.readout = nn.Linear(hidden, 1)  # type: ignore[arg-type]
        self.readout.load_state_dict(model.readout.state_dict())
        cells = model.cell.layers if layers > 1 else [model.cell]
        with torch.no_grad():
            for number, cell in enumerate(cells):
                for name, weight in cell.module.named_parameters():
                    getattr(self.rnn, f"{name}_l{number}").copy_(weight)
        self.initial = None if model.initial is None else nn.ParameterList(p.detach().clone() for p in model.initial)

    def forward(self, x: Tensor) -> Tensor:
        if self.initial is None:
            return self.readout(self.rnn(x)[0])
        # of each layer in turn h, and for an LSTM c
        states = [p.expand(x.shape[1], -1) for p in self.initial]
        each = 2 if isinstance(self.rnn, nn.LSTM) else 1
        parts = tuple(torch.stack(states[part::each]) for part in range(each))
        return self.readout(self.rnn(x, parts if each == 2 else parts[0])[0])


BY_TORCH_AND_LANES = [*ENGINES[1:], pytest.param("lanes", marks=pytest.mark.slow)]
DEPTHS = [("lstm", 2, True), ("gru", 2, False), ("gru", 3, True), ("lstm", 2, False)]


@pytest.mark.parametrize("engine", BY_TORCH_AND_LANES)
@pytest.mark.parametrize(
    ("name", "layers", "learnt"), [DEPTHS[0], *(pytest.param(*depth, marks=pytest.mark.slow) for depth in DEPTHS[1:])]
)
def test_layers_are_torchs(engine: str, name: str, layers: int, learnt: bool) -> None:
    """Two seeds at equal weights lose what `nn.LSTM(num_layers=2)` and its like lose in a plain loop, to 1e-6."""
    cell, kind = CELLS[name]
    plan, given = blueprint(cell, layers=layers, learn_initial_state=learnt), data(steps=30)
    replicas = started(engine, plan, 2)
    assert not isinstance(replicas, Refused)
    found = replicas.advance(*given, np.zeros(2, np.int64)).losses
    for seed in range(2):
        wanted = plain_loop(OfTorch(kind, plan.build("oracle", seed), layers), given)
        np.testing.assert_allclose(found[seed], wanted, atol=1e-6)


def test_a_layer_keeps_its_weights() -> None:
    """The first layer and the readout are as alone, each further layer as in a deeper stack; no two are alike."""
    one, two, three = (blueprint(lstm, layers=n).build(("bits", 8), 3) for n in (1, 2, 3))
    weights = [layer.state_dict() for layer in three.cell.layers]
    for model, layers in ((one, [one.cell]), (two, two.cell.layers), (three, three.cell.layers)):
        for layer, wanted in zip(layers, weights, strict=False):
            assert all(torch.equal(layer.state_dict()[name], value) for name, value in wanted.items())
        assert torch.equal(model.readout.weight, three.readout.weight)
    second, third = weights[1:]
    assert not any(torch.equal(second[name], third[name]) for name in second if second[name].unique().numel() > 2)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_sizes_are_those_of_torch(name: str, layers: int) -> None:
    """Parameters are those that torch counts, states and products those of each layer."""
    cell, kind = CELLS[name]
    model = blueprint(cell, layers=layers, learn_initial_state=True).build("p", 0)
    found, states = measure(model, 2), layers * 6 * (2 if name == "lstm" else 1)
    assert found.parameters == sum(p.numel() for p in OfTorch(kind, model, layers).parameters())
    assert found.state == states
    alone = measure(blueprint(cell).build("p", 0), 2)
    inner = measure(Blueprint(cell, name, (), 6, 6, 1).build("p", 0), 6)
    assert found.multiply_adds - alone.multiply_adds == (layers - 1) * (inner.multiply_adds - 6)


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_a_budget_holds_for_all_layers(layers: int) -> None:
    """The largest hidden size that fits is that of the whole stack: one unit more is too many."""
    hidden, found = largest_fitting(lambda h: blueprint(lstm_cell, h, layers=layers), 2000)

    def of_torch(h: int) -> int:
        return sum(p.numel() for p in (*nn.LSTM(2, h, num_layers=layers).parameters(), *nn.Linear(h, 1).parameters()))

    assert found.parameters == of_torch(hidden) <= 2000 < of_torch(hidden + 1)
    with pytest.raises(NothingFits, match="the smallest has"):
        largest_fitting(lambda h: blueprint(lstm_cell, h, layers=layers), 10)


class Wide(nn.Module):
    """It says nothing of its width: twice the units come out."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.gru = nn.GRUCell(input_size, hidden_size)

    def initial_state(self, batch_size: int) -> dict[str, Tensor]:
        return {"h": torch.zeros(batch_size, self.gru.hidden_size)}

    def forward(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        h = self.gru(x, state["h"])
        return torch.cat([h, -h], 1), {"h": h}


@pytest.mark.parametrize("engine", BY_TORCH_AND_LANES)
def test_a_layer_reads_what_the_one_below_gives(engine: str) -> None:
    """However wide that is; its engines agree on it."""
    plan, given = blueprint(Wide, layers=3), data()
    model = plan.build("oracle", 0)
    assert [layer.gru.input_size for layer in model.cell.layers] == [2, 12, 12]
    replicas = started(engine, plan, 1)
    assert not isinstance(replicas, Refused)
    found = replicas.advance(*given, np.zeros(1, np.int64)).losses[0]
    np.testing.assert_allclose(found, plain_loop(model, given), atol=1e-6)


def test_a_cell_that_cannot_be_stacked() -> None:
    """One that takes two inputs alone: the message says which layer, and of what size its input is."""

    def two_inputs(input_size: int, hidden_size: int) -> nn.Module:
        if input_size != 2:
            raise ValueError("needs 2 inputs")
        return gru_cell(input_size, hidden_size)

    with pytest.raises(CellError, match=r"making the cell of layer 2 with input_size=6.*ValueError: needs 2 inputs"):
        blueprint(two_inputs, layers=2).build("p", 0)


def test_train_takes_layers() -> None:
    """`cellbench.train` makes the same stack, and its result says so."""
    keys: dict[str, Any] = {"hidden_size": 4, "steps": 10, "bits": 4}
    trained = cellbench.train("gru", layers=2, **keys)
    assert repr(trained).startswith("<Trained TorchCell on TorchCell at bits 4: loss")
    assert trained.model(torch.zeros(7, 5, 2)).shape == (7, 5, 1)
    assert trained.curve != cellbench.train("gru", **keys).curve
    with pytest.raises(CellbenchError, match="layers=0: must be a whole number from 1 to 100"):
        cellbench.train("gru", layers=0, **keys)
