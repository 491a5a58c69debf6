"""`cellbench compare A B`: a version against the one before it, with an exit status for CI."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import cellbench
from tests.helpers.cells import MINE
from tests.helpers.commands import Command

SLOW = """\
import torch
from cellbench import Cell


class Mine(Cell):
    \"\"\"An Elman network; `share` of its new state is the old one, so that a greater share learns later.\"\"\"

    def __init__(self, input_size, hidden_size, share=0.0):
        super().__init__(input_size, hidden_size)
        self.linear = torch.nn.Linear(input_size + hidden_size, hidden_size)
        self.share = share

    def forward(self, x, state):
        h = torch.tanh(self.linear(torch.cat([x, state], dim=1)))
        h = self.share * state + (1 - self.share) * h
        return h, h
"""
EASY = {
    "seeds": 8,
    "learning_rate": [0.03],
    "grid": {"bits": 2, "batch_size": 8, "hidden_size": 8},
    "train": {"max_steps": 300, "stop_when_solved": True},
    "evaluate": {"every": 5, "growth": 0, "examples": 64},
    "solved": {"metric": "bit_accuracy", "threshold": 0.8, "hold": 1},
    "final": {"examples": 20, "bits": [], "difficulty": False},
}
"""A task that is solved in a second."""


def test_version_against_version(command: Command, write: Callable[..., Path]) -> None:
    """The later one solves the task in more steps: `slower`, status 0; with --fail-if slower, status 1."""
    Path("old.py").write_text(SLOW)
    Path("new.py").write_text(SLOW)
    words = ["compare", "old.py:Mine", "new.py:Mine,share=0.9", "--experiment", write(**EASY), "--workers", 1]
    ended = command(*words)
    assert ended.status == 0, ended.err
    folder = Path("results/tiny+Mine-vs-Mine-share-0.9")
    assert folder.is_dir(), ended.err
    frame = cellbench.load(folder).comparisons
    assert set(frame.baseline) == {"Mine"}
    assert set(frame.cell) == {"Mine share=0.9"}
    assert "Mine share=0.9: slower" in ended.out
    assert "lstm" not in ended.out
    ended = command(*words, "--fail-if", "slower")
    assert (ended.status, "Nothing to train" in ended.err) == (1, True)
    assert "--fail-if slower: Mine share=0.9 against Mine: slower" in ended.err
    # the other way round it is faster, and nothing is trained: the first folder has both
    back = command("compare", *words[2:0:-1], *words[3:], "--fail-if", "not-faster")
    assert (back.status, "Nothing to train" in back.err) == (0, True), back.err
    assert "Mine: faster" in back.out


def test_seeds_until_decided(command: Command, write: Callable[..., Path]) -> None:
    """`--until-decided` stages the seeds as it does for `run`, and fixed seeds that leave it open point to it."""
    Path("old.py").write_text(SLOW)
    words = ["compare", "old.py:Mine", "old.py:Mine,share=0.9", "--experiment", write(**EASY), "--workers", 1]
    ended = command(*words, "--until-decided", "--fail-if", "slower")
    assert ended.status == 1, ended.err
    assert "decided at 20 of at most 160 seeds, look 1 of 4" in " ".join(ended.out.split())
    # two seeds cannot decide
    few = command(*words, "--set", "seeds=2", "--set", "name=few")
    assert "To add seeds until decided (up to 160, about " in few.err
    assert few.err.rstrip().endswith("--set name=few --until-decided")


@pytest.mark.slow
def test_from_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`cellbench.compare` takes classes and mappings too, and finds what the command would."""
    (tmp_path / "versions.py").write_text(SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    mine = importlib.import_module("versions").Mine
    later = {"factory": mine, "label": "later", "options": {"share": 0.9}}
    found = cellbench.compare(mine, later, quiet=True, name="tried", **EASY)
    assert found.folder == Path("results/tried+Mine-vs-later")
    assert found.verdicts[["cell", "baseline", "verdict"]].values.tolist() == [["later", "Mine", "slower"]]
    back = cellbench.compare(later, "versions.py:Mine", quiet=True, name="tried", **EASY)
    assert back.verdicts.verdict.tolist() == ["faster"]
    # a label of an experiment that was given as keys
    known = {"cells": ["rnn", {"name": "lstm", "label": "ours"}], **EASY, "name": "keys"}
    assert list(cellbench.compare("rnn", "ours", known, seeds=1, quiet=True).runs.cell.unique()) == ["rnn", "lstm"]


@pytest.mark.parametrize(
    ("two", "said"),
    [
        (("lstm", 3), "compare(3)  3 is no cell; give a name, FILE:CLASS, a class or a function"),
        (("lstm", {"label": "x"}), "is no cell"),
        (("lstm", print), "is <built-in function print>; give a class"),
        (("lstm", "lstm"), "names one cell twice"),
        ((nn.GRUCell, nn.GRUCell), "of an installed package"),
    ],
)
def test_what_is_no_cell_is_said(two: tuple[Any, Any], said: str) -> None:
    with pytest.raises(cellbench.CellbenchError) as caught:
        cellbench.compare(*two, quiet=True, **EASY)
    assert said in str(caught.value)
    assert not Path("results").exists()


def test_it_reuses_what_a_run_trained(command: Command, write: Callable[..., Path]) -> None:
    """Labels of the experiment are its cells; after a run of it nothing is trained."""
    cells = ["rnn", "lstm", {"name": "lstm", "label": "forgets", "options": {"forget_bias": 1}}]
    path = write(cells=cells, seeds=3)
    assert command("run", path, "--workers", 1).status == 0
    ended = command("compare", "lstm", "forgets", "--experiment", path, "--workers", 1)
    assert (ended.status, "Nothing to train" in ended.err) == (0, True), ended.err
    assert "6 of these are copied from results/tiny: lstm, forgets" in ended.err
    # what there is no verdict on is not slower
    assert command("compare", "lstm", "forgets", "--experiment", path, "--fail-if", "slower").status == 0
    assert command("compare", "lstm", "forgets", "--experiment", path, "--fail-if", "not-faster").status == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rnn", "rnn"], "names one cell twice"),
        (["rnn", "gone.py:Mine"], "no such file"),
        (["rnn", "lstm", "--fail-if", "faster"], "--fail-if faster: must be slower or not-faster"),
        (["rnn", "my.py:Mine,x=1"], "Mine takes no option 'x'"),
        (["rnn", "my.py:raises"], "raises cannot take a step at hidden size 3"),
    ],
)
def test_refused(words: list[str], said: str, command: Command, write: Callable[..., Path]) -> None:
    """What cannot be compared ends with status 2, and nothing is written."""
    Path("my.py").write_text(f"{MINE}\n\ndef raises(a, b):\n    return 1 / 0\n")
    ended = command("compare", *words, "--experiment", write(), "--workers", 1)
    assert (ended.status, said in ended.err) == (2, True), ended.err
    assert not Path("results").exists()
