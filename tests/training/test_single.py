"""`cellbench.train`: one trained model in hand."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
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


def test_weights_and_data_have_seeds_of_their_own() -> None:
    """`data_seed` changes the examples and nothing else; the same seed for both is what an experiment trains."""
    small: dict[str, Any] = {"hidden_size": 3, "batch_size": 4, "examples": 20, "bits": 3}

    def curve(**seeds: int) -> list[float]:
        return [point.loss for point in cellbench.train("rnn", steps=20, learning_rate=0.02, **small, **seeds).curve]

    alone = curve(seed=1)
    assert curve(seed=1, data_seed=1) == alone
    mixed = curve(seed=1, data_seed=2)
    assert mixed not in (alone, curve(seed=2))
    # at a rate that moves nothing the weights are the initial ones: those of `seed`, whatever the data
    still: dict[str, Any] = {**small, "steps": 1, "learning_rate": 1e-30}
    one, same, other = (
        cellbench.train("rnn", seed=seed, data_seed=data, **still).model.state_dict()
        for seed, data in ((1, 1), (1, 2), (2, 2))
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_it_takes_the_section_train() -> None:
    """By the same names, with the same meaning, and with the same complaints."""
    how = {"schedule": "cosine", "warmup_steps": 5, "weight_decay": 0.1, "clip_value": 0.2}
    experiment = {
        "name": "x", "cells": ["rnn"], "engine": "reference", "seeds": 1, "learning_rate": 0.02,
        "grid": {"bits": 3, "batch_size": 4, "hidden_size": 3}, "train": {"max_steps": 20, **how},
        "evaluate": {"examples": 20}, "final": {"examples": 10, "bits": [], "difficulty": False},
    }  # fmt: skip
    curves = cellbench.run(experiment, "out").curves
    small: dict[str, Any] = {"hidden_size": 3, "batch_size": 4, "steps": 20, "examples": 20, "bits": 3}
    one = cellbench.train("rnn", learning_rate=0.02, train=how, **small)
    assert [p.loss for p in one.curve] == list(curves["loss"])
    own = cellbench.train("rnn", optimizer="torch.optim.Adagrad", train={"optimizer_options": {"eps": 1e-3}}, **small)
    assert np.isfinite(own.curve[-1].loss)


def test_another_device() -> None:
    """MPS trains on the CPU and says so; a card that is not there, or no device at all, is said in one sentence."""
    small: dict[str, Any] = {"hidden_size": 3, "batch_size": 4, "steps": 20, "examples": 20, "bits": 3}
    with pytest.warns(UserWarning, match="device: mps trains on the CPU"):
        moved = cellbench.train("rnn", device="mps", **small)
    assert moved.curve == cellbench.train("rnn", **small).curve
    with pytest.raises(CellbenchError, match="train: no device 'gpu': cpu, cuda or mps"):
        cellbench.train("rnn", device="gpu", **small)
    if torch.cuda.is_available():
        on_card = cellbench.train("rnn", device="cuda", **small)
        assert on_card.curve[-1].loss == pytest.approx(moved.curve[-1].loss, abs=1e-3)
        assert {p.device.type for p in on_card.model.parameters()} == {"cpu"}
        return
    with pytest.raises(CellbenchError, match="train: device='cuda' is asked for, but torch"):
        cellbench.train("rnn", device="cuda", **small)


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
        ("gru", {"bits": 4, "optimizer": "torch.optim.LBFGS"}, "not offered: torch.optim.LBFGS needs a closure"),
        ("gru", {"bits": 4, "train": {"betas": [1]}}, "train.betas: is [1]: expected two numbers"),
        ("gru", {"bits": 4, "train": {"epochs": 1}}, "train.epochs: not offered: "),
        ("gru", {"bits": 4, "train": {"max_steps": 1}}, "max_steps has an argument of its own: steps="),
        ("gru", {"bits": 4, "train": {"timeout": 1}}, "and timeout has no use"),
        ("gru", {"bits": 4, "train": {"clip_value": 1}, "clip_norm": 2}, "by norm or by value, and clip_norm is 2"),
    ],
)
def test_bad_input(cell: str, keys: dict[str, Any], said: str) -> None:
    """What is wrong is said in one message."""
    with pytest.raises(CellbenchError, match=re.escape(said)):
        cellbench.train(cell, steps=5, **keys)
