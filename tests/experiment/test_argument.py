"""A cell as the command line gives it: read into what an experiment file says, or refused with what to write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cellbench.errors import ExperimentError
from cellbench.experiment import load
from cellbench.experiment.argument import joined_name, read
from cellbench.plugins import discover
from tests.helpers.cells import MINE
from tests.helpers.commands import TINY, Command

SCALED = MINE.replace('nonlinearity="tanh"', 'nonlinearity="tanh", sizes=(), scale=1.0')


@pytest.mark.parametrize(
    ("text", "cell", "label", "options"),
    [
        ("gru", "gru", None, {}),
        ("./a.py:C", "./a.py:C", None, {}),
        ("./a.py:C,label=v2,alpha=0.5", "./a.py:C", "v2", {"alpha": 0.5}),
        ("a, b.py:C,label=2", "a, b.py:C", "2", {}),
        ("C:/x/a.py:C,n=3", "C:/x/a.py:C", None, {"n": 3}),
        ("a.py:C,sizes=[1, 2],on=true,way='x,y'", "a.py:C", None, {"sizes": [1, 2], "on": True, "way": "x,y"}),
        ("a.py:C,path=b:C", "a.py:C", None, {"path": "b:C"}),
        ("lstm, forget_bias = 1", "lstm", None, {"forget_bias": 1}),
        ("gru,layers=2", "gru", None, {"layers": 2}),
        ("a.py:C,tune=0.5", "a.py:C", None, {"tune": 0.5}),
    ],
)
def test_read(text: str, cell: str, label: str | None, options: dict[str, Any]) -> None:
    """Options are YAML, a label is its text; a comma that begins no option belongs to a value or a path."""
    given = read(text)
    assert (given.cell, given.label, given.options) == (cell, label, options)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must be FILE:CLASS"),
        ("a.py", "must be FILE:CLASS"),
        (":C", "must be FILE:CLASS"),
        ("a.py:C-D", "must be FILE:CLASS"),
        ("a b", "must be NAME or FILE:CLASS"),
        ("gru,3", "must be NAME or FILE:CLASS"),
        ("gru,x=1,x=2", "x is given twice"),
        ("gru,x=", "x needs a value"),
        ("gru,x=[1", "the value '[1' of x is not YAML"),
        ("lstm,tune={options.forget_bias: [0, 1]}", "carries no `tune`: it is tried at the experiment's settings"),
        ("lstm,label=t,tune.options.forget_bias=[0, 1]", "Write it in the file, as in cells: [{name: lstm, tune: {"),
    ],
)
def test_refused(text: str, said: str) -> None:
    """The message names the option as it was typed, and what is wrong."""
    with pytest.raises(ExperimentError) as refused:
        read(text)
    assert str(refused.value).startswith(f"--cell {text}".strip())
    assert said in str(refused.value)


def test_names_of_folders() -> None:
    """A name is one that a folder can have, and of at most 100 characters, each list of cells its own."""
    assert joined_name("default", ["a/b", "ü"]) == "default+a-b+-"
    long = [joined_name("default", [f"cell{i}" for i in range(start, start + 40)]) for start in (0, 1)]
    assert [len(name) for name in long] == [100, 100]
    assert long[0] != long[1]


def test_several_with_labels_and_options(command: Command, write: Callable[..., Path]) -> None:
    """One class twice, with other options: two cells of their own; each kind of fault names its `--cell`."""
    Path("my.py").write_text(SCALED)
    two = ["--cell", "./my.py:Mine", "--cell", "./my.py:Mine,label=v 2,nonlinearity=relu", "--cell", "gru"]
    ended = command("run", write(), "--workers", 1, *two)
    assert ended.status == 0, ended.err
    assert "results/tiny+Mine+v-2+gru" in ended.err
    text = Path("results/tiny+Mine+v-2+gru/summary.md").read_text()
    assert all(f"| {label} " in text for label in ("Mine", "v 2", "gru"))
    for option, said in {
        "./my.py:Mine,alpha=2": "Mine takes no option 'alpha'. Known: nonlinearity, sizes, scale.",
        "./my.py:Mine,scale={a: 1}": "--cell ./my.py:Mine,scale={a: 1}",
        "lstm": "the label 'lstm' is used twice; give one of the cells another `label`, as in --cell CELL,label=v2",
        "gruu": "Nearest: gru.",
    }.items():
        ended = command("run", write(), "--cell", option)
        assert (ended.status, said in ended.err) == (2, True), ended.err


def test_a_label_is_not_in_the_key(command: Command, write: Callable[..., Path]) -> None:
    """Under another label the cell is not trained again."""
    Path("my.py").write_text(SCALED)
    assert command("run", write(), "--workers", 1, "--cell", "./my.py:Mine").status == 0
    ended = command("run", write(), "--workers", 1, "--cell", "./my.py:Mine,label=again")
    assert "6 of these are copied from results/tiny+Mine: rnn, lstm, again" in ended.err
    assert "Nothing to train" in ended.err


@pytest.mark.parametrize(
    ("two", "labels"),
    [
        (("rnn", "lstm"), ["rnn", "lstm"]),
        (("old.py:Mine", "new.py:Mine"), ["old:Mine", "new:Mine"]),
        (("old.py:Mine", "more/old.py:Mine"), ["{here}/old:Mine", "more/old:Mine"]),
        (("gru", "gru,label=other"), ["gru", "other"]),
        (("new.py:Mine", "new.py:Mine,scale=2"), ["Mine", "Mine scale=2"]),
        (("tuned", "new.py:Mine"), ["tuned", "Mine"]),
    ],
)
def test_versus(two: tuple[str, str], labels: list[str]) -> None:
    """Two cells alone, the first as the baseline, by names that tell them apart; labels of the experiment count."""
    for name in ("old.py", "new.py", "more/old.py"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(SCALED)
    experiment = {**TINY, "cells": [*TINY["cells"], {"name": "lstm", "label": "tuned", "options": {"forget_bias": 1}}]}
    loaded = load(experiment, discover(), versus=two)
    labels = [label.replace("{here}", Path.cwd().name) for label in labels]
    assert [cell.label for cell in loaded.cells] == labels
    assert loaded.baseline == labels[0]
    assert loaded.base == "tiny"
    if labels[0] == "tuned":
        assert dict(loaded.cells[0].options) == {"forget_bias": 1}
        assert (loaded.name, loaded.added) == ("tiny+tuned-vs-Mine", ("Mine",))


@pytest.mark.parametrize(
    ("two", "said"),
    [
        (("rnn", "rnn"), "compare rnn rnn  names one cell twice"),
        (("rnn", "nothing.py:C"), "no such file"),
        (("rnn", "lsm"), "Nearest: lstm."),
        (("rnn", "x.py"), "compare x.py  must be FILE:CLASS"),
    ],
)
def test_versus_faults(two: tuple[str, str], said: str) -> None:
    """What cannot be compared is a fault that names the argument."""
    with pytest.raises(ExperimentError) as refused:
        load(TINY, discover(), versus=two)
    assert said in str(refused.value)


def test_layers_are_the_harness_s() -> None:
    """`--cell` and `compare` stack a cell; its label says so, unless it has one."""
    found = load(
        TINY, discover(), extra_cells=["gru,layers=2", "gru,layers=3,label=deep", "lstm,layers=2,forget_bias=1"]
    )
    assert [(c.label, c.layers, dict(c.options).get("forget_bias")) for c in found.cells[2:]] == [
        ("gru layers=2", 2, None), ("deep", 3, None), ("lstm layers=2", 2, 1)
    ]  # fmt: skip
    assert found.name == "tiny+gru-layers-2+deep+lstm-layers-2"
    two = load(TINY, discover(), versus=["lstm", "lstm,layers=2"])
    assert [(c.label, c.layers) for c in two.cells] == [("lstm", 1), ("lstm layers=2", 2)]
    for text, said in (("gru,layers=0", "greater than or equal to 1"), ("gru,layers=deep", "expected a whole number")):
        with pytest.raises(ExperimentError, match=rf"--cell {text}  cells\[2\]\.layers: is .*{said}"):
            load(TINY, discover(), extra_cells=[text])
