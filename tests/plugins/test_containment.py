"""A cell that would end the whole program: it fails, by name, and the others' results are there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import cellbench
from tests.helpers.cells import FAILING, MISTAKE
from tests.helpers.commands import Command


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("how", ["raise SystemExit(0)", "import asyncio; raise asyncio.CancelledError"])
@pytest.mark.slow
def test_a_cell_that_exits_in_forward(how: str, workers: int, command: Command, write: Callable[..., Path]) -> None:
    """sys.exit(0) in the middle of training, or whatever is no Exception: its replicas failed, exit 1, none missing."""
    Path("bad.py").write_text(FAILING.replace(MISTAKE, how))
    ended = command("run", write(cells=["rnn", {"name": "bad", "factory": "./bad.py:Failing"}]), "--workers", workers)
    assert ended.status == 1
    runs = cellbench.load("results/tiny").runs
    assert set(runs[runs.label == "bad"].cause) == {"cell"}
    assert set(runs[runs.label == "rnn"].status) == {"censored"}
    assert how.split()[-1].split("(")[0].split(".")[-1] in Path("results/tiny/failures.txt").read_text()


@pytest.mark.parametrize(
    "text",
    [
        "def Failing(input_size, hidden_size): raise SystemExit(0)",
        FAILING.replace("        super()", "        raise SystemExit(0)\n        super()"),
        FAILING.replace("        Failing.calls += 1", "        raise SystemExit(0)"),
        FAILING + "\n    def initial_state(self, batch_size):\n        raise SystemExit(0)\n",
    ],
    ids=["factory", "init", "forward", "initial_state"],
)
def test_a_cell_that_exits_at_once(text: str, command: Command, write: Callable[..., Path]) -> None:
    """Wherever it does: `run` names it and goes on, `check` says so, and neither ends as if all were well."""
    Path("bad.py").write_text(text)
    path = write(cells=["rnn", {"name": "bad", "factory": "./bad.py:Failing"}])
    ended = command("run", path, "--workers", 1)
    assert ended.status == 1
    runs = cellbench.load("results/tiny").runs
    assert list(runs.cause[runs.label == "bad"].unique()) == ["cell"]
    assert set(runs[runs.label == "rnn"].status) == {"censored"}
    checked = command("check", "./bad.py:Failing")
    assert checked.status in (1, 2)
    assert "SystemExit" in checked.out + checked.err


def test_a_file_that_exits(command: Command, write: Callable[..., Path]) -> None:
    """As it is imported: a fault of the experiment, with its place."""
    Path("bad.py").write_text("raise SystemExit(0)")
    ended = command("run", write(cells=["rnn", {"name": "bad", "factory": "./bad.py:Failing"}]), "--workers", 1)
    assert ended.status == 2
    assert "bad.py: importing it raised Exits: SystemExit(0)" in ended.err
    assert command("check", "./bad.py:Failing").status == 2


def test_a_stored_cell_that_exits(command: Command, write: Callable[..., Path]) -> None:
    """`verify` of somebody's results, whose cell exits here: said, and not as success."""
    Path("bad.py").write_text(
        f"import os\n{FAILING.replace(MISTAKE, 'pass')}\n"
        "def make(*sizes):\n    if 'EXITS' in os.environ: raise SystemExit(0)\n    return Failing(*sizes)\n"
    )
    path = write(cells=[{"name": "bad", "factory": "./bad.py:make"}])
    assert command("run", path, "--workers", 1).status == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXITS", "1")
        ended = command("verify", "results/tiny", "--run-code")
    assert ended.status in (1, 2)
    assert "SystemExit" in ended.out + ended.err


def test_a_learnt_initial_state_that_cannot_be_made(command: Command, write: Callable[..., Path]) -> None:
    """Its cell cannot start, and says why; found by reading: planning ended in a traceback."""
    Path("bad.py").write_text(
        FAILING + "\n    def initial_state(self, batch_size):\n        raise ValueError('no state today')\n"
    )
    bad = {"name": "bad", "factory": "./bad.py:Failing", "learn_initial_state": True}
    assert command("run", write(cells=["rnn", bad]), "--workers", 1).status == 1
    runs = cellbench.load("results/tiny").runs
    assert list(runs.cause[runs.label == "bad"].unique()) == ["cell"]
    assert set(runs[runs.label == "rnn"].status) == {"censored"}
    assert "no state today" in Path("results/tiny/failures.txt").read_text()
