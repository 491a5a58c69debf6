"""What an experiment asks for: the schedule of its evaluations is what it is for ever."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cellbench.records import Evaluate, Source, pairs


def test_schedule_golden() -> None:
    """The evaluation steps of the default experiment."""
    steps = Evaluate(5, 0.05, 1).steps(2000)
    assert len(steps) == 83
    assert steps[:3] == (5, 10, 15)
    assert steps[28:36] == (145, 150, 160, 170, 180, 190, 200, 210)
    assert steps[-5:] == (1665, 1750, 1840, 1930, 2000)
    assert Evaluate(100, 0, 1).steps(250) == (100, 200, 250)
    assert Evaluate(100, 0.05, 1).steps(30) == (30,)


@given(st.integers(1, 500), st.floats(0, 1), st.integers(1, 20_000))
def test_schedule_laws(every: int, growth: float, most: int) -> None:
    """Steps rise, end at max_steps, and gaps are multiples of `every` but for the last."""
    steps = Evaluate(every, growth, 1).steps(most)
    assert steps[-1] == most
    assert all(a < b for a, b in pairwise(steps))
    assert all((b - a) % every == 0 for a, b in pairwise(steps[:-1]))


def test_sources_and_pairs() -> None:
    """A source's digest is that of its text; pairs are sorted and hashable."""
    assert Source("m", "abc").sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert pairs({"b": [1, 2], "a": {"d": 1}}.items()) == (("a", (("d", 1),)), ("b", (1, 2)))
