"""The keys of an experiment as keyword arguments of `run`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cellbench
from cellbench.experiment import load
from cellbench.plugins import discover
from tests.helpers.cells import MINE
from tests.helpers.commands import TINY

KEYS = {key: value for key, value in TINY.items() if key != "name"}


def test_keywords_are_the_keys_of_the_file() -> None:
    """The same replicas as from a mapping; without a name, the folder is results/notebook."""
    found = cellbench.run(**KEYS, report=False)
    assert found.folder == Path("results/notebook")
    assert list(found.runs.key) == list(cellbench.run(TINY, report=False).runs.key)


def test_keywords_change_a_file(write: Callable[..., Path]) -> None:
    """Of a section only what is given; the file's other keys stay."""
    experiment = load(write(), discover(), keys={"train": {"clip_norm": 0.5}, "seeds": [7], "grid": {"bits": 5}})
    assert experiment.seeds == (7,)
    assert (experiment.settings.train.max_steps, experiment.settings.train.clip_norm) == (20, 0.5)
    assert experiment.axes == (("bits", (5,)),)
    assert experiment.batch_sizes == (4,)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ({"seeds": range(2)}, {"seeds": [0, 1]}),
        ({"learning_rate": np.array([1e-5, 0.1])}, {"learning_rate": [1e-5, 0.1]}),
        ({"learning_rate": (np.float64(0.5),)}, {"learning_rate": [0.5]}),
        (
            {"cells": ({"name": "x", "factory": Path("cell.py:Mine")},)},
            {"cells": [{"name": "x", "factory": "cell.py:Mine"}]},
        ),
        ({"train": {"max_steps": np.int64(4)}}, {"train": {"max_steps": 4}}),
    ],
)
def test_values_of_python_are_those_of_a_file(given: dict[str, Any], written: dict[str, Any]) -> None:
    """Ranges, tuples, arrays and paths are what a file has in their place."""
    Path("cell.py").write_text(MINE)
    one, other = (load({**TINY, **keys}, discover()) for keys in (given, written))
    assert one.resolved() == other.resolved()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"worker": 2}, "run: no argument or key 'worker'. Did you mean workers?"),
        ({"seed": 2}, "run: no argument or key 'seed'. Did you mean seeds?"),
        ({"train": {"steps": 5}}, "run(train=...)  train.steps: no such key"),
        ({"seeds": "x"}, "run(seeds=...)  seeds: is 'x'"),
        ({"seeds": {1, 2}}, "run(seeds=...)  seeds: is {1, 2}, which no experiment can hold"),
        ({"cells": [object]}, "run(cells=...)  cells[0]: is builtins.object, of an installed package"),
        ({"cells": [3j]}, "run(cells=...)  cells[0]: is 3j, which no experiment can hold"),
        ({"report": {"pairs": "some"}}, "run(report=...)  report.pairs: is 'some'"),
        ({"grid": {"bits": 4}}, "run(grid=...)  grid: batch_size is missing"),
    ],
)
def test_faults_name_the_argument(keys: dict[str, Any], said: str) -> None:
    """What is wrong, and in which argument; nothing is run."""
    with pytest.raises(cellbench.CellbenchError) as error:
        cellbench.run(**{**KEYS, **keys})
    assert said in str(error.value)
    assert not Path("results").exists()


def test_a_nested_list_without_end_is_a_fault() -> None:
    """A list that contains itself is refused like a file that is nested too deeply."""
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(cellbench.CellbenchError, match="nested more than 50 deep"):
        cellbench.run(**{**KEYS, "cells": endless})


def test_a_loaded_experiment_is_run_as_it_is() -> None:
    """It was validated as a whole, so keywords are refused."""
    with pytest.raises(cellbench.CellbenchError, match="a loaded experiment is run as it is; seeds cannot change it"):
        cellbench.run(load(TINY, discover()), seeds=3)


def test_the_section_report_beside_the_argument() -> None:
    """`report` says whether to write the report; as a mapping it holds the section's keys."""
    found = cellbench.run(**KEYS, report={"ratio_of_interest": 1.5})
    assert found.report.design.ratio_of_interest == 1.5
    assert Path("results/notebook/summary.md").exists()
