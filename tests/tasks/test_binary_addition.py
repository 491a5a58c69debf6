"""The task, against Python's integers, and against predictors whose accuracy is known."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cellbench.streams import Stream
from cellbench.tasks.binary_addition import BinaryAddition, add, longest_chain, window_accuracy

TASK = BinaryAddition()


def number(bits: NDArray[np.generic]) -> int:
    return sum(int(b) << i for i, b in enumerate(bits))


def chain_of(a: int, b: int, width: int) -> int:
    """The longest carry chain, from the carries of Python's own sum."""
    best = run = carry = 0
    for i in range(width):
        x, y = a >> i & 1, b >> i & 1
        carry, made = (x + y + carry) >> 1, x & y
        run = (1 if made else run + 1) if carry else 0
        best = max(best, run)
    return best


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.just(n), *[st.integers(0, 2**n - 1)] * 2)))
def test_sums_are_pythons(case: tuple[int, int, int]) -> None:
    """Up to 300 bits, the sum's bits are those of Python's sum, and the longest chain that of its carries."""
    n, a, b = case
    bits = [np.array([[x >> i & 1] for i in range(n + 1)], np.uint8) for x in (a, b)]
    assert number(add(*bits).ravel()) == a + b
    assert longest_chain(*bits)[0] == chain_of(a, b, n + 1)


@pytest.mark.parametrize("bits", [2, 8, 33, 64, 65, 300])
def test_a_batch_holds_sums(bits: int) -> None:
    """Every example of a batch is two summands below 2^(bits-1), and their sum."""
    x, y = TASK.batch(Stream("t", count=40), 40, {"bits": bits})
    assert x.shape == (bits, 40, 2)
    assert y.shape == (bits, 40, 1)
    assert x.dtype == y.dtype == np.float32
    for e in range(40):
        a, b = number(x[:, e, 0]), number(x[:, e, 1])
        assert max(a, b) < 2 ** (bits - 1)
        assert number(y[:, e, 0]) == a + b


@pytest.mark.parametrize("bits", [2, 5, 33])
def test_examples_of_a_difficulty_have_it(bits: int) -> None:
    """Pairs made to have a longest carry chain of k have exactly that one, and are true sums."""
    for chain in TASK.difficulties({"bits": bits}):
        x, y = TASK.batch_of_difficulty(Stream("d", count=100), 100, {"bits": bits}, chain)
        for e in range(100):
            a, b = number(x[:, e, 0]), number(x[:, e, 1])
            assert chain_of(a, b, bits) == chain
            assert number(y[:, e, 0]) == a + b


def test_examples_of_a_difficulty_are_uniform() -> None:
    """All 60 pairs of 4-bit summands with a longest chain of 2 come equally often."""
    x, _ = TASK.batch_of_difficulty(Stream("u", count=60_000), 60_000, {"bits": 5}, 2)
    counts = Counter(map(tuple, np.concatenate([x[:-1, :, 0], x[:-1, :, 1]]).T.astype(int).tolist()))
    expected = [(a, b) for a in range(16) for b in range(16) if chain_of(a, b, 5) == 2]
    assert len(counts) == len(expected) == 60
    assert max(abs(c - 1000) for c in counts.values()) < 5 * 1000**0.5


def test_a_chain_that_does_not_fit_is_refused() -> None:
    """No pair of 4 bits carries over 4 positions."""
    with pytest.raises(ValueError, match="no carry chain of 4 fits in 4 bits"):
        TASK.batch_of_difficulty(Stream("d", count=1), 1, {"bits": 4}, 4)


def test_uniform_numbers_hardly_carry() -> None:
    """A chain of 16 or more comes once in about 8,000 pairs at 32 bits."""
    x, _ = TASK.batch(Stream("rare", count=400_000), 400_000, {"bits": 33})
    bits = x.astype(np.uint8)
    rare = (longest_chain(bits[..., 0], bits[..., 1]) >= 16).sum()
    assert 30 <= rare <= 75  # 400,000 * (17 / 4) / 2^17 pairs at most, 49 of them expected by first positions alone


@pytest.mark.parametrize(("k", "expected"), list(enumerate([0.530, 0.773, 0.890, 0.947, 0.974])))
def test_the_ladder_is_what_window_predictors_score(k: int, expected: float) -> None:
    """The best predictor that sees the last k + 1 pairs, counted on real examples, scores the formula."""
    assert round(window_accuracy(k, 33), 3) == expected
    x, y = TASK.batch(Stream("ladder", count=40_000), 40_000, {"bits": 33})
    a, b = x[..., 0].astype(int), x[..., 1].astype(int)
    right = []
    for i in range(33):
        # add within the window; where the carry into it would matter, 0 is the better guess
        carry = np.zeros(a.shape[1], int)
        for j in range(max(0, i - k), i):
            carry = (a[j] + b[j] + carry) >> 1
        right.append(((a[i] + b[i] + carry) & 1) == y[i, :, 0])
    assert np.mean(right) == pytest.approx(window_accuracy(k, 33), abs=0.002)


@pytest.mark.parametrize("value", [1, 0, -3, 2.5, "8", True, None])
def test_bits_that_are_of_no_use_are_refused(value: object) -> None:
    """`bits` is a whole number of 2 or more."""
    with pytest.raises(ValueError, match="whole number of 2 or more"):
        TASK.check_parameter("bits", value)
