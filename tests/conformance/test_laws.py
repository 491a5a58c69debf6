"""Each check passes on sound cells, and fails on a cell made to fail it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from torch import nn

from cellbench.cells.gru import gru
from cellbench.cells.lstm import lstm
from cellbench.cells.rnn import rnn
from cellbench.conformance import LAWS, OBSERVATIONS, Check, Subject, checks
from tests.helpers import awkward, odd_cells
from tests.helpers.broken_cells import (
    BeginsWithoutMemory,
    ChangesNesting,
    ClaimsAnotherOutput,
    ComputesInBfloat16,
    CountsItsCalls,
    DrawsByItself,
    DropsUnits,
    Explodes,
    ForgetsItsInitialState,
    Grows,
    HalfPrecisionState,
    HasADeadWeight,
    HasAnUnusedWeight,
    HasAWrongGradient,
    IgnoresItsInput,
    IgnoresItsState,
    IsFloat32Only,
    KnowsTheBatchSize,
    MixesSequences,
    NoInitialState,
    Raises,
    RemembersByItself,
    ReturnsOneTensor,
    Sound,
    StartsByBatchSize,
    StateHasNoBatch,
    SubtractsTheBatchMean,
    WritesIntoItsState,
)

BROKEN: list[tuple[str, type[nn.Module], str]] = [
    ("is-made", NoInitialState, r"has no initial_state\(batch_size\)"),
    ("is-made", Raises, "raised RuntimeError: not today"),
    ("is-made", ReturnsOneTensor, r"forward returned Tensor, not \(output, state\)"),
    ("shapes", ClaimsAnotherOutput, r"the output has shape \(1, 8\), not \(1, 7\)"),
    ("shapes", HalfPrecisionState, "holds torch.float16"),
    ("shapes", StateHasNoBatch, r"initial_state\(1\) holds a tensor of shape \(8,\)"),
    ("state-keeps-its-shape", ChangesNesting, "step 1 at batch 1 turns a state nested"),
    ("state-keeps-its-shape", Grows, r"turns a state of shape \(1, 8\) into \(1, 16\)"),
    ("remembers-only-in-the-state", RemembersByItself, "twice, gives two answers"),
    ("remembers-only-in-the-state", DropsUnits, "twice, gives two answers"),
    ("remembers-only-in-the-state", MixesSequences, "taken in turns give other answers"),
    ("changes-nothing-in-place", WritesIntoItsState, "changes the state in place"),
    ("changes-nothing-in-place", CountsItsCalls, "changes the cell in place"),
    ("examples-are-independent", SubtractsTheBatchMean, "changes when the other examples do"),
    ("depends-on-the-state", IgnoresItsState, "whatever came before: the state is not used"),
    ("depends-on-the-input", IgnoresItsInput, "the same for other inputs"),
    ("batch-size-does-not-matter", KnowsTheBatchSize, "in a batch of 7 differ by up to"),
    ("gradients-reach-every-parameter", HasAnUnusedWeight, "no gradient reaches spare"),
    ("gradients-reach-every-parameter", HasADeadWeight, "the gradient is 0 at spare"),
    ("gradients-agree-with-differences", HasAWrongGradient, "the gradient is .*, and off by"),
    ("finite-after-1000-steps", Explodes, r"is not finite by step \d+"),
    ("weights-follow-the-stream", DrawsByItself, "linear.bias differs between two cells made from one stream"),
    ("initial-state-can-be-learnt", ForgetsItsInitialState, "no gradient reaches the initial state"),
    ("initial-state-can-be-learnt", StartsByBatchSize, r"initial_state\(3\) is not initial_state\(1\) three times"),
    ("engines", ReturnsOneTensor, "not even the reference engine carries it: raised"),
    ("sizes", Raises, "not today"),
    ("initialisation", NoInitialState, "has no initial_state"),
    ("learns-addition", ReturnsOneTensor, "not even the reference engine carries it"),
]
BY_NAME: dict[str, Check] = {check.name: check for check in checks}


@pytest.mark.parametrize(("name", "cell", "says"), BROKEN, ids=[f"{n}-{c.__name__}" for n, c, _ in BROKEN])
def test_fails_on_a_cell_made_to_fail_it(name: str, cell: type[nn.Module], says: str) -> None:
    result = BY_NAME[name](Subject(cell))
    assert result.status == "fail"
    assert not result.ok
    assert re.search(says, result.message), result.message
    assert "\n" not in result.message


def test_every_check_is_shown_to_fail() -> None:
    """But for the notes that report whatever they find."""
    assert {name for name, _, _ in BROKEN} == set(BY_NAME) - {"training-mode", "pickles-and-copies"}
    assert len(BY_NAME) == len(checks) == len(LAWS) + len(OBSERVATIONS)


@pytest.mark.parametrize("check", LAWS, ids=str)
@pytest.mark.parametrize("factory", [rnn, lstm, gru, Sound, awkward.Bare], ids=lambda f: f.__name__)
def test_sound_cells_keep_the_laws(factory: Any, check: Check) -> None:
    result = check(Subject(factory))
    assert result.status == "pass", result.message


def test_a_memory_that_begins_at_nothing_is_one() -> None:
    """A gate of the state that is 0 in the first weights, and trained, is no broken law."""
    result = BY_NAME["depends-on-the-state"](Subject(BeginsWithoutMemory))
    assert (result.status, result.message) == ("pass", "at weights moved at random")


def test_a_cell_that_asks_for_float32_is_differentiated() -> None:
    """What its code casts to single precision by name is computed in double."""
    result = BY_NAME["gradients-agree-with-differences"](Subject(IsFloat32Only))
    assert (result.status, result.message[-22:]) == ("pass", "of the gradient's size")


def test_a_cell_of_low_precision_skips_the_differences() -> None:
    result = BY_NAME["gradients-agree-with-differences"](Subject(ComputesInBfloat16))
    assert (result.status, result.ok) == ("skip", True)
    assert "the cell turns float64 into torch.float32" in result.message


def test_weights_that_are_no_parameters_are_named() -> None:
    """A cell passes with them, as a reservoir should, but they are named; what is frozen or a buffer is not."""
    (law,) = (one for one in LAWS if one.name == "is-made")
    said = law(Subject(awkward.Attributes)).message
    assert "not trained, for they are no nn.Parameter: cell." in said
    for factory in (awkward.Reservoir, awkward.Buffers, awkward.Plain):
        assert "not trained" not in law(Subject(factory)).message


SOUND = (
    odd_cells.Spiking, odd_cells.Rounded, odd_cells.QuantisedWeights, odd_cells.Clipped, odd_cells.AtAJump,
    odd_cells.ComplexDiagonal, odd_cells.Registered, odd_cells.Frozen, odd_cells.FrozenAndDetached,
    odd_cells.LowRank, odd_cells.Residual, odd_cells.Late, odd_cells.DrawsInVain,
    odd_cells.Counts, odd_cells.Begins, awkward.Apart, awkward.AfterAccumulation, awkward.ModuleHook,
    awkward.NoneBeside, awkward.Normed, awkward.spectral, awkward.spectral_of_old, awkward.Dropped, awkward.ZonedOut,
    awkward.Centred, *awkward.UNCOPIED,
)  # fmt: skip


@pytest.mark.parametrize("factory", SOUND, ids=lambda f: f.__name__)
def test_breaks_nothing(factory: Any) -> None:
    """Surrogates, hooks, complex numbers, reservoirs, factors that begin at 0, statistics of training, no copies."""
    found = {check.name: check(Subject(factory)) for check in LAWS}
    assert {name: result.message for name, result in found.items() if not result.ok} == {}
