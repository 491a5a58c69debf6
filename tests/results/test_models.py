"""Trained models of a results folder: kept, or trained again; the numbers of both are those of the run."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import cellbench
from cellbench.store import weights
from tests.helpers.cells import FAILING, MINE
from tests.helpers.commands import TINY

NORMED = """\
import torch
from cellbench import Cell


class Normed(Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.w, self.u = torch.nn.Linear(input_size, hidden_size), torch.nn.Linear(hidden_size, hidden_size)
        self.norm = torch.nn.BatchNorm1d(hidden_size)
        self.steps = torch.zeros(())

    def forward(self, x, h):
        if self.training:
            self.steps = self.steps + 1
        h = torch.tanh(self.norm(self.w(x) + self.u(h)) + 0.001 * self.steps)
        return h, h


class Counting(Normed):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.count = 0

    def forward(self, x, h):
        self.count += self.training
        h, _ = super().forward(x, h)
        return h * (1 + 0.01 * self.count), h
"""
KEEPING = {**TINY, "keep": "weights", "learning_rate": 0.05, "train": {"max_steps": 30}}


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("engine", ["reference", "stack", "auto"])
def test_kept_or_trained_again(engine: str) -> None:
    """Weights from the file and from training again are equal to the bit, and score what the run stored."""
    found = cellbench.run({**KEEPING, "engine": engine}, report=False)
    kept = found.model(label="lstm", seed=1)
    score = found.examples(label="lstm", seed=1)
    shutil.rmtree(found.folder / "weights")
    again = found.model(label="lstm", seed=1)
    assert same(kept, again)
    assert not same(kept, found.model(label="lstm", seed=0))
    row = found.runs[(found.runs.label == "lstm") & (found.runs.seed == 1)].iloc[0]
    assert (score.outputs == score.targets).mean() == pytest.approx(row.final_bit_accuracy)
    assert (score.first_wrong < 0).mean() == row.final_sequence_accuracy


def test_the_file_is_numpys_and_the_weights_are_torchs() -> None:
    """Weights read by numpy alone, put into nn.GRU and nn.Linear, give the answers of the model."""
    found = cellbench.run({**KEEPING, "cells": ["gru"]}, report=False)
    model = found.model(label="gru", seed=0)
    (key,) = found.runs[found.runs.seed == 0].key
    file = np.load(weights.path(found.folder, key), allow_pickle=False)
    layer, readout = nn.GRU(2, 3), nn.Linear(3, 1)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        getattr(layer, f"{name}_l0").data = torch.from_numpy(file[f"cell.module.{name}"])
    readout.weight.data, readout.bias.data = (torch.from_numpy(file[f"readout.{n}"]) for n in ("weight", "bias"))
    inputs = np.random.default_rng(0).integers(0, 2, (9, 50, 2))
    with torch.no_grad():
        logits = readout(layer(torch.from_numpy(inputs).float())[0])
    np.testing.assert_allclose(model.logits(inputs), logits.numpy(), atol=1e-5)
    answers = model.predict(inputs)
    assert isinstance(answers, np.ndarray)
    assert (answers == (logits > 0).numpy()).all()
    tensor = model.predict(torch.from_numpy(inputs))
    assert isinstance(tensor, torch.Tensor)
    assert (tensor.numpy() == answers).all()
    with pytest.raises(ValueError, match=r"inputs have the shape \(9, 2\), expected \(time, batch, 2\)"):
        model.predict(inputs[:, 0])


@pytest.mark.parametrize("engine", ["reference", "auto"])
@pytest.mark.parametrize("cell", ["Normed", "Counting"])
def test_what_a_cell_holds_beside_parameters(engine: str, cell: str) -> None:
    """Running statistics and plain tensors are kept; a number that counts is not, and the model is trained again."""
    Path("normed.py").write_text(NORMED)
    cells = [{"name": "own", "factory": f"normed.py:{cell}"}]
    found = cellbench.run({**KEEPING, "cells": cells, "engine": engine}, report=False)
    score = found.examples(label="own", seed=1)
    row = found.runs[found.runs.seed == 1].iloc[0]
    assert row.status == "censored"
    assert (score.outputs == score.targets).mean() == pytest.approx(row.final_bit_accuracy)


def test_kept_weights_change_no_number_and_no_key() -> None:
    """`keep` is no part of the key: a run without it is gone on with, and trains nothing."""
    plain = cellbench.run({**KEEPING, "keep": None}, "out", report=False).runs
    kept = cellbench.run(KEEPING, "kept", report=False).runs
    assert list(plain.key) == list(kept.key)
    assert list(plain.final_loss) == list(kept.final_loss)
    again = cellbench.run(KEEPING, "out", report=False)
    assert list(again.runs.started) == list(plain.started)
    assert not (again.folder / "weights").exists()


def unusable(found: cellbench.Results, key: str) -> dict[str, bytes]:
    """Contents of a weights file that must not be used."""
    model = found.model(label="rnn", seed=0)
    right = {name: value.numpy() for name, value in model.state_dict().items()}

    def packed(arrays: dict[str, Any]) -> bytes:
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)
        return file.getvalue()

    name = next(iter(right))
    whole = weights.read(found.folder, key)
    assert whole is not None
    return {
        "text": b"not a zip",
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "other numbers": packed({**right, name: right[name] + 1}),
        "another shape": packed({**right, name: np.zeros((7, 7), np.float32)}),
        "another name": packed({**right, "cell.other": np.zeros(3, np.float32)}),
        "objects": packed({**right, name: np.array([Unpickled()], object)}),
        "a bomb": packed({**right, "cell.other": np.zeros(10**7, np.float32)}),
    }


class Unpickled:
    """Says so if it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("unpickled"),)


def test_weights_that_are_not_the_replicas_are_not_used() -> None:
    """Damaged, altered, of another cell, with pickles in them: the model is trained again, and nothing is unpickled."""
    found = cellbench.run(KEEPING, report=False)
    right = found.model(label="rnn", seed=0)
    (key,) = found.runs[(found.runs.label == "rnn") & (found.runs.seed == 0)].key
    for name, content in unusable(found, key).items():
        weights.write(found.folder, key, content)
        assert same(found.model(label="rnn", seed=0), right), name
    assert not Path("unpickled").exists()


def test_code_of_a_folder_needs_leave(write: Callable[..., Path]) -> None:
    """The text of a cell from a file runs if this process ran it, or if one says so."""
    Path("mine.py").write_text(MINE)
    cells = [{"name": "mine", "factory": "./mine.py:Mine"}, "lstm"]
    found = cellbench.run(write(cells=cells, keep="weights"), report=False)
    own = found.model(label="mine", seed=0)
    Path("mine.py").unlink()
    later = cellbench.load(found.folder)
    with pytest.raises(cellbench.CellbenchError, match=r"is made by code that .* holds \(mine.py.*run_code=True"):
        later.model(label="mine", seed=0)
    assert same(later.model(label="mine", seed=0, run_code=True), own)
    assert later.model(label="lstm", seed=0) is not None


def test_replicas_without_a_model(write: Callable[..., Path]) -> None:
    """One that failed, diverged or is missing has no trained weights, and the message says which it is."""
    Path("failing.py").write_text(FAILING)
    cells = [{"name": "bad", "factory": "failing.py:Failing"}, "rnn"]
    train = {"max_steps": 20, "clip_norm": None, "optimizer": "sgd"}
    found = cellbench.run(write(cells=cells, learning_rate=[0.05, 1e38], train=train), report=False)
    with pytest.raises(cellbench.CellbenchError, match="failed in the cell's own code"):
        found.model(label="bad", seed=0, learning_rate=0.05)
    with pytest.raises(cellbench.CellbenchError, match="diverged at step"):
        found.model(label="rnn", seed=0, learning_rate=1e38)
    part = cellbench.run(write(seeds=3), "part", only={"seed": ["0"]}, report=False)
    with pytest.raises(cellbench.CellbenchError, match="not trained yet"):
        part.model(label="rnn", seed=1)
