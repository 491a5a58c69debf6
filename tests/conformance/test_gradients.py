"""Gradients that are meant pass and are named; a wrong one is caught; what is trained late is waited for."""

from __future__ import annotations

import re
from typing import Any

import pytest

from cellbench.conformance import Check, Result, Subject, checks
from tests.helpers import awkward, broken_cells, odd_cells

BY_NAME: dict[str, Check] = {check.name: check for check in checks}


def asked(name: str, factory: Any) -> Result:
    return BY_NAME[name](Subject(factory))


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
        (odd_cells.ComplexDiagonal, "to .* of the gradient's size"),
        (odd_cells.Frozen, "nothing to train"),
        (broken_cells.Sound, "to .* of the gradient's size"),
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
