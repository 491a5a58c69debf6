"""A replica of a stack has the same bits wherever it stands: matrices of odd sizes begin at odd places in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cellbench.cells.gru import gru
from cellbench.cells.lstm import lstm
from cellbench.cells.rnn import rnn
from cellbench.engines import OPTIMIZERS, prepare
from cellbench.engines.alignment import Aligned
from tests.helpers.oracle import blueprint, data

ODD = [(gru, 5, 8, 2), (gru, 7, 5, 1), (lstm, 5, 3, 2), (lstm, 9, 7, 1), (rnn, 9, 6, 2), (rnn, 13, 5, 1)]


@pytest.mark.parametrize(
    ("cell", "hidden", "batch", "layers"), [ODD[0], *(pytest.param(*each, marks=pytest.mark.slow) for each in ODD[1:])]
)
def test_bits_do_not_depend_on_the_place(cell: Any, hidden: int, batch: int, layers: int) -> None:
    """Twelve replicas with the weights of one seed lose the same, to the bit, in training and in evaluation."""
    plan = blueprint(cell, hidden, layers=layers)
    x, y = data(steps=40, time=3, batch=batch)
    replicas = prepare("stack", plan, OPTIMIZERS["adam"], 1.0, (batch,)).begin(
        [plan.build("place", 0) for _ in range(12)], [0.1] * 12
    )
    which = np.zeros(12, np.int64)
    losses = replicas.advance(x, y, which).losses
    scores = replicas.evaluate(x[:, 0], y[:, 0], which)
    assert all(np.array_equal(row, losses[0]) for row in losses)
    assert (scores.loss == scores.loss[0]).all()
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("shape", [(5, 8, 10), (8, 8, 16), (5, 7, 4)])
def test_products_are_torchs(shape: tuple[int, int, int]) -> None:
    """Aligned or not, it is the product, of transposed matrices too."""
    m, k, n = shape
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(32, k, m, generator=generator).transpose(1, 2), torch.randn(32, k, n, generator=generator)
    with Aligned():
        found = torch.bmm(a, b)
    assert found.is_contiguous()
    torch.testing.assert_close(found, torch.stack([left @ right for left, right in zip(a, b, strict=True)]))
