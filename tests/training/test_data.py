"""The cache of evaluation sets: what it gives is what was made, and it holds no more than it may."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cellbench.training.data import Recent


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(0, 40_000))
def test_recent(asked: list[int], most: int) -> None:
    """Each key gives its own arrays; what is held fits; one that was asked for just before is not made again."""
    recent, made, last = Recent(most), [], None
    for key in asked:

        def make(key: int = key) -> tuple[np.ndarray, ...]:
            made.append(key)
            return (np.full(100 * key, key, np.float32), np.full(10, key, np.float32))

        before = len(made)
        first, second = recent.get(key, make)
        assert (len(first), len(second)) == (100 * key, 10)
        assert (first == key).all()
        assert (second == key).all()
        size = 4 * (100 * key + 10) + 1024
        if key == last and size <= most:
            assert len(made) == before
        assert recent.held == sum(4 * (100 * k + 10) + 1024 for k in range(10) if k in recent) <= most
        last = key


def test_what_is_asked_for_stays() -> None:
    """The one that was longest not asked for goes first."""
    recent, made = Recent(3 * (4000 + 1024)), []

    def ask(key: str) -> None:
        recent.get(key, lambda: (made.append(key), np.zeros(1000, np.float32))[1:])

    for key in "abcadab":
        ask(key)
    assert "".join(made) == "abcdb"
