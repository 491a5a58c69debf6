"""The replica's key: what it is for ever."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellbench.records import Evaluate, Final, ReplicaKey, Solved
from cellbench.records.settings import later

KEY = ReplicaKey(
    task="binary_addition",
    task_sources=("t",),
    parameters=(("bits", 8),),
    batch_size=16,
    size="hidden 20",
    seed=3,
    learning_rate=0.01,
    max_steps=2000,
    optimizer="adam",
    clip_norm=1.0,
    stop_when_solved=False,
    evaluate=Evaluate(5, 0.05, 256),
    solved=Solved("sequence_accuracy", 0.99, 2),
    final=Final(1000, (("bits", (8, 16)),), True),
    cell="lstm",
    factory="cellbench.cells.lstm:lstm",
    options=(),
    cell_sources=("c",),
    learn_initial_state=False,
    readout_hidden=None,
    numbers_version=1,
)


def test_golden_key() -> None:
    """The digest of a key never changes; if this fails, no stored result will be found again."""
    assert KEY.digest() == "7adc3d9140e3500f5d9f7f59acb227be"


CHANGED = {
    "task": "parity", "task_sources": ("u",), "parameters": (("bits", 9),), "batch_size": 4, "size": "budget 20",
    "seed": 4, "learning_rate": 0.010000000000000002, "max_steps": 2001, "optimizer": "sgd", "clip_norm": None,
    "stop_when_solved": True, "evaluate": Evaluate(5, 0.05, 257), "solved": Solved("bit_accuracy", 0.99, 2),
    "final": Final(1000, (("bits", (8, 17)),), True), "cell": "mine", "factory": "x:y", "options": (("bias", False),),
    "cell_sources": ("d",), "learn_initial_state": True, "readout_hidden": 20, "numbers_version": 2,
    "optimizer_options": (("weight_decay", 0.1),), "clip_value": 0.5, "schedule": "cosine", "warmup_steps": 100,
    "end_factor": 0.1, "layers": 2,
}  # fmt: skip


@pytest.mark.parametrize("name", [f.name for f in fields(ReplicaKey)])
def test_every_field_counts(name: str) -> None:
    """A change of any one field is another key."""
    assert replace(KEY, **{name: CHANGED[name]}).digest() != KEY.digest()  # type: ignore[arg-type]


@given(
    st.integers(0, 2**31),
    st.one_of(st.floats(1e-9, 10), st.sampled_from([0.1, 0.3, 1.0, 1e-7])),
)
def test_a_family_and_its_members(seed: int, rate: float) -> None:
    """The quick way to many keys gives the digest of each key."""
    member = replace(KEY, seed=seed, learning_rate=rate)
    assert KEY.digests()(seed, rate) == member.digest()
    assert KEY.texts()(seed, rate) == member.text()
    assert type(KEY).parse(member.text()) == member
    assert type(KEY).parse(member.family_text()).member(seed, rate) == member
    assert member.family_text() == KEY.family_text() != replace(KEY, batch_size=4).family_text()


@dataclass(frozen=True)
class Longer(ReplicaKey):
    """A key as a later version might have it: a field more of its own."""

    weights: str = later("none")


def test_a_later_field_is_left_out_at_its_default() -> None:
    """A key that gains a field keeps its text and digest while the field holds its default, and reads the old text."""
    old = {f.name: getattr(KEY, f.name) for f in fields(KEY)}
    same, other = Longer(**old), Longer(**old, weights="kept")
    assert (same.text(), same.digest()) == (KEY.text(), KEY.digest())
    assert Longer.parse(KEY.text()) == same
    assert '"weights":"kept"' in other.text()
    assert Longer.parse(other.text()) == other
    with pytest.raises(ValueError, match="written otherwise"):
        Longer.parse(KEY.text().replace('"task":', '"weights":"none","task":'))
