"""Laws judge rightly: what is meant passes and is named, what is wrong breaks the law that it breaks, and no other."""

from __future__ import annotations

import re
from typing import Any

import pytest

from cellbench.conformance import LAWS, OBSERVATIONS, Check, Result, Subject, checks
from tests.helpers import awkward, broken_cells, odd_cells

BY_NAME: dict[str, Check] = {check.name: check for check in checks}
COMPARING = (
    "remembers-only-in-the-state", "changes-nothing-in-place", "examples-are-independent", "depends-on-the-input",
    "depends-on-the-state", "batch-size-does-not-matter", "gradients-reach-every-parameter",
    "gradients-agree-with-differences", "finite-after-1000-steps", "initial-state-can-be-learnt",
)  # fmt: skip
"""The laws that compare what a cell gives with something."""


def asked(name: str, factory: Any) -> Result:
    return BY_NAME[name](Subject(factory))


def broken(factory: Any) -> dict[str, str]:
    """The laws that a cell breaks, with the message of each."""
    found = {law.name: law(Subject(factory)) for law in LAWS}
    return {name: result.message for name, result in found.items() if not result.ok}


SOUND = (
    odd_cells.Spiking, odd_cells.Rounded, odd_cells.QuantisedWeights, odd_cells.Clipped, odd_cells.AtAJump,
    odd_cells.ComplexDiagonal, odd_cells.Frozen, odd_cells.FrozenAndDetached, odd_cells.LowRank, odd_cells.Residual,
    odd_cells.Counts, odd_cells.Begins, awkward.Apart, awkward.AfterAccumulation, awkward.ModuleHook,
    awkward.NoneBeside, awkward.Normed, awkward.spectral, awkward.spectral_of_old, awkward.weight_norm,
    awkward.weight_norm_of_old, awkward.Dropped, awkward.ZonedOut, awkward.Centred,
)  # fmt: skip


@pytest.mark.parametrize("factory", SOUND, ids=lambda f: f.__name__)
def test_breaks_nothing(factory: Any) -> None:
    """Surrogates, hooks, complex numbers, reservoirs, factors that begin at 0, statistics of training."""
    assert broken(factory) == {}


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        (odd_cells.Spiking, r"the gradient is a surrogate \(_Spike\): the outputs jump as the weights move"),
        (odd_cells.Rounded, r"the gradient is a surrogate \(straight through\): the outputs jump"),
        (odd_cells.QuantisedWeights, r"the gradient is a surrogate \(straight through\): the outputs jump"),
        (odd_cells.Clipped, "but for hooks, which change the gradient"),
        (awkward.Apart, "but for hooks, which change the gradient"),
        (awkward.ModuleHook, "but for hooks, which change the gradient"),
        (odd_cells.AtAJump, "at weights moved at random; the initial weights lie at a kink or a jump"),
        (odd_cells.ComplexDiagonal, "along every parameter tensor, to"),
        (odd_cells.Frozen, "nothing to train"),
        (broken_cells.Sound, "along every parameter tensor, to"),
    ],
    ids=lambda p: getattr(p, "__name__", ""),
)
def test_a_gradient_that_is_meant(factory: Any, says: str) -> None:
    """The law names a surrogate, straight-through values and hooks, and passes."""
    result = asked("gradients-agree-with-differences", factory)
    assert result.status == "pass", result.message
    assert re.search(says, result.message), result.message


@pytest.mark.parametrize(
    ("factory", "where"),
    [
        (odd_cells.WrongTanh, "_WrongTanh"),
        (odd_cells.WrongAndKinked, "_WrongTanh"),
        (odd_cells.WronglyComplex, "_Conjugated"),
        (broken_cells.HasAWrongGradient, "_Doubled"),
        (odd_cells.Detached, ""),
        (awkward.Seen, ""),
    ],
)
def test_a_wrong_gradient_is_caught(factory: Any, where: str) -> None:
    """Where nothing jumps, a gradient that disagrees is wrong, and the backward that may be to blame is named."""
    result = asked("gradients-agree-with-differences", factory)
    assert result.status == "fail"
    assert re.search(r"the gradient is .*, and off by", result.message)
    assert where in result.message


def test_a_surrogate_is_in_the_data() -> None:
    assert asked("gradients-agree-with-differences", odd_cells.Spiking).data == {"surrogate": ["_Spike"]}


@pytest.mark.parametrize("factory", [odd_cells.LowRank, odd_cells.Residual], ids=lambda f: f.__name__)
def test_factors_that_begin_at_zero(factory: Any) -> None:
    """What no gradient reaches at first is looked at again after some steps of training."""
    said = asked("gradients-reach-every-parameter", factory).message
    assert re.search(
        r"all \d parameter tensors, over 6 steps; after \d training steps? (a|inner, .*, deep\.bias)$", said
    ), said


def test_a_dead_weight_stays_dead() -> None:
    said = asked("gradients-reach-every-parameter", broken_cells.HasADeadWeight).message
    assert said == "the gradient is 0 at spare, after 5 training steps too"


@pytest.mark.parametrize("factory", [odd_cells.Frozen, odd_cells.FrozenAndDetached], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", ["gradients-reach-every-parameter", "gradients-agree-with-differences"])
def test_nothing_to_train(name: str, factory: Any) -> None:
    result = asked(name, factory)
    assert (result.status, result.message[:16]) == ("pass", "nothing to train")


def test_memory_of_silent_spikes() -> None:
    """Where no spike comes at inputs of size 1 larger ones show what is remembered; if none does, nobody can tell."""
    result = asked("remembers-only-in-the-state", odd_cells.SilentMemory)
    assert result.status == "fail", result.message
    result = asked("remembers-only-in-the-state", odd_cells.AlwaysSilent)
    assert (result.status, result.ok) == ("skip", True)
    assert result.message == "cannot tell: all outputs are equal, at inputs 1, 10 and 100 times as large"


@pytest.mark.parametrize("factory", [odd_cells.NotANumber, odd_cells.LaterNotANumber], ids=lambda f: f.__name__)
def test_not_a_number_fails_what_compares(factory: Any) -> None:
    found = broken(factory)
    assert set(COMPARING) - set(found) == set()
    assert all("nan" in found[name].lower() or "not finite" in found[name] for name in COMPARING), found


def test_a_weight_that_is_not_a_number() -> None:
    assert "bias" in asked("weights-follow-the-stream", odd_cells.WeightNotANumber).message
    assert not asked("changes-nothing-in-place", odd_cells.WeightNotANumber).ok


@pytest.mark.parametrize(
    ("factory", "laws"),
    [
        (broken_cells.IgnoresItsState, {"depends-on-the-state", "initial-state-can-be-learnt"}),
        (broken_cells.IgnoresItsInput, {"depends-on-the-input", "gradients-reach-every-parameter"}),
        (odd_cells.NoisyAlways, {"remembers-only-in-the-state"}),
        (awkward.Noisy, {"remembers-only-in-the-state"}),
        (awkward.Annealed, {"remembers-only-in-the-state"}),
        (awkward.Delayed, {"remembers-only-in-the-state"}),
        (broken_cells.DropsUnits, {"remembers-only-in-the-state"}),
        (broken_cells.CountsItsCalls, {"changes-nothing-in-place"}),
    ],
    ids=lambda p: getattr(p, "__name__", ""),
)
def test_one_fault_breaks_one_law(factory: Any, laws: set[str]) -> None:
    """Noise in eval() mode is no influence of other examples and no wrong gradient."""
    assert set(broken(factory)) <= laws, broken(factory)
    assert broken(factory)


def test_noise_in_evaluation_is_named() -> None:
    said = asked("remembers-only-in-the-state", odd_cells.NoisyAlways).message
    assert "it draws random numbers in eval() mode too (torch's generator)" in said


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
        (odd_cells.NotANumber, "give the same"),
        (broken_cells.Sound, "give the same to the bit, and share no weights"),
    ],
    ids=lambda p: getattr(p, "__name__", ""),
)
def test_copies_fail_nobody(factory: Any, says: str) -> None:
    assert "pickles-and-copies" in {check.name for check in OBSERVATIONS}
    result = asked("pickles-and-copies", factory)
    assert (result.status, result.ok) == ("note", True)
    assert re.search(says, result.message), result.message


@pytest.mark.parametrize("factory", [odd_cells.Counts, odd_cells.Begins, awkward.NoneBeside], ids=lambda f: f.__name__)
def test_a_state_that_cannot_be_learnt(factory: Any) -> None:
    result = asked("initial-state-can-be-learnt", factory)
    assert (result.status, result.ok) == ("skip", True)
    assert "which cannot be learnt" in result.message


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
