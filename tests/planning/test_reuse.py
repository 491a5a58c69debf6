"""Nothing is trained twice: replicas that another folder of the same experiment holds are copied, to the bit."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cellbench.engines.on_torch import compiler, instruction_set
from cellbench.store.schema import LATER, OUTCOME, WHO
from tests.helpers.cells import FAILING, MINE
from tests.helpers.commands import Command
from tests.helpers.runs import exports, reseal

STORED = Path(__file__).parents[1] / "stored" / "db868fb"

FORGETS = """\
import torch
from cellbench import Cell


class Mine(Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.linear = torch.nn.Linear(input_size, hidden_size)

    def forward(self, x, state):
        h = torch.tanh(self.linear(x))
        return h, h
"""

REPLICA = (*WHO, *OUTCOME, "checksum")


def held(folder: str) -> dict[str, Any]:
    """Everything that a store holds of each replica, what differs between runs included, by its key."""
    found = {}
    with closing(sqlite3.connect(f"{folder}/runs.sqlite")) as db:
        there = {row[1] for row in db.execute("PRAGMA table_info(replica)")}
        columns = ", ".join(name if name in there else "NULL" for name in REPLICA)
        for number, *row in db.execute(f"SELECT id, {columns} FROM replica").fetchall():
            curve = db.execute(
                "SELECT step, loss, bit_accuracy, sequence_accuracy FROM curve WHERE replica = ? ORDER BY step",
                (number,),
            )
            evaluations = db.execute(
                "SELECT position, by, value, bit_accuracy, sequence_accuracy FROM evaluation WHERE replica = ? "
                "ORDER BY position", (number,)
            )  # fmt: skip
            found[row[0]] = (*row, curve.fetchall(), evaluations.fetchall())
    return found


@pytest.fixture
def mine() -> None:
    Path("mycell.py").write_text(MINE)


def test_baselines_are_copied(mine: None, command: Command, write: Callable[..., Path]) -> None:
    """With `--cell` after a plain run only the new cell is trained; the report is that of a run that trained all."""
    assert command("run", write(), "--workers", 1).status == 0
    words = ["run", write(), "--workers", 1, "--cell", "./mycell.py:Mine"]
    assert "4 of these are copied from results/tiny: rnn, lstm" in command(*words, "--dry-run").out
    ended = command(*words)
    assert ended.status == 0, ended.err
    assert "tiny+Mine: 6 replicas, 4 of them done, in results/tiny+Mine\n4 of these are copied from" in ended.err
    assert "Trained 2 replicas" in ended.err
    before, after = held("results/tiny"), held("results/tiny+Mine")
    assert {key: after[key] for key in before} == before, "to the bit, and with the hour at which they were trained"
    assert command(*words, "--results", "elsewhere").err.count("copied") == 0
    assert exports(Path("results/tiny+Mine")) == exports(Path("elsewhere/tiny+Mine"))
    verified = command("verify", "results/tiny+Mine", "--sample", 6, "--run-code")
    assert (verified.status, "Trained 6 of 6 replicas again" in verified.out) == (0, True)
    assert "bit for bit.\nNo difference." in verified.out
    # the other way too, from every folder that has some; and nothing is left to be trained
    Path("mycell.py").write_text(MINE.replace("Mine", "Other"))
    assert "Trained 2 replicas" in command(*words[:-1], "mycell.py:Other").err
    Path("results/tiny/runs.sqlite").unlink()
    third = command("run", write(), "--workers", 1)
    assert "4 of these are copied from results/tiny+Mine: rnn, lstm" in third.err
    assert "Nothing to train" in third.err
    assert held("results/tiny") == before
    assert "copied" not in command("run", write(), "--workers", 1).err


def test_only_of_the_same_experiment(command: Command, write: Callable[..., Path]) -> None:
    """A folder of another name is not looked into, nor is any with --fresh; another budget is another key."""
    for name in ("tiny", "tiny2", "a"):
        assert "Trained 4 replicas" in command("run", write(name=name), "--workers", 1).err
    ended = command("run", write(name="a+b", train={"max_steps": 25}), "--workers", 1)
    assert "Trained 4 replicas" in ended.err
    assert command("run", write(name="tiny"), "--workers", 1, "--set", "seeds=3").status == 0
    shutil.copytree("results/tiny", "results/tiny+x")
    ended = command("run", write(), "--workers", 1, "--fresh")
    assert "Trained 4 replicas" in ended.err
    assert "copied" not in ended.err


def test_only_by_the_same_arithmetic(command: Command, write: Callable[..., Path]) -> None:
    """What another engine, compiler or instruction set trained is trained again: its last bits may differ."""
    assert command("run", write(), "--workers", 1).status == 0
    shutil.copytree("results/tiny", "results/tiny+x")
    shutil.rmtree("results/tiny")
    ended = command("run", write(engine="stack"), "--workers", 1)
    assert (ended.status, "Trained 4 replicas" in ended.err) == (0, True)
    shutil.rmtree("results/tiny")
    with closing(sqlite3.connect("results/tiny+x/runs.sqlite")) as db, db:
        db.execute("UPDATE replica SET engine_version = 7 WHERE seed = 0")
    ended = command("run", write(), "--workers", 1)
    assert "results/tiny+x was passed over: " in ended.err, "the version is among the numbers that are checked"
    assert "Trained 4 replicas" in ended.err


def damage(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[4096 : len(whole) // 2] = b"\xff" * (len(whole) // 2 - 4096)
    path.write_bytes(whole)


def falsify(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE replica SET final_loss = 0.25 WHERE seed = 1")


def falsify_curve(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE curve SET loss = 0.25 WHERE step = 10")


def swap_rates(path: Path) -> None:
    """A replica of another rate, under the key of this one, with a checksum that fits."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE replica SET learning_rate = 0.1")
    reseal(path.parent)


@pytest.mark.parametrize(
    "spoil", [damage, falsify, falsify_curve, swap_rates, lambda path: path.write_text("no store\n")],
    ids=["damaged", "a number", "a curve", "another rate", "no store"],
)  # fmt: skip
def test_a_bad_neighbour_is_passed_over(
    spoil: Callable[[Path], None], mine: None, command: Command, write: Callable[..., Path]
) -> None:
    """Nothing is taken from a folder that is damaged or was altered; one line says so, and the run goes on."""
    assert command("run", write(), "--workers", 1).status == 0
    spoil(Path("results/tiny/runs.sqlite"))
    before = Path("results/tiny/runs.sqlite").read_bytes()
    ended = command("run", write(), "--workers", 1, "--cell", "./mycell.py:Mine")
    assert ended.status == 0, ended.err
    assert ended.err.count("\nresults/tiny was passed over: ") == 1
    assert "Trained 6 replicas" in ended.err
    assert Path("results/tiny/runs.sqlite").read_bytes() == before


def test_failures_are_not_copied(command: Command, write: Callable[..., Path]) -> None:
    """A cell that failed there is tried again here."""
    Path("mine.py").write_text(FAILING)
    cells = ["rnn", {"name": "mine", "factory": "mine.py:Failing"}]
    assert command("run", write(cells=cells), "--workers", 1).status == 1
    ended = command("run", write(name="tiny+x", cells=cells), "--workers", 1, "--set", "name=tiny+x")
    assert ended.status == 1
    # by its own name, tiny+x, no folder belongs to it
    assert "copied" not in ended.err
    shutil.rmtree("results/tiny")
    ended = command("run", write(cells=cells), "--workers", 1)
    assert "2 of these are copied from results/tiny+x: rnn\n" in ended.err
    assert ended.status == 1


def test_answers_are_copied(command: Command, write: Callable[..., Path]) -> None:
    """A cell that broke a law where it was trained has that verdict where it is copied to."""
    Path("mine.py").write_text(FORGETS)
    words = ["run", write(), "--workers", 1, "--cell", "./mine.py:Mine"]
    assert command(*words, "--trust").status == 0
    Path("mycell.py").write_text(MINE.replace("Mine", "Other"))
    ended = command(*words, "--cell", "mycell.py:Other")
    assert "6 of these are copied from results/tiny+Mine: rnn, lstm, Mine" in ended.err
    assert "Mine: broken law" in ended.out


@pytest.mark.parametrize("name", ["small", "small+old"])
def test_a_folder_of_an_older_schema(name: str, command: Command) -> None:
    """What commit db868fb stored is copied too, and its folder stays as it was."""
    shutil.copytree(STORED, ".", dirs_exist_ok=True)
    Path("results").mkdir()
    Path("small").rename(f"results/{name}")
    with closing(sqlite3.connect(f"results/{name}/runs.sqlite")) as db, db:
        # as if this machine had trained it: its own compiler and instruction set
        db.execute("UPDATE replica SET engine = 'reference', isa = ?, compiler = ?", (instruction_set(), compiler()))
    reseal(Path(f"results/{name}"))
    before = held(f"results/{name}")
    Path("mycell.py").write_text(MINE)
    words = ["run", "small.yaml", "--workers", 1, "--cell", "./mycell.py:Mine", "--set", "engine=reference"]
    ended = command(*words, "--only", "cell=rnn,cell=gated,cell=Mine,bits=4,seed=0")
    assert ended.status == 0, ended.err
    assert f"4 of these are copied from results/{name}: rnn, gated" in ended.err
    assert "Trained 2 replicas" in ended.err
    after = held("results/small+Mine")
    assert set(after) & set(before) == {key for key in after if after[key] == before.get(key)}
    assert len(set(after) & set(before)) == 4
    assert all(row[REPLICA.index("engine_version")] is None for key, row in after.items() if key in before)
    assert LATER["engine_version"] == 1
    assert held(f"results/{name}") == before
