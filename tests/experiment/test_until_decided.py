"""Seeds until decided, as an experiment asks for them: the section's faults, and `--until-decided`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cellbench.errors import ExperimentError
from cellbench.experiment import default_file, load, schema
from cellbench.plugins import discover

GRID = {"bits": [8], "batch_size": [16], "hidden_size": [4]}
KEYS: dict[str, Any] = {"name": "a", "cells": ["lstm", "gru"], "grid": GRID}


def asked(seeds: Any, **more: Any) -> Any:
    return load({**KEYS, "seeds": seeds}, discover(), **more)


def test_a_plan_is_kept_as_the_file_has_it() -> None:
    """All seeds up to the cap may be trained; what is stored is the plan."""
    found = asked({"from": 10, "to": 80})
    assert found.stages == (10, 80)
    assert found.seeds == tuple(range(80))
    assert found.resolved()["seeds"] == {"from": 10, "to": 80}
    fixed = asked(10)
    assert fixed.stages is None
    assert fixed.resolved()["seeds"] == list(range(10))


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ({"from": 4, "to": 80}, "seeds.from: is 4: must be greater than or equal to 5"),
        ({"from": 10, "to": 14}, "`to` must be at least 1.5 times `from`: 15 or more"),
        ({"from": 10}, "seeds.to: is missing; it must be given"),
        ({"from": "ten", "to": 80}, "seeds.from: is 'ten', expected a whole number"),
        ({"from": 10, "till": 80}, "seeds.till: no such key. Known: from, to."),
        ({"from": 10, "to": 10**9}, "seeds.to: is 1000000000: must be less than or equal to 100000"),
        ({}, "seeds.from: is missing; it must be given"),
    ],
    ids=str,
)
def test_faults_of_a_plan(seeds: Any, said: str) -> None:
    """Each with its key, what was found and what was expected."""
    with pytest.raises(ExperimentError) as error:
        asked(seeds)
    assert said in str(error.value)


def test_a_plan_in_a_file_has_lines(tmp_path: Path) -> None:
    """The fault names the line of `to`'s mapping; --set changes one key of it."""
    path = tmp_path / "x.yaml"
    head = "name: x\ncells: [lstm]\ngrid: {bits: 8, batch_size: 4, hidden_size: 4}\n"
    path.write_text(f"{head}seeds:\n  from: 3\n  to: 9\n")
    with pytest.raises(ExperimentError, match=r"x\.yaml:5  seeds\.from: is 3"):
        load(path, discover())
    assert load(path, discover(), overrides=["seeds.from=6"]).stages == (6, 9)


@pytest.mark.parametrize(
    ("seeds", "bits", "plan"),
    [
        (10, [8, 16, 32], (10, 80)), ("0-11", [8, 16, 32], (12, 96)), ([0, 1, 2], [8, 16, 32], (5, 40)),
        (10, [8, 16], (20, 160)), (30, 8, (30, 240)), ({"from": 6, "to": 12}, 8, (6, 12)),
    ],
    ids=str,
)  # fmt: skip
def test_until_decided_makes_a_plan_of_a_number(seeds: Any, bits: Any, plan: tuple[int, int]) -> None:
    """From that number, below 3 points at least 20, to eight times as many; a plan stays as it is."""
    assert asked(seeds, keys={"grid": {"bits": bits}}, until_decided=True).stages == plan


def test_until_decided_takes_the_default_number() -> None:
    """An experiment that says nothing of seeds has ten."""
    assert load(default_file(), discover(), until_decided=True).stages == (10, 80)


@pytest.mark.parametrize("seeds", ["3-9", [0, 2], [5]], ids=str)
def test_until_decided_refuses_other_seeds(seeds: Any) -> None:
    """A look at n seeds uses seeds 0 to n - 1."""
    with pytest.raises(ExperimentError, match=r"--until-decided  seeds: is .*give their number"):
        asked(seeds, until_decided=True)


def test_the_schema_takes_both_forms() -> None:
    """Editors know a number, a list, a range, and a plan, and no plan that is cut short."""
    check = jsonschema.Draft202012Validator(schema())
    for seeds in (10, [1, 2], "0-9", {"from": 10, "to": 80}):
        assert check.is_valid({**KEYS, "seeds": seeds})
    for seeds in ({"from": 10}, {"from": 2, "to": 80}, {"from": 10, "to": 80, "by": 2}):
        assert not check.is_valid({**KEYS, "seeds": seeds})
