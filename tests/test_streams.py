"""Named randomness: golden values, and independence of blocks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cellbench.streams import Stream, digest, seed


def test_golden_values() -> None:
    """A name gives these numbers for ever; if this fails, every result must be trained anew."""
    assert digest("data", "binary_addition", 8).hex()[:16] == "766329ce728a6d81"
    assert seed("weights", "lstm", 0) == 6012956961447312436
    assert Stream("data", 0, count=2).bits(9).tolist() == [[0, 0, 1, 0, 1, 1, 1, 0, 0], [0, 1, 1, 0, 0, 0, 1, 1, 0]]
    assert Stream("data", 0, count=1).integers(6, 0, 100).tolist() == [[32, 66, 43, 94, 81, 27]]
    assert Stream("data", 0, count=1).uniform(1)[0, 0] == 0.3215370618598702


@given(
    start=st.integers(0, 1000),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    width=st.integers(1, 200),
    kind=st.sampled_from(["bits", "uniform"]),
)
def test_blocks_of_any_size_give_the_same(start: int, cuts: list[int], width: int, kind: str) -> None:
    """Examples drawn in any split are those drawn at once."""
    whole = getattr(Stream("x", start=start, count=sum(cuts)), kind)(width)
    parts, at = [], start
    for count in cuts:
        parts.append(getattr(Stream("x", start=at, count=count), kind)(width))
        at += count
    assert np.array_equal(np.concatenate(parts), whole)


def test_names_and_calls_differ() -> None:
    """Another axis, and a second call on one stream, give other numbers; the same name gives the same."""
    stream = Stream("a", 1, count=50)
    first, second = stream.bits(64), stream.bits(64)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, Stream("a", 1, count=50).bits(64))
    assert not np.array_equal(first, Stream("a", 2, count=50).bits(64))
    assert digest("a", ("b",)) != digest("a", "b")


def test_bits_are_fair() -> None:
    """Each column's mean lies within five standard errors of one half, and columns are uncorrelated."""
    bits = Stream("fair", count=20_000).bits(70).astype(float)
    assert np.abs(bits.mean(0) - 0.5).max() < 5 * 0.5 / np.sqrt(20_000)
    correlation = np.corrcoef(bits.T) - np.eye(70)
    assert np.abs(correlation).max() < 6 / np.sqrt(20_000)
