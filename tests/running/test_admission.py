"""What a cell must answer before anything of it is trained: what refuses a run, what goes on, what is stored."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cellbench.records import STEP
from cellbench.running import Stage, run
from tests.helpers.commands import TINY, Command

HEAD = """import torch
from torch import nn
from cellbench import Cell


class Mine(Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.linear = nn.Linear(input_size + hidden_size, hidden_size)
        self.h = None

    def forward(self, x, state):
"""
SOUND = f"{HEAD}        h = torch.tanh(self.linear(torch.cat([x, state], dim=1)))\n        return h, h\n"
RAISES = f"{HEAD}        h = self.linear(torch.cat([x, state, x], dim=1))\n        return h, h\n"
NO_FACTORY = SOUND.replace("self.h = None", "self.h = nn.Linear(hidden_size, 'four')")
NO_GRADIENT = SOUND.replace(
    "state], dim=1)))\n", "state], dim=1)))\n        h.register_hook(lambda g: 1 / 0)\n"
).replace("h.register", "if h.requires_grad: h.register")
NOT_A_NUMBER = SOUND.replace("torch.tanh(", "torch.log(-1 - torch.tanh(").replace("dim=1)))", "dim=1))) ** 2)")
IN_SELF = f"""{HEAD}        if self.h is None or len(self.h) != len(x):
            self.h = torch.zeros(len(x), self.hidden_size)
        self.h = torch.tanh(self.linear(torch.cat([x, self.h.detach()], dim=1)))
        return self.h, state
"""
NO_STATE = SOUND.replace("[x, state]", "[x, 0 * state]")
WRONG_AXIS = SOUND.replace("torch.tanh(self.linear(torch.cat([x, state], dim=1)))",
                           "torch.softmax(self.linear(torch.cat([x, state], dim=1)), dim=0)")  # fmt: skip


@pytest.fixture
def mine(tmp_path: Path) -> Callable[[str], None]:
    """`mine(TEXT)` writes mine.py, and a sound one beside it."""
    (tmp_path / "sound.py").write_text(SOUND)

    def make(text: str) -> None:
        (tmp_path / "mine.py").write_text(text)

    return make


def stored(folder: str) -> list[tuple[Any, ...]]:
    """The stored answers: law, hidden size, status, message, place, and the text of the law."""
    with closing(sqlite3.connect(Path(folder) / "runs.sqlite")) as db:
        return db.execute(
            "SELECT law, hidden_size, a.status, message, place, s.text FROM answer a "
            "JOIN source s ON s.sha256 = a.text ORDER BY law, hidden_size"
        ).fetchall()


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        (RAISES, "RuntimeError: mat1 and mat2 shapes cannot be multiplied (5x7 and 5x3)", "13"),
        (NO_FACTORY, "TypeError: ", "10"),
        (NO_GRADIENT, "ZeroDivisionError: division by zero", "14"),
    ],
    ids=["first step", "factory", "gradient"],
)
def test_a_cell_that_raises(
    text: str, said: str, line: str, mine: Callable[[str], None], write: Callable[..., Path], command: Command
) -> None:
    """Exit 2 at once, with the author's own file, line and code, the shapes that came in, and what to do."""
    mine(text)
    ended = command("run", write(), "--cell", "./mine.py:Mine", "--workers", 1)
    assert ended.status == 2
    assert f"Mine cannot take a step at hidden size 3: {said}" in ended.err
    assert f"\nmine.py:{line}\n    {text.splitlines()[int(line) - 1].strip()}\n" in ended.err
    if "first step" in said or "mat1" in said:
        assert "forward was given x (5, 2), state (5, 3)" in ended.err
    assert "`cellbench check ./mine.py:Mine` asks it alone.\nNothing was trained. Mend it" in ended.err
    assert "Traceback" not in ended.err
    assert not Path("results").exists(), "no folder is left behind"


@pytest.mark.parametrize(
    ("text", "law", "how"),
    [
        (NOT_A_NUMBER, STEP, "the output is not finite at step 1"),
        (IN_SELF, "remembers-only-in-the-state", "twice, gives two answers"),
        (NO_STATE, "depends-on-the-state", "the state is not used"),
        (WRONG_AXIS, "examples-are-independent", "changes when the other examples do"),
    ],
    ids=["not a number", "state in self", "state not used", "wrong axis"],
)
def test_a_broken_law(
    text: str, law: str, how: str, mine: Callable[[str], None], write: Callable[..., Path], command: Command
) -> None:
    """By --cell: exit 2 with the law in words. With --trust the cell is trained, and its answers are stored."""
    mine(text)
    words = ["run", write(), "--cell", "./mine.py:Mine", "--workers", 1]
    ended = command(*words)
    assert ended.status == 2
    assert re.search(rf"Mine breaks .*\n(.*\n)*  {law}: .*\n    but .*{re.escape(how)}", ended.err), ended.err
    assert "To train all the same: --trust" in ended.err
    assert not Path("results").exists()
    assert command(*words, "--dry-run").status == 2
    assert command(*words, "--trust").status in (0, 1)
    broken = [row for row in stored("results/tiny+Mine") if row[2] == "fail"]
    assert law in [row[0] for row in broken]
    assert all("def " in row[5] for row in broken), "with the law's own text"


def test_among_others_it_is_planned_as_failed(
    mine: Callable[[str], None], write: Callable[..., Path], command: Command
) -> None:
    """In a file, beside others: a cell that raises fails with its line, the rest is trained, exit 1."""
    mine(RAISES)
    cells = ["lstm", {"name": "broken", "factory": "mine.py:Mine"}]
    ended = command("run", write(cells=cells), "--workers", 1)
    assert ended.status == 1
    assert command("status", "results/tiny").out.splitlines()[1:3] == ["  censored: 2", "  failed: 2"]
    (raised,) = [row for row in stored("results/tiny") if row[2] == "raised"]
    assert raised[:2] == (STEP, 3)
    assert raised[4].startswith("mine.py:13\n    h = self.linear(torch.cat([x, state, x], dim=1))\n")


def test_all_cells_of_a_file(mine: Callable[[str], None], write: Callable[..., Path], command: Command) -> None:
    """Where every cell raises, nothing can be compared: exit 2, nothing trained."""
    mine(RAISES)
    cells = [{"name": "a", "factory": "mine.py:Mine"}, {"name": "b", "factory": "mine.py:Mine"}]
    ended = command("run", write(cells=cells), "--workers", 1)
    assert ended.status == 2
    assert [ended.err.count(f"{label} cannot take a step") for label in "ab"] == [1, 1]


def test_a_broken_law_in_a_file_goes_on(
    mine: Callable[[str], None], write: Callable[..., Path], command: Command
) -> None:
    """A file's cell that breaks a law is trained; the report says so."""
    mine(NO_STATE)
    cells = ["lstm", {"name": "broken", "factory": "mine.py:Mine"}]
    assert command("run", write(cells=cells), "--workers", 1).status == 0
    assert [row[0] for row in stored("results/tiny") if row[2] == "fail"] == ["depends-on-the-state"]


@pytest.mark.slow
def test_asked_once(
    mine: Callable[[str], None], write: Callable[..., Path], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell is asked before its own first replica, and again only for another text, torch or cellbench."""
    mine(SOUND)

    def asked(**keys: Any) -> list[str]:
        stages: list[str] = []
        run(
            {**TINY, "cells": ["rnn", {"name": "Mine", "factory": "mine.py:Mine"}], **keys},
            "out",
            report=False,
            on_event=lambda event: stages.append(event.text) if isinstance(event, Stage) else None,
        )
        return [text for text in stages if text.startswith("checking")]

    assert asked() == ["checking 1 of 2: rnn", "checking 2 of 2: Mine"]
    assert asked() == []
    assert asked(seeds=3) == [], "more replicas of the same text"
    mine(SOUND.replace("tanh", "sigmoid"))
    assert asked() == ["checking 1 of 1: Mine"]
    assert asked(seeds=4, grid={"bits": 4, "batch_size": 4, "hidden_size": [3, 4]}) == [
        "checking 1 of 2: rnn", "checking 2 of 2: Mine",
    ], "a hidden size that neither took a step at"  # fmt: skip
    monkeypatch.setattr("torch.__version__", "99.0")
    assert asked(seeds=5) == ["checking 1 of 2: rnn", "checking 2 of 2: Mine"]
    assert asked(seeds=5) == []


@pytest.mark.slow
def test_a_cell_that_hangs(
    mine: Callable[[str], None], write: Callable[..., Path], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking takes no longer than a chunk may; what was not answered is asked the next time, and training decides."""
    mine(
        SOUND.replace(
            "        h = torch", "        [__import__('time').sleep(0.01) for _ in range(900)]\n        h = torch"
        )
    )
    words = ["run", write(train={"max_steps": 5, "timeout": 1.0}, seeds=1), "--cell", "mine.py:Mine", "--workers", 1]
    ended = command(*words, "--only", "cell=Mine")
    assert ended.status == 1
    assert "1 failed" in command("status", "results/tiny+Mine").out.replace("failed (machine): 1", "1 failed")
    assert stored("results/tiny+Mine") == []


def test_two_new_cells(mine: Callable[[str], None], write: Callable[..., Path], command: Command) -> None:
    """Of two cells that the command line adds, one raises: the other is trained, exit 1."""
    mine(RAISES)
    Path("other.py").write_text(SOUND.replace("Mine", "Other"))
    ended = command("run", write(), "--cell", "mine.py:Mine", "--cell", "other.py:Other", "--workers", 1)
    assert ended.status == 1, ended.err
    assert command("status", "results/tiny+Mine+Other").out.splitlines()[1:3] == ["  censored: 6", "  failed: 2"]


def test_a_law_that_judges_otherwise_is_asked_again(
    mine: Callable[[str], None], write: Callable[..., Path], command: Command
) -> None:
    """What a cell answered to another text of a law stays readable, but says nothing once it answered to today's."""
    mine(SOUND)
    words = ["run", write(cells=["lstm", {"name": "Mine", "factory": "mine.py:Mine"}]), "--workers", 1]
    assert command(*words).status == 0
    asked = stored("results/tiny")
    with closing(sqlite3.connect("results/tiny/runs.sqlite")) as db, db:
        # as if an earlier text of one law, and a law that is asked no more, had found both cells broken
        db.execute("INSERT INTO source VALUES ('0', 'cellbench.conformance.laws:old', 'def old(): ...')")
        db.execute("UPDATE answer SET text = '0', status = 'fail', message = 'as it was' WHERE law = 'shapes'")
        db.execute("UPDATE answer SET law = 'gone', text = '0', status = 'fail' WHERE law = 'depends-on-the-state'")
    assert command("report", "results/tiny").status == 0
    assert "broken law" in Path("results/tiny/summary.md").read_text()
    ended = command(*words)
    assert ended.status == 0, ended.err
    assert "broken law" not in ended.out
    assert stored("results/tiny") == asked
