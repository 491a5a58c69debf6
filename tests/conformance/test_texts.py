"""The text of a law changes when the law judges otherwise, whatever of what it calls has changed."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from cellbench.conformance import quick, subject


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    quick.laws.cache_clear()
    yield
    quick.laws.cache_clear()


def test_what_a_law_calls_is_in_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of how a cell is run changes every law; one of memory's laws, and only these, goes with their module."""
    before = {name: law.text.sha256 for name, law in quick.laws().items()}
    assert len(set(before.values())) == len(before)
    source = inspect.getsource

    def changed(*names: str) -> set[str]:
        monkeypatch.setattr(
            inspect, "getsource", lambda x: source(x) + ("#" if getattr(x, "__name__", "") in names else "")
        )
        quick.laws.cache_clear()
        after: dict[str, Any] = {name: law.text.sha256 for name, law in quick.laws().items()}
        return {name for name in before if after[name] != before[name]}

    assert changed() == set()
    assert changed(subject.__name__) == set(before)
    assert changed("cellbench.conformance.memory") == {
        "remembers-only-in-the-state", "examples-are-independent", "depends-on-the-input", "depends-on-the-state",
    }  # fmt: skip


def test_a_law_can_still_be_read() -> None:
    for law in quick.laws().values():
        assert "def " in law.text.text
        assert law.text.text.splitlines()[-1].startswith("# with cellbench.conformance.")
