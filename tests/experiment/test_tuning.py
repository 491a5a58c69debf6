"""The key `tune`: what is planned, and what is refused, at the line where it stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cellbench.errors import ExperimentError
from cellbench.experiment import load
from cellbench.experiment.checks import MOST_REPLICAS
from cellbench.planning import lay_out
from cellbench.plugins import discover
from tests.helpers.commands import TINY, Command

REGISTRY = discover()
FORGET = {"options.forget_bias": [0, 1]}


def keys_of(**keys: Any) -> dict[str, list[str]]:
    """The keys of the planned replicas, by label."""
    planned = lay_out(load({**TINY, **keys}, REGISTRY))
    found: dict[str, list[str]] = {}
    for p in planned:
        found.setdefault(p.cell.label, []).extend(r.key for r in p.replicas)
    return found


def test_each_choice_is_planned_as_the_cell_that_has_it() -> None:
    """The replicas are those of an experiment that lists each choice by hand: nothing is trained twice, keys stay."""
    rates = [0.1, 0.01]
    by_hand = keys_of(
        cells=[
            {
                "name": "lstm",
                "label": f"lstm forget_bias={bias} bias=true",
                "options": {"forget_bias": bias, "bias": True},
            }
            for bias in (0, 1)
        ],
        learning_rate=rates,
        baseline=None,
    )
    tuned = keys_of(
        cells=[{"name": "lstm", "tune": {**FORGET, "options.bias": [True], "learning_rate": rates}}], baseline=None
    )
    assert tuned == by_hand


def test_a_cell_without_tune_has_the_keys_of_before() -> None:
    """An empty `tune`, and one of the experiment's own rates, change no key."""
    before = keys_of(cells=["rnn", "lstm"], learning_rate=[0.1, 0.01])
    assert keys_of(cells=[{"name": "rnn", "tune": {}}, "lstm"], learning_rate=[0.1, 0.01]) == before
    changed = {key: value for key, value in TINY.items() if key != "learning_rate"}
    planned = lay_out(load({**changed, "cells": ["rnn", "lstm"], "tune": {"learning_rate": [0.1, 0.01]}}, REGISTRY))
    assert [r.key for p in planned for r in p.replicas] == [key for keys in before.values() for key in keys]


def test_the_experiments_tune_is_for_every_cell_and_a_cells_own_takes_its_place() -> None:
    """gru keeps its options and is tried at as many learning rates instead."""
    cells = ["lstm", {"name": "lstm", "label": "two"}, {"name": "gru", "tune": {"learning_rate": [0.1, 0.2]}}]
    found = load({**TINY, "cells": cells, "tune": FORGET}, REGISTRY)
    assert [cell.label for cell in found.cells] == [
        "lstm forget_bias=0", "lstm forget_bias=1", "two forget_bias=0", "two forget_bias=1", "gru",
    ]  # fmt: skip
    assert [found.rates(cell) for cell in found.cells] == [(0.05,)] * 4 + [(0.1, 0.2)]


def test_options_may_be_nested_as_the_command_line_gives_them(command: Command, write: Callable[..., Path]) -> None:
    """`--set tune.options.forget_bias=[0, 1]` makes a mapping in a mapping, which means the same."""
    path = write(cells=["lstm"])
    ended = command("run", path, "--set", "tune.options.forget_bias=[0, 1]", "--dry-run")
    assert ended.status == 0, ended.err
    assert "lstm forget_bias=1" in ended.out


FILE = """\
name: tuned
cells:
  - lstm
  - name: gru
    options: {bias: true}
%s
grid: {bits: 4, batch_size: 4, hidden_size: 3}
%s
"""

FAULTS = {
    "an option that a cell does not have": (
        "", "tune: {options.forget_bias: [0, 1]}", ":7  tune.options.forget_bias: gru takes no option 'forget_bias'.",
    ),
    "another key": (
        "", "tune: {train.momentum: [0, 0.9]}",
        ":7  tune.train.momentum: cannot be tuned; what can: learning_rate, and the options of a cell",
    ),
    "unequal budgets": (
        "    tune: {learning_rate: [0.1, 0.2, 0.3]}", "learning_rate: [0.1]",
        ":6  cells[1].tune: lstm is tried at 1 setting, gru is tried at 3 settings: who is tried at more settings is "
        "tuned better. Give each cell as many",
    ),
    "no values": ("", "tune: {options.bias: []}", ":7  tune.options.bias: is empty"),
    "a value twice": ("", "tune: {learning_rate: [0.1, 0.1]}", ":7  tune.learning_rate[1]: 0.1 is given twice"),
    "a rate that is none": (
        "", "tune: {learning_rate: [0.1, fast]}", ":7  tune.learning_rate[1]: is 'fast', expected a number above 0",
    ),
    "rates in two places": (
        "", "learning_rate: 0.1\ntune: {learning_rate: [0.1, 0.2]}", ":8  tune.learning_rate: learning_rate is given",
    ),
    "an option that is set": (
        "", "tune: {options.bias: [true, false]}", ":7  tune.options.bias: cells[1] sets the option bias too",
    ),
    "no mapping": ("", "tune: [1]", ":7  tune: is [1], expected a mapping"),
    "a value that is none": ("", "tune: {options.bias: [{a: 1}]}", "expected a number, text, true or false"),
    "an option that is set, in the cell's own": (
        "    tune: {options.bias: [true]}", "", ":6  cells[1].tune.options.bias: cells[1] sets the option bias too",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAULTS)
def test_faults_name_the_line(kind: str, command: Command, tmp_path: Path) -> None:
    """Status 2, one fault at its line, and nothing run."""
    of_cell, below, said = FAULTS[kind]
    path = tmp_path / "tuned.yaml"
    path.write_text("\n".join(line for line in (FILE % (of_cell, below)).splitlines() if line))
    ended = command("run", path)
    assert ended.status == 2
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "results").exists()


def test_a_planned_label_may_not_be_another_cells() -> None:
    """`lstm forget_bias=1` cannot be both a cell of its own and a choice of lstm."""
    cells = [{"name": "lstm", "tune": FORGET}, {"name": "gru", "label": "lstm forget_bias=1"}]
    with pytest.raises(ExperimentError, match="'lstm forget_bias=1' is that of a tuned cell with its options too"):
        load({**TINY, "cells": cells, "tuning_budget": "any"}, REGISTRY)


def test_too_many_combinations_are_not_laid_out() -> None:
    """A product that no memory holds is refused by its number."""
    many = {f"options.o{i}": list(range(1000)) for i in range(6)}
    with pytest.raises(ExperimentError, match=f"more than {MOST_REPLICAS:,}"):
        load({**TINY, "cells": [{"name": "lstm", "tune": many}]}, REGISTRY)


def test_unequal_budgets_are_allowed_where_the_file_says_so() -> None:
    """`tuning_budget: any`."""
    cells = [{"name": "lstm", "tune": FORGET}, "gru"]
    assert len(load({**TINY, "cells": cells, "tuning_budget": "any"}, REGISTRY).cells) == 3
