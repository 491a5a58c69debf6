"""What a cell is written against."""

from __future__ import annotations

import pytest
from torch import nn

from cellbench import TorchCell


def test_torch_cell_finds_the_number_of_states() -> None:
    """TorchCell tells h from (h, c), and says what it tried when neither fits."""
    assert TorchCell(nn.GRUCell(2, 3)).states == 1
    assert TorchCell(nn.LSTMCell(2, 3)).states == 2
    linear = nn.Linear(2, 3)
    linear.input_size, linear.hidden_size = 2, 3  # type: ignore[assignment]
    with pytest.raises(TypeError, match=r"neither h nor \(h, c\)"):
        TorchCell(linear)
