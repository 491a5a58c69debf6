"""A task made of arrays: what is drawn is what the file holds, a part is held out, wrong files are named in words."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cellbench
from cellbench.conformance import subject_of_task, task_checks
from cellbench.errors import TaskError
from cellbench.model import task_of
from cellbench.plugins import own_tasks
from cellbench.streams import Stream
from cellbench.task import Task
from tests.helpers.commands import Command
from tests.helpers.runs import go, trained
from tests.helpers.tasks import TINY

RANDOM = np.random.default_rng(0)
TOKENS = RANDOM.integers(0, 4, (40, 6))
REAL = RANDOM.normal(size=(40, 6, 3))
ARRAYS: dict[str, Any] = {**TINY, "name": "arrays", "task": "./data.npz"}
ARRAYS["grid"] = {"batch_size": 4, "hidden_size": 3}


def made(**arrays: Any) -> Task:
    np.savez("data.npz", **arrays)
    return own_tasks.make(own_tasks.read("./data.npz", Path.cwd()))


def drawn(task: Task, purpose: str, count: int = 2_000) -> list[np.ndarray[Any, Any]]:
    return [np.asarray(a) for a in task.batch(Stream(purpose, count=count), count, {})]


SHAPES = {
    # arrays of a file; kind, tokens, inputs and outputs of the task
    "classes of tokens": ({"inputs": TOKENS, "targets": TOKENS[:, ::-1]}, ("classes", True, 4, 4)),
    "one class each": ({"inputs": REAL, "targets": TOKENS[:, 0]}, ("classes", False, 3, 4)),
    "bits": ({"inputs": REAL, "targets": REAL[:, :, :2] > 0}, ("bits", False, 3, 2)),
    "a bit a step": ({"inputs": TOKENS, "targets": TOKENS > 1, "mask": TOKENS != 3}, ("bits", True, 4, 1)),
    "numbers": ({"inputs": REAL, "targets": REAL[:, :, 0]}, ("numbers", False, 3, 1)),
    "a number each": ({"inputs": REAL, "targets": REAL[:, 0, 0]}, ("numbers", False, 3, 1)),
    "said to be bits": ({"inputs": REAL, "targets": TOKENS % 2, "kind": "bits"}, ("bits", False, 3, 1)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_drawn_is_in_the_file(name: str) -> None:
    """Every example is a row of the file, with its own targets and mask; each row has one purpose; all are drawn."""
    arrays, expected = SHAPES[name]
    arrays = dict(arrays)
    if "mask" in arrays:
        arrays["mask"][:, 0] = True  # an example without a step that counts is a fault of the data
    task = made(**arrays)
    assert (task.kind, task.tokens, task.input_size, task.output_size) == expected
    targets = np.asarray(arrays["targets"])
    seen: dict[str, set[int]] = {}
    for purpose in ("data", "evaluation", "final"):
        inputs, answers, *mask = drawn(task, purpose)
        seen[purpose] = set()
        for i in range(200):
            rows = [r for r in range(40) if np.allclose(inputs[:, i], arrays["inputs"][r], atol=1e-6)]
            assert len(rows) == 1
            seen[purpose].add(rows[0])
            if targets.ndim == 1:
                assert answers[-1, i] == pytest.approx(targets[rows[0]])
                assert mask[0][:, i].tolist() == [False] * 5 + [True]
            else:
                assert answers[:, i].ravel() == pytest.approx(targets[rows[0]].ravel().astype(float))
            if "mask" in arrays:
                assert mask[0][:, i].tolist() == arrays["mask"][rows[0]].tolist()
    assert [len(rows) for rows in seen.values()] == [32, 4, 4]
    assert len(set().union(*seen.values())) == 40
    assert all(law(subject_of_task("data.npz")).ok for law in task_checks if law.quick)


def test_a_test_part_of_its_own() -> None:
    """`test_inputs` and `test_targets` are what trained models are evaluated on; a tenth of the rest is the curve's."""
    task = made(inputs=TOKENS[:30], targets=TOKENS[:30], test_inputs=TOKENS[30:], test_targets=TOKENS[30:])
    rows = {purpose: {tuple(row) for row in drawn(task, purpose)[0].T.tolist()} for purpose in ("data", "final")}
    assert rows["final"] == {tuple(row) for row in TOKENS[30:].tolist()}
    assert len(rows["data"]) == 27


def test_a_run(command: Command) -> None:
    """Arrays train, verify, and are in the key by their hash: other numbers train anew, compressed ones do not."""
    made(inputs=TOKENS, targets=TOKENS)
    first = go(ARRAYS, "out")
    assert first["summary.md"].splitlines()[2].startswith("data.npz:arrays")
    np.savez_compressed("data.npz", targets=TOKENS, inputs=TOKENS)
    assert trained(ARRAYS, report=False) == []
    assert "No difference." in command("verify", "out", "--sample", "1").out
    assert cellbench.load("out").examples(label="rnn", seed=0).inputs.shape == (6, 10)  # no code of the folder runs
    made(inputs=TOKENS, targets=TOKENS[::-1])
    task_of.cache_clear()  # as in a process of its own
    changed = command("verify", "out", "--sample", "1")
    assert changed.status == 2
    assert "does not hold the arrays any more" in changed.err
    assert len(trained(ARRAYS, report=False)) == 4


WRONG = {
    "no inputs": ({"targets": TOKENS}, "data.npz holds no inputs; write it by numpy.savez("),
    "another name": ({"inputs": TOKENS, "target": TOKENS}, "data.npz holds 'target'; a file of arrays holds"),
    "flat inputs": ({"inputs": REAL[:, 0], "targets": TOKENS}, "inputs has the shape (40, 3) and the type float64"),
    "other steps": (
        {"inputs": TOKENS, "targets": TOKENS[:, 1:]},
        "(40, 5); expected (40, 6) or (40,)",
    ),
    "fewer targets": ({"inputs": TOKENS, "targets": TOKENS[1:]}, "targets has the shape (39, 6)"),
    "negative classes": ({"inputs": TOKENS, "targets": TOKENS - 1}, "expected classes: whole numbers from 0 on"),
    "negative tokens": ({"inputs": TOKENS - 1, "targets": TOKENS}, "inputs has the token -1"),
    "not finite": ({"inputs": np.full_like(REAL, np.inf), "targets": TOKENS}, "inputs has values that are not finite"),
    "no bits": (
        {"inputs": TOKENS, "targets": TOKENS, "kind": "bits"},
        "other values; expected bits: 0 or 1",
    ),
    "no kind": (
        {"inputs": TOKENS, "targets": TOKENS, "kind": "words"},
        "'words'; it is bits, classes or numbers",
    ),
    "a mask of its own": ({"inputs": TOKENS, "targets": TOKENS, "mask": TOKENS[:, 1:]}, "mask has the shape (40, 5)"),
    "texts": ({"inputs": TOKENS, "targets": TOKENS.astype(str)}, "targets are of the type <U21"),
    "few": ({"inputs": TOKENS[:2], "targets": TOKENS[:2]}, "holds 2 examples, too few to hold some out"),
    "half a test": ({"inputs": TOKENS, "targets": TOKENS, "test_inputs": TOKENS}, "test_inputs without test_targets"),
    "another test": (
        {"inputs": TOKENS, "targets": TOKENS, "test_inputs": TOKENS[:, 1:], "test_targets": TOKENS[:, 1:]},
        "test_inputs is not shaped like inputs",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files(name: str, command: Command) -> None:
    """Each fault names the file and the array, at the line of the experiment, and nothing is run."""
    arrays, said = WRONG[name]
    with pytest.raises(TaskError) as caught:
        made(**arrays)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 no archive", pickle.dumps({"inputs": 1})], ids=["empty", "broken", "a pickle"]
)
def test_no_arrays(content: bytes, command: Command) -> None:
    """What is no archive of arrays is refused in words."""
    Path("data.npz").write_bytes(content)
    ended = command("check", "data.npz")
    assert ended.status == 2
    assert "data.npz cannot be read as arrays" in ended.err
    assert "Traceback" not in ended.err


class Bomb:
    """Says so if it is ever unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("unpickled"),)


def test_nothing_is_unpickled(command: Command) -> None:
    """Objects in a file are refused and their code is not run."""
    np.savez("data.npz", inputs=TOKENS, targets=np.array([Bomb()], dtype=object))
    assert command("check", "data.npz").status == 2
    assert not Path("unpickled").exists()


def test_python(command: Command) -> None:
    """`cellbench.train` takes them too; a missing file is one fault of an experiment."""
    made(inputs=TOKENS, targets=TOKENS)
    assert cellbench.train("rnn", task="data.npz", steps=5, hidden_size=3).curve[-1].step == 5
    with pytest.raises(cellbench.CellbenchError, match=r"task: no such file: .*none\.npz"):
        cellbench.run({**ARRAYS, "task": "none.npz"}, quiet=True)


def test_a_replica_without_parameters_is_named(command: Command) -> None:
    """Where a task has no parameters, a replica's name begins with its batch size."""
    np.savez("data.npz", inputs=TOKENS, targets=TOKENS)
    cellbench.run({**ARRAYS, "train": {"max_steps": 5}}, report=False)
    ended = command("show", "results/arrays", "label=lstm,seed=1")
    assert ended.status == 0, ended.err
    assert ended.out.splitlines()[0] == "lstm at batch 4, hidden 3, rate 0.05, seed 1"
