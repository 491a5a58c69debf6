"""A task of one's own: its text is in the key and the store, workers make it from that, faults are told in words."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import cellbench
from cellbench.experiment import load
from cellbench.plugins import discover
from tests.helpers.commands import Command
from tests.helpers.runs import exports, go, trained
from tests.helpers.tasks import BASE, PARITY, TINY, write

ALL = [("rnn", 0), ("rnn", 1), ("lstm", 0), ("lstm", 1)]


def tasks(folder: str = "out") -> set[str]:
    with closing(sqlite3.connect(f"{folder}/runs.sqlite")) as db, db:
        return {json.loads(text)["task"] for (text,) in db.execute("SELECT key_text FROM family")}


def curves(folder: str = "out") -> list[Any]:
    found = cellbench.load(folder).curves
    return found[["label", "seed", "step", "loss"]].to_numpy().tolist()  # type: ignore[no-any-return]


def test_the_text_is_in_key_and_store() -> None:
    """An edit trains anew, on the same data; the same text in another folder is the same task."""
    write()
    assert sorted(trained(TINY, report=False)) == sorted(ALL)
    assert trained(TINY, report=False) == []
    before = curves()
    write(PARITY + "# an edit\n")
    assert sorted(trained(TINY, report=False)) == sorted(ALL)
    assert curves() == before
    Path("elsewhere").mkdir()
    write(PARITY, "elsewhere/mytask.py")
    assert trained({**TINY, "task": "elsewhere/mytask.py:Parity"}, report=False) == []
    assert tasks() == {"mytask.py:Parity"}
    with closing(sqlite3.connect("out/runs.sqlite")) as db, db:
        texts = {text for (text,) in db.execute("SELECT text FROM source")}
    assert {PARITY, f"{PARITY}# an edit\n"} <= texts


def test_modules_beside_it() -> None:
    """What it imports from beside its file is in the key: an edit there trains anew."""
    Path("helper.py").write_text("def odd(bits):\n    return bits[:1] * 0 + bits.cumsum(0) % 2\n")
    text = PARITY.replace("import random\n", "import random\nfrom helper import odd\n")
    write(text.replace("np.bitwise_xor.accumulate(bits)", "odd(bits)"))
    assert sorted(trained(TINY, report=False)) == sorted(ALL)
    Path("helper.py").write_text("def odd(bits):\n    return bits.cumsum(0) % 2\n")
    assert sorted(trained(TINY, report=False)) == sorted(ALL)


def test_one_text_by_two_doors() -> None:
    """A file's class trains to the losses of the built-in task's own class, drawn by a stream of the same name."""
    write(
        "from cellbench.tasks.binary_addition import BinaryAddition\n\n\nclass Mine(BinaryAddition):\n"
        "    def batch(self, stream, count, parameters):\n        return super().batch(stream, count, parameters)\n"
    )
    own = cellbench.train("rnn", task="./mytask.py:Mine", steps=10, hidden_size=3, bits=4)

    class Mine(type(own.task)):  # type: ignore[misc]
        pass

    Mine.__module__, Mine.__qualname__ = "mytask.py", "Mine"
    again = cellbench.train("rnn", task=Mine, steps=10, hidden_size=3, bits=4)
    assert [p.loss for p in own.curve] == [p.loss for p in again.curve]
    with pytest.raises(cellbench.CellbenchError, match=r"the task mytask\.py:Mine takes bits; given: length"):
        cellbench.train("rnn", task="./mytask.py:Mine", length=4)


@pytest.mark.slow
def test_workers() -> None:
    """Worker processes make it from its text, even if the file is gone by then; results are those of one process."""
    write()
    one = go(TINY, "one")
    experiment = load(TINY, discover())
    Path("mytask.py").unlink()
    cellbench.run(experiment, "two", workers=2, quiet=True)
    two = exports(Path("two"))
    assert two["curves.csv"] == one["curves.csv"]
    assert two["accuracy.csv"] == one["accuracy.csv"]


@pytest.mark.slow
def test_a_class_of_a_program() -> None:
    """`cellbench.run(task=Parity)` carries the class to workers as text; the key has it."""
    program = PARITY + (
        "\nif __name__ == '__main__':\n    import cellbench\n"
        f"    keys = { ({**TINY, 'name': 'program'} | {'task': None})!r}\n"
        "    cellbench.run(folder='out', workers=2, quiet=True, report=False, **{**keys, 'task': Parity})\n"
    )
    Path("program.py").write_text(program)
    subprocess.run([sys.executable, "program.py"], check=True, capture_output=True)
    assert tasks() == {"notebook.py:Parity"}
    assert len(curves()) == 2 * 2 * 2


def test_verify_asks_before_it_runs_the_task(command: Command) -> None:
    """Its stored text is code of the folder: nothing runs it unasked, and it trains to the same numbers."""
    write()
    trained(TINY, report=False)
    Path("mytask.py").unlink()
    refused = command("verify", "out", "--sample", "1")
    assert refused.status == 2
    assert "the task: mytask.py:Parity of a file, as the folder holds it" in refused.out + refused.err
    ended = command("verify", "out", "--sample", "1", "--run-code")
    assert ended.status == 0, ended.err
    assert "No difference." in ended.out
    with pytest.raises(cellbench.CellbenchError, match=r"made by code that out holds \(mytask\.py\)"):
        cellbench.load("out").model(label="rnn", seed=0)
    model = cellbench.load("out").model(label="rnn", seed=0, run_code=True)
    assert model.logits(np.zeros((7, 2, 1), np.float32)).shape == (7, 2, 1)


def test_a_task_that_raises_in_training(command: Command) -> None:
    """No cell is blamed for it: its replicas are missing, not failed, and the task's line is told."""
    write(
        PARITY.replace(
            "        return self.answer(stream",
            "        1 // (stream.purpose != 'final')\n        return self.answer(stream",
        )
    )
    Path("own.yaml").write_text(yaml.safe_dump(TINY))
    ended = command("run", "own.yaml", "--workers", "1")
    assert ended.status == 1
    failures = Path("results/own/failures.txt").read_text()
    assert "task mytask.py:Parity" in failures
    assert "raised ZeroDivisionError" in failures
    assert "1 // (stream.purpose != 'final')" in failures
    runs = cellbench.load("results/own").runs
    assert set(runs["cause"]) == {"machine"}


FAULTS = {
    "no such file": ("./none.py:Parity", "no such file: "),
    "no class": ("./mytask.py", "must be FILE:CLASS, such as ./mytask.py:Parity, a file of arrays"),
    "the classes of the file": ("./mytask.py", "It defines ./mytask.py:Base, ./mytask.py:Parity"),
    "another class": ("./mytask.py:Pariti", "mytask.py has no class or function 'Pariti'"),
    "no registered one": ("pariti", "no task named 'pariti'"),
    "no task": ("./other.py:Nothing", "other.py:Nothing is no cellbench.Task"),
    "without sizes": (
        "./other.py:NoSizes",
        "NoSizes: input_size is missing; give a whole number of 1 or more",
    ),
    "a wrong kind": ("./other.py:Kind", "other.py:Kind: kind is 'words'; it is one of bits, classes, numbers"),
    "no parameters": ("./other.py:NoParameters", "parameters are missing; give their meanings"),
    "a parameter of no use": ("./other.py:Slash", "its parameter 'a/b' cannot name a column"),
    "abstract": ("./other.py:Abstract", "making it raised TypeError: Can't instantiate abstract class Abstract"),
    "raises": ("./other.py:Raises", "making it raised ZeroDivisionError: division by zero\n  "),
    "exits": ("./other.py:Leaves", "which would have ended the whole program"),
    "is not Python": ("./wrong.py:Parity", "wrong.py line 1: importing it raised SyntaxError"),
    "is no text": ("./bytes.py:Parity", "bytes.py cannot be read"),
}
OTHER = f"""{BASE}
class Nothing:
    pass

class NoSizes(Task):
    parameters = {{}}
    def check_parameter(self, name, value): pass
    def batch(self, stream, examples, parameters): pass

class Kind(Base):
    kind = "words"
    def batch(self, stream, examples, parameters): pass

class NoParameters(Task):
    input_size = output_size = 1
    def check_parameter(self, name, value): pass
    def batch(self, stream, examples, parameters): pass

class Slash(Kind):
    kind, parameters = "bits", {{"a/b": ""}}

class Abstract(Base):
    pass

class Raises(Kind):
    def __init__(self):
        1 / 0

class Leaves(Kind):
    def __init__(self):
        raise SystemExit
"""


@pytest.mark.parametrize("name", FAULTS)
def test_faults(name: str, command: Command) -> None:
    """Each is one fault of the file, at its line, exit status 2, with nothing written."""
    task, said = FAULTS[name]
    write()
    write(OTHER, "other.py")
    write("class Parity(:\n", "wrong.py")
    Path("bytes.py").write_bytes(b"\xff\xfe\x00")
    Path("own.yaml").write_text(yaml.safe_dump({**TINY, "task": task}, sort_keys=False))
    ended = command("run", "own.yaml")
    assert ended.status == 2
    assert said in ended.err
    assert "own.yaml:2  task: " in ended.err
    assert "Traceback" not in ended.err
    assert not Path("results").exists()
    if name == "raises":
        assert "other.py:" in ended.err
        assert "1 / 0" in ended.err


def test_the_task_is_named_in_the_report() -> None:
    """The tables say which task it was, and the stored experiment is plain data."""
    write()
    tables = go(TINY, "out")
    assert tables["summary.md"].splitlines()[2].startswith("mytask.py:Parity")
    with closing(sqlite3.connect("out/runs.sqlite")) as db, db:
        (text,) = db.execute("SELECT resolved FROM experiment").fetchone()
    assert json.loads(text)["task"] == "mytask.py:Parity"
