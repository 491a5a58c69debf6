"""The ancestor's setting: every promise of that script has its test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cellbench import run
from cellbench.cells.lstm import lstm
from cellbench.experiment import load
from cellbench.model import Blueprint, loss
from cellbench.plugins import discover
from cellbench.streams import Stream
from cellbench.tasks.binary_addition import BinaryAddition

PATH = Path(__file__).parent.parent / "experiments/original.yaml"


def test_the_settings_are_the_ancestors() -> None:
    """Hidden 20, Adam 0.01, 10 bits, batch 16, 100 iterations an epoch, 100 to validate on, bit accuracy."""
    e = load(PATH, discover())
    assert e.axes == (("bits", (10,)),)
    assert (e.batch_sizes, e.sizes, e.learning_rates) == ((16,), (("hidden", 20),), (0.01,))
    assert (e.settings.train.optimizer, e.settings.train.clip_norm) == ("adam", None)
    assert (e.settings.evaluate.every, e.settings.evaluate.growth, e.settings.evaluate.examples) == (100, 0.0, 100)
    assert e.settings.solved.metric == "bit_accuracy"
    assert [c.name for c in e.cells][:2] == ["rnn", "lstm"], "swapped by one word"
    assert e.cells[2].learn_initial_state, "constant or learnable initial state"
    assert e.cells[3].readout_hidden == 20, "an extra readout layer"


@pytest.mark.slow
def test_it_runs_and_learns() -> None:
    """Shortened, it trains; the accuracy is the share of bits within 0.5 and the loss the cross-entropy."""
    results = run(PATH, "out", overrides=["train.max_steps=600", "seeds=3"])
    runs = results.runs
    assert len(runs) == 4 * 3
    assert set(results.curves.step) == {100, 200, 300, 400, 500, 600}
    lstm_runs = runs[runs.label == "lstm"]
    assert (lstm_runs.final_bit_accuracy > 0.9).all()
    assert (runs.final_bit_accuracy >= runs.final_sequence_accuracy).all()


def test_loss_and_accuracy_are_as_promised() -> None:
    """Cross-entropy of the sigmoid at every step, and |p - y| < 0.5, computed by hand."""
    model = Blueprint(lstm, "lstm", (), 2, 20, 1).build("p", 0)
    x, y = BinaryAddition().batch(Stream("v", count=100), 100, {"bits": 10})
    with torch.no_grad():
        logits = model(torch.from_numpy(x))
        p = torch.sigmoid(logits).double().numpy()
    assert logits.shape == (10, 100, 1)
    by_hand = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    assert loss(logits, torch.from_numpy(y)).item() == pytest.approx(by_hand, rel=1e-5)
