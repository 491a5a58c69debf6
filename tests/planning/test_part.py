"""`--only` and `--shard`: what is read, and that the parts are those which a table's own query gives."""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellbench.errors import CellbenchError
from cellbench.experiment import Experiment, load
from cellbench.planning import lay_out, only, shard
from cellbench.planning.part import deal, select
from cellbench.plugins import registry
from cellbench.records import Planned
from tests.helpers.commands import TINY

WHOLE = {
    **TINY, "cells": ["rnn", {"name": "rnn", "label": "elman"}, "lstm"], "seeds": [0, 1, 5], "learning_rate": [0.1, 1],
    "grid": {"bits": [4, 5], "batch_size": [4, 8], "hidden_size": [3, 4]},
}  # fmt: skip


@lru_cache
def experiment() -> Experiment:
    return load(WHOLE, registry())


@lru_cache
def planned() -> list[Planned]:
    return lay_out(experiment())


def rows(some: list[Planned]) -> pd.DataFrame:
    """One row per planned replica."""
    columns = ["label", "name", "seed", "learning_rate", "batch_size", "size", "hidden_size", "bits"]
    found = [
        (p.cell.label, p.cell.name, r.seed, r.learning_rate, p.point.batch_size, p.point.size, p.fit.hidden_size,
         dict(p.point.parameters)["bits"])
        for p in some for r in p.replicas
    ]  # fmt: skip
    return pd.DataFrame(found, columns=columns)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ([], {}),
        (["cell=gru"], {"cell": ["gru"]}),
        (["cell=rnn,seed=0", "seed=5"], {"cell": ["rnn"], "seed": ["0", "5"]}),
        (["size=hidden 3"], {"size": ["hidden 3"]}),
        (["learning_rate=1e-1"], {"learning_rate": ["1e-1"]}),
        (["cell=a=b"], {"cell": ["a=b"]}),
    ],
)
def test_only_is_read(given: list[str], read: dict[str, list[str]]) -> None:
    """Several assignments, apart or with commas between them; a key's values add up."""
    assert only(experiment(), given) == read


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["cell"], "--only cell: must be KEY=VALUE"),
        (["cell="], "--only cell=: must be KEY=VALUE"),
        (["seed=0,"], "--only : must be KEY=VALUE"),
        (["sed=0"], "--only sed=0: no such key. Did you mean seed?"),
        (["length=4"], "--only length=4: no such key."),
    ],
)
def test_only_that_is_none(given: list[str], said: str) -> None:
    """What is no assignment, or has no key of the experiment, is named."""
    with pytest.raises(CellbenchError) as caught:
        only(experiment(), given)
    assert said in str(caught.value)


VALUES = {
    # the key of --only -> the column, and texts that may be given
    "cell": ("label", ["rnn", "elman", "lstm", "gru"]),
    "seed": ("seed", ["0", "1", "5", "7", "5.0", "x"]),
    "learning_rate": ("learning_rate", ["0.1", "1", "1.0", "1e-1", "0.3"]),
    "batch_size": ("batch_size", ["4", "8", "16"]),
    "size": ("size", ["hidden 3", "hidden 4", "hidden"]),
    "hidden_size": ("hidden_size", ["3", "4"]),
    "bits": ("bits", ["4", "5", "0x4"]),
}


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


@settings(max_examples=50, deadline=None)
@given(
    st.fixed_dictionaries(
        {}, optional={key: st.lists(st.sampled_from(v), min_size=1) for key, (_, v) in VALUES.items()}
    )
)
def test_a_part_is_what_a_query_gives(part: dict[str, list[str]]) -> None:
    """Kept are, in order, the rows that pandas selects: each key's value among those given, numbers as numbers."""
    expected = rows(planned())
    for key, texts in part.items():
        column = expected[VALUES[key][0]]
        kept = column.isin([number(text) for text in texts]) if column.dtype.kind in "if" else column.isin(texts)
        if key == "cell":
            kept |= expected["name"].isin(texts)
        expected = expected[kept]
    found = rows(select(planned(), part))
    assert found.to_dict("records") == expected.to_dict("records")


@pytest.mark.parametrize("text", ["1/1", "3/8", "100000/100000"])
def test_shard_is_read(text: str) -> None:
    """I/N, both whole and I no greater than N."""
    assert shard(text) == tuple(map(int, text.split("/")))
    assert shard(None) is None


@pytest.mark.parametrize(
    "text", ["", "1", "0/3", "4/3", "1/0", "-1/3", "a/b", "1/2/3", "1.0/2", " 1/2", "1/100001", "²/3"]
)
def test_shard_that_is_none(text: str) -> None:
    """Anything else is refused, and said how it must be."""
    with pytest.raises(CellbenchError, match=r"--shard .*: must be I/N with I from 1 to N, such as 3/8"):
        shard(text)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 100))
def test_shards_are_a_partition(of: int) -> None:
    """Each replica is in exactly one; none divides a seed's learning rates; none has two seeds more than another."""
    parts = [deal(planned(), number, of) for number in range(1, of + 1)]
    assert Counter(r.key for part in parts for p in part for r in p.replicas) == Counter(
        r.key for p in planned() for r in p.replicas
    )
    counts = []
    for part in parts:
        seeds = Counter((p.cell.label, p.point, r.seed) for p in part for r in p.replicas)
        assert set(seeds.values()) <= {2}
        counts.append(len(seeds))
    assert max(counts) - min(counts) <= 1


def test_any_text_is_a_value() -> None:
    """What is no number, or more digits than Python reads, selects nothing; among 10,000 values one is found."""
    assert not rows(select(planned(), only(experiment(), ["seed=nan", "seed=x", f"seed={'9' * 5_000}"]))).size
    many = rows(select(planned(), only(experiment(), [f"seed={i}" for i in range(3, 10_000)])))
    assert set(many["seed"]) == {5}
