"""The built-in cells: torch's own, and what is added to them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from cellbench.cells.gru import gru
from cellbench.cells.lstm import lstm
from cellbench.cells.rnn import rnn
from cellbench.errors import CellError
from cellbench.model import Blueprint, Model


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


def test_forget_bias() -> None:
    """The option sets the forget gate's whole bias and nothing else."""
    plain, biased = (Blueprint(lstm, "lstm", o, 2, 4, 1).build("p", 0) for o in ((), (("forget_bias", 1.0),)))
    cell = biased.cell.module  # type: ignore[union-attr]
    assert (cell.bias_ih + cell.bias_hh)[4:8].tolist() == [1.0] * 4  # type: ignore[operator]
    with pytest.raises(CellError, match="forget_bias needs bias: true"):
        Blueprint(lstm, "lstm", (("bias", False), ("forget_bias", 1.0)), 2, 4, 1).build("p", 0)
    assert isinstance(plain, Model)
