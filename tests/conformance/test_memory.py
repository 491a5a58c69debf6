"""What an output depends on: silent memory, noise, NaN; one fault breaks the law that it breaks, and no other."""

from __future__ import annotations

from typing import Any

import pytest

from cellbench.conformance import LAWS, Check, Result, Subject, checks
from tests.helpers import awkward, broken_cells, odd_cells

BY_NAME: dict[str, Check] = {check.name: check for check in checks}


def asked(name: str, factory: Any) -> Result:
    return BY_NAME[name](Subject(factory))


COMPARING = (
    "remembers-only-in-the-state", "changes-nothing-in-place", "examples-are-independent", "depends-on-the-input",
    "depends-on-the-state", "batch-size-does-not-matter", "gradients-reach-every-parameter",
    "gradients-agree-with-differences", "finite-after-1000-steps", "initial-state-can-be-learnt",
)  # fmt: skip
"""The laws that compare what a cell gives with something."""


def broken(factory: Any) -> dict[str, str]:
    """The laws that a cell breaks, with the message of each."""
    found = {law.name: law(Subject(factory)) for law in LAWS}
    return {name: result.message for name, result in found.items() if not result.ok}


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
        (awkward.Annealed, {"remembers-only-in-the-state"}),
        (awkward.Delayed, {"remembers-only-in-the-state"}),
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
