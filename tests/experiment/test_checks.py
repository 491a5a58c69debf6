"""Experiments that are too large, or whose texts are: a message of a few lines, and nothing run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cellbench
from cellbench.errors import ExperimentError
from cellbench.experiment import document, load
from cellbench.experiment.checks import MOST_VALUES
from cellbench.plugins import discover
from tests.helpers.commands import TINY, Command

REGISTRY = discover()
MANY = list(range(2, MOST_VALUES + 3))
GRID = TINY["grid"]

TOO_MANY: dict[str, tuple[dict[str, Any], str]] = {
    "an axis of the task": ({"grid": {**GRID, "bits": MANY}}, "grid.bits: has 10,001 values, more than 10,000"),
    "batch sizes": ({"grid": {**GRID, "batch_size": MANY}}, "grid.batch_size: has 10,001 values"),
    "hidden sizes": ({"grid": {**GRID, "hidden_size": MANY}}, "grid.hidden_size: has 10,001 values"),
    "lengths at the end": ({"final": {"bits": MANY}}, "final.bits: has 10,001 values, more than 10,000"),
    "learning rates": ({"learning_rate": MANY}, "learning_rate: has 10,001 values, more than 10,000"),
    "cells": ({"cells": ["rnn"] * 10_001}, "cells: has 10,001 values, more than 10,000"),
    "seeds": ({"seeds": list(range(100_001))}, "seeds: has 100,001 values, more than 100,000"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TOO_MANY)
def test_a_list_has_a_limit(kind: str) -> None:
    """One value more than the limit is one fault, which says so and nothing else."""
    keys, said = TOO_MANY[kind]
    with pytest.raises(ExperimentError) as found:
        load({**TINY, **keys}, REGISTRY)
    (fault,) = found.value.faults
    assert said in str(fault)
    assert len(str(found.value)) < 200


def test_as_many_values_as_the_limit_are_sound() -> None:
    """The limit itself is allowed, and equal values are still found, whatever they are made of."""
    assert len(load({**TINY, "grid": {**GRID, "batch_size": MANY[:-1]}}, REGISTRY).batch_sizes) == MOST_VALUES
    with pytest.raises(ExperimentError, match=r"grid\.batch_size\[9999\]: 2 is given twice"):
        load({**TINY, "grid": {**GRID, "batch_size": [*MANY[:-2], 2]}}, REGISTRY)


def test_equal_values_of_any_kind_are_found() -> None:
    """A task of a plugin may take lists and mappings: equal ones are given twice, unequal ones are not."""
    registry = discover()
    entry = registry.tasks["binary_addition"]

    class Any_(cellbench.Task):
        parameters = {"shape": "anything"}  # noqa: RUF012
        input_size = output_size = 1
        final: dict[str, Any] = {}  # noqa: RUF012

        def check_parameter(self, name: str, value: object) -> None:
            """Take anything."""

        def batch(self, *_: Any) -> Any:
            raise NotImplementedError

    registry.tasks["any"] = type(entry)("any", Any_, "", "", {}, "cellbench-any", "1")
    values = [[1, 2], [2, 1], {"a": [1]}, {"a": [2]}, "x", 1, {"a": [1.0]}, [1, 2], True]
    with pytest.raises(ExperimentError) as found:
        load({**TINY, "task": "any", "final": {}, "grid": {**GRID, "bits": 4, "shape": values}}, registry)
    twice = [f.key for f in found.value.faults if "given twice" in f.message]
    assert twice == [f"grid.shape[{i}]" for i, value in enumerate(values) if value in values[:i]]
    assert twice


HEX = "0x" + "F" * 5_000
"""A number of 6,000 digits, more than Python prints."""


@pytest.mark.parametrize(
    "value", ["9" * 5_000, HEX, f"-{HEX}", f"[{HEX}]", "1:" + "59:" * 5_000 + "1", "9" * 5_000 + ".0"]
)
@pytest.mark.parametrize("key", ["seeds", "name", "train.max_steps", "grid.bits", "learning_rate", "cells.0", "odd"])
def test_a_number_of_thousands_of_digits(key: str, value: str, command: Command, write: Callable[..., Path]) -> None:
    """What Python cannot print is no number of an experiment; neither message nor place repeats it."""
    ended = command("run", write(), "--set", f"{key}={value}")
    assert ended.status == 2
    assert "cannot be read as" in ended.err
    assert ended.err.startswith(f"--set {key}=")
    assert len(ended.err) < 500


def test_a_key_of_thousands_of_digits(command: Command) -> None:
    """Numbers are keys too."""
    Path("x.yaml").write_text(f"name: x\ncells: [rnn]\n? {HEX}\n: 1\n")
    ended = command("run", "x.yaml")
    assert (ended.status, ended.err.splitlines()[0][:80]) == (2, f"x.yaml:3  not YAML: '{HEX[:59]}")


@pytest.mark.parametrize(
    ("words", "most"),
    [
        (["--set", "x" * 100_000 + "=1"], 400),
        (["--set", "seeds=[" + "0," * 50_000 + "]"], 12_000),
        (["--set", "grid.bits=[" + "x," * 50_000 + "]"], 400),
        (["--set", "train." * 20_000 + "x=1"], 400),
        (["--set", "name." + "x" * 100_000 + "=1"], 400),
        (["--set", "name=" + "x" * 100_000], 400),
        (["--set", "baseline=" + "x" * 100_000], 500),
        (["--set", "cells=[" + "x" * 100_000 + "]"], 500),
        (["--set", "? [" + "1," * 50_000 + "]: 1"], 400),
        (["--cell", "x" * 100_000], 500),
        (["--cell", "x" * 100_000 + ":X"], 400),
        (["--set", 'cells=[{name: x, factory: "a\\0.py:X"}]'], 400),
        (["--only", "x" * 100_000], 400),
        (["--only", "x" * 100_000 + "=1"], 400),
        (["--shard", "9" * 100_000], 400),
    ],
    ids=lambda x: x[1][:12] if isinstance(x, list) else "",
)
def test_what_was_typed_is_cut_in_messages(
    words: list[str], most: int, command: Command, write: Callable[..., Path]
) -> None:
    """A message fits on a screen, however long the option is that it is about."""
    ended = command("run", write(), "--dry-run", *words)
    assert ended.status == 2, ended.out
    assert len(ended.err) < most, ended.err[:1_000]


def test_faults_have_a_limit_and_suggestions_too() -> None:
    """Of 10,000 faults a message shows 100, and the error holds all; of many known words it lists 50."""
    labels = [{"name": "rnn", "label": f"cell number {i}"} for i in range(200)]
    with pytest.raises(ExperimentError, match=r"cell number 49 and 150 more") as found:
        load({**TINY, "cells": labels, "baseline": "?"}, REGISTRY)
    with pytest.raises(ExperimentError) as found:
        load({**TINY, "grid": {**GRID, "bits": ["x"] * 10_000}}, REGISTRY)
    assert len(found.value.faults) == 10_000
    lines = str(found.value).splitlines()
    assert lines[-2:] == ["and 9,900 more", "10,000 faults, nothing was run."]
    assert len(lines) == 102


def test_a_file_that_never_ends(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading stops at the most letters that an experiment may have."""
    Path("x.yaml").write_text("a" * 4_000_001)
    ended = command("run", "x.yaml")
    assert (ended.status, "x.yaml  not YAML: it has more than 4,000,000 letters" in ended.err) == (2, True)
    if not Path("/dev/zero").exists():
        pytest.skip("no device that never ends")
    ended = command("run", "/dev/zero")
    assert (ended.status, "it has more than 4,000,000 letters" in ended.err) == (2, True)


def _ring() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (10**5_000, "seeds: is a value that is too long to be shown: the number of seeds must be"),
        (_ring(), "is nested more than 50 deep"),
        ({(1, 2): 3}, r"seeds\.\(1, 2\): no such key\. Known: from, to\."),
    ],
    ids=["digits", "ring", "key"],
)
def test_keys_from_python_are_plain_data(value: Any, said: str) -> None:
    """A mapping that is no YAML: a fault, as for a file."""
    with pytest.raises(ExperimentError, match=said):
        cellbench.run({**TINY, "seeds": value}, "out")


@pytest.mark.slow
def test_a_place_is_not_kept_for_each_value() -> None:
    """The place of an option's values is short: a list of 60,000 took gigabytes, one copy of the option for each."""
    text = "[" + "0," * 60_000 + "]"
    found = document.parse("{}", "x.yaml")
    document.override(found, f"seeds={text}")
    inner = document.parse(text, "--set seeds=0")
    assert len(found.data["seeds"]) == 60_000
    assert sum(sys.getsizeof(place) for place in found.places.values()) < 1_000
    assert len({id(place) for place in inner.places.values()}) < 3


LAYERS: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({"grid": {**GRID, "layers": [0, 1]}}, "grid.layers[0]: is 0, expected a whole number from 1 to 100"),
    "many": ({"grid": {**GRID, "layers": 101}}, "grid.layers: is 101, expected a whole number from 1 to 100"),
    "text": ({"layers": "two"}, "layers: is 'two', expected a whole number"),
    "twice": ({"grid": {**GRID, "layers": [2, 2]}}, "grid.layers[1]: 2 is given twice"),
    "for all and in the grid": ({"layers": 1, "grid": {**GRID, "layers": 2}}, "layers: layers are an axis of the grid"),
    "of a cell and in the grid": (
        {"cells": ["rnn", {"name": "lstm", "layers": 1}], "grid": {**GRID, "layers": 2}},
        "cells[1].layers: layers are an axis of the grid too, which stacks every cell: say it in one of the two",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_are_said_once(kind: str) -> None:
    """A whole number from 1 to 100, in the grid, or for all cells and for single ones."""
    keys, said = LAYERS[kind]
    with pytest.raises(ExperimentError) as found:
        load({**TINY, **keys}, REGISTRY)
    (fault,) = found.value.faults
    assert said in str(fault)


def test_layers_of_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task whose own parameter is called layers keeps it: nothing is stacked by its values."""
    from cellbench.tasks.binary_addition import BinaryAddition as task

    monkeypatch.setattr(task, "parameters", {**task.parameters, "layers": "its own"})
    monkeypatch.setattr(task, "check_parameter", lambda self, name, value: None)
    found = load({**TINY, "grid": {**GRID, "layers": [200]}, "layers": 3}, discover())
    assert (found.layers, dict(found.axes)["layers"]) == (None, (200,))
    assert [cell.layers for cell in found.cells] == [3, 3]
