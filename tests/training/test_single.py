"""`cellbench.train`: one trained model in hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import cellbench
from cellbench import CellbenchError, TorchCell


def test_one_model_is_the_experiments_replica() -> None:
    """The curve of `train` is that of the same replica in an experiment on the reference engine, number for number."""
    experiment = {
        "name": "x", "cells": ["gru"], "engine": "reference", "seeds": [3], "learning_rate": 0.02,
        "grid": {"bits": 5, "batch_size": 4, "hidden_size": 6}, "train": {"max_steps": 40},
        "evaluate": {"examples": 50}, "final": {"examples": 10, "bits": [], "difficulty": False},
    }  # fmt: skip
    curves = cellbench.run(experiment, "out").curves
    one = cellbench.train(
        "gru", hidden_size=6, batch_size=4, steps=40, learning_rate=0.02, seed=3, examples=50, bits=5
    )  # fmt: skip
    assert [(p.step, p.loss, p.bit_accuracy, p.sequence_accuracy) for p in one.curve] == list(
        curves[["step", "loss", "bit_accuracy", "sequence_accuracy"]].itertuples(index=False, name=None)
    )


def test_a_trained_model_adds() -> None:
    """A trained lstm adds numbers longer than those it was trained on, at any batch size."""
    model = cellbench.train("lstm", steps=600, learning_rate=0.03, bits=8).model
    a, b = 1234, 4321
    x = torch.tensor([[[float(a >> i & 1), float(b >> i & 1)]] for i in range(14)])
    with torch.no_grad():
        bits = (model(x)[:, 0, 0] > 0).int().tolist()
    assert sum(bit << i for i, bit in enumerate(bits)) == a + b


def test_any_factory() -> None:
    """A class or function serves as well as a registered name."""
    one = cellbench.train(lambda i, h: TorchCell(nn.GRUCell(i, h)), hidden_size=4, steps=10, bits=4)
    assert sum(p.numel() for p in one.model.parameters()) > 0
    assert one.curve[-1].step == 10


@pytest.mark.parametrize(
    ("cell", "keys", "said"),
    [
        ("gruu", {"bits": 4}, "no cell named 'gruu'. Nearest: gru."),
        ("gru", {}, "the task binary_addition takes bits; given: "),
        ("gru", {"bits": 1}, "bits=1: bits must be a whole number of 2 or more"),
        ("gru", {"bits": 4, "optimizer": "adm"}, "no optimizer 'adm'"),
        ("gru", {"bits": 4, "options": {"x": 1}}, "raised TypeError"),
    ],
)
def test_bad_input(cell: str, keys: dict[str, Any], said: str) -> None:
    """What is wrong is said in one message."""
    with pytest.raises(CellbenchError, match=said.replace("(", r"\(").replace(".", r"\.")):
        cellbench.train(cell, steps=5, **keys)
