"""What a check measures and reports, without a right or wrong."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from cellbench.cells.lstm import lstm
from cellbench.cells.rnn import rnn
from cellbench.conformance import OBSERVATIONS, Check, Result, Subject, checks, observations
from tests.helpers import awkward, broken_cells, odd_cells
from tests.helpers.broken_cells import Sound

BY_NAME: dict[str, Check] = {check.name: check for check in checks}


def test_options_reach_the_factory() -> None:
    result = BY_NAME["initialisation"](Subject(lstm, {"forget_bias": 5.0}))
    assert result.data["bias_mean"]["module.bias_ih"][1] == 5.0


def test_spectral_radius_of_a_rotation_scaled() -> None:
    assert observations.spectral_radius(torch.tensor([[0.0, -0.5], [0.5, 0.0]])) == pytest.approx(0.5)


def test_the_step_s_jacobian_is_that_of_its_equations() -> None:
    cell = Subject(Sound).cell()
    found = observations.step_jacobian(cell, 2)
    weights = cell.state_dict()
    bias, recurrent = weights["linear.bias"], weights["linear.weight"][:, 2:]
    torch.testing.assert_close(found, (1 - torch.tanh(bias) ** 2)[:, None] * recurrent)


def test_sizes_stand_beside_lstm() -> None:
    result = BY_NAME["sizes"](Subject(rnn))
    hidden, inputs = observations.HIDDEN, 2
    expected = hidden * (inputs + hidden + 2) + hidden + 1
    assert result.data["cell"]["parameters"] == expected
    assert result.data["lstm"]["state"] == 2 * hidden
    assert f"parameters {expected:,} (lstm " in result.message


def test_engines_names_what_carries_the_cell() -> None:
    class NeedsItsOwnLoop(Sound):
        def next(self, x: Tensor, state: Tensor) -> Tensor:
            return super().next(x, state) * (1.0 if float(x.detach().sum()) > -1e9 else 0.5)

    result = BY_NAME["engines"](Subject(NeedsItsOwnLoop))
    assert result.status == "note"
    assert result.data["engines"] == ["reference"]
    assert "not stack: " in result.message


def test_learning_is_reported_and_not_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observations, "STEPS", 5)
    result = BY_NAME["learns-addition"](Subject(rnn))
    assert result.status == "note"
    assert "not solved within 5 steps on any of 5 rates" in result.message
    assert set(result.data["steps_to_solved"].values()) == {None}


@pytest.mark.slow
def test_lstm_learns_addition() -> None:
    result = BY_NAME["learns-addition"](Subject(lstm))
    assert "solved within 1,000 steps on" in result.message


def asked(name: str, factory: Any) -> Result:
    return BY_NAME[name](Subject(factory))


TRAINING: list[tuple[Any, str]] = [
    (awkward.Normed, r"changes norm\.running_mean.*; examples influence each other"),
    (awkward.Dropped, "draws random numbers from torch's generator"),
    (awkward.ZonedOut, "draws random numbers from Python's generator"),
    (awkward.Centred, r"changes mean"),
    (awkward.spectral, r"changes h\.parametrizations"),
    (awkward.Scaled, "other outputs than in eval"),
    (awkward.weight_norm, r"the same as in eval\(\) mode"),
    (broken_cells.Sound, r"the same as in eval\(\) mode"),
]


@pytest.mark.parametrize(("factory", "says"), TRAINING, ids=[f.__name__ for f, _ in TRAINING])
def test_what_training_changes_is_named(factory: Any, says: str) -> None:
    """Buffers, random draws and statistics of a batch are a trait that a note names."""
    result = asked("training-mode", factory)
    assert result.status == "note"
    assert re.search(says, result.message), result.message


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        (broken_cells.SharesWeightsWithItsCopies, "a deep copy shares its weights with the cell"),
        (broken_cells.CannotBePickled, "a pickle cannot be made"),
        (awkward.Uncopied, "a deep copy cannot be made.*; a pickle cannot be made"),
        (odd_cells.NotANumber, "copies are alike"),
        (broken_cells.Sound, "copies are alike and share no weights"),
    ],
    ids=lambda p: getattr(p, "__name__", ""),
)
def test_copies_fail_nobody(factory: Any, says: str) -> None:
    assert "pickles-and-copies" in {check.name for check in OBSERVATIONS}
    result = asked("pickles-and-copies", factory)
    assert (result.status, result.ok) == ("note", True)
    assert re.search(says, result.message), result.message


@pytest.mark.parametrize("name", ["engines", "sizes", "initialisation", "training-mode"])
@pytest.mark.parametrize(
    "factory",
    [odd_cells.Spiking, odd_cells.ComplexDiagonal, odd_cells.FrozenAndDetached, odd_cells.Counts, odd_cells.Begins],
    ids=lambda f: f.__name__,
)
def test_notes_are_made(factory: Any, name: str) -> None:
    """No note fails on a cell that breaks no law."""
    result = asked(name, factory)
    assert result.status == "note", result.message
