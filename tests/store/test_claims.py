"""What a stored experiment claims is compared with its plan before anything is computed from it."""

from __future__ import annotations

import json
import resource
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest

import cellbench
from cellbench.errors import ExperimentError, StoreError
from cellbench.experiment import load
from cellbench.plugins import Entry, discover
from cellbench.running import run as run_experiment
from cellbench.tasks.binary_addition import BinaryAddition
from tests.helpers.commands import TINY, Command
from tests.helpers.runs import reseal


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder, made once."""
    folder = tmp_path_factory.mktemp("made") / "out"
    run_experiment({**TINY, "cells": ["rnn"]}, folder, report=False)
    return folder


def put(path: str, value: Any) -> str:
    """The statement that puts a value into the stored experiment; `path` begins with its column."""
    column, _, inner = path.partition(".")
    text = json.dumps(value).replace("'", "''")
    return f"UPDATE experiment SET {column} = json_set({column}, '$.{inner}', json('{text}'))"


def nested(depth: int) -> list[Any]:
    return [] if depth == 0 else [nested(depth - 1)]


MANY_SEEDS = (
    "UPDATE experiment SET resolved = json_set(resolved, '$.seeds', (WITH RECURSIVE n(i) AS "
    "(SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 2999999) SELECT json_group_array(i) FROM n))"
)
CLAIMS: dict[str, tuple[str, str]] = {
    "three million seeds": (MANY_SEEDS, "resolved has"),
    "a hundred thousand seeds": (MANY_SEEDS.replace("2999999", "99999"), "has 100,000 values of seed, its plan has 2"),
    "other seeds": (put("resolved.seeds", [0, 7]), "has 2 values of seed, its plan has 2"),
    "a seed twice": (put("resolved.seeds", [0, 1, 1]), "has 3 values of seed, its plan has 2"),
    "more rates": (put("resolved.learning_rate", [0.05, 0.1]), "has 2 values of learning_rate, its plan has 1"),
    "more cells": (put("resolved.cells", [{"name": "rnn"}, {"name": "x"}]), "2 values of label, its plan has 1"),
    "rows that are missing": ("DELETE FROM plan WHERE position = 1", "values of seed, its plan has 1"),
    "rows of no grid": ("UPDATE plan SET batch_size = 8 WHERE position = 1", "which is not each cell at each point"),
    "evaluations without end": (put("facts.evaluation_steps", list(range(1, 200_000))), "facts.evaluation_steps is"),
    "evaluations after the end": (put("facts.evaluation_steps", [5, 500]), "facts.evaluation_steps is [5, 500]"),
    "evaluations that fall": (put("facts.evaluation_steps", [10, 5]), "facts.evaluation_steps is [10, 5]"),
    "no evaluations": (put("facts.evaluation_steps", []), "facts.evaluation_steps is []"),
    "nested deep": (put("resolved.final.bits", nested(100)), "resolved is nested more than 60 deep"),
    "nested deeper": (put("environment.broken", nested(900)), "environment"),
    "facts that are a list": ("UPDATE experiment SET facts = '[]'", "TypeError"),
    "cells that are texts": (put("facts.cells", {"rnn": "x"}), "facts.cells is {'rnn': 'x'}"),
    "accuracies that are texts": (put("facts.reference_accuracies", {"bits=4": {"x": "y"}}), "reference_accuracies is"),
    "versions that are lists": (put("environment.plugins", {"x": []}), "environment.plugins is {'x': []}"),
    "a name that is a path": (put("resolved.name", "../up"), "resolved.name is '../up'"),
    "an axis that is a path": (put("facts.axes", ["../bits"]), "facts.axes is ['../bits']"),
    "an axis that steers": (put("facts.axes", ["bits\x1b[2J"]), r"facts.axes is ['bits\x1b[2J']"),
    "another axis": (put("facts.axes", ["length"]), "is planned at {'bits': 4}, and the axes are ['length']"),
    "by a path": ("UPDATE evaluation SET by = '/../../up' WHERE by = 'bits'", "are by '/../../up', which is neither"),
    "by what is no axis": ("UPDATE evaluation SET by = 'depth' WHERE by = 'bits'", "are by 'depth', which is neither"),
    "a value that steers": ("UPDATE evaluation SET value = char(27) || 'c' WHERE by = 'bits'", r"axis is '\x1bc'"),
    "a value of bytes": ("UPDATE evaluation SET value = x'00' WHERE by = 'bits'", r"axis is b'\x00'"),
    "a size that is a path": ("UPDATE plan SET size = 'hidden ../3'", "at the size 'hidden ../3'"),
    "parameters without end": (
        "UPDATE plan SET parameters = json_object('bits', printf('%.*c', 200000, 'x'))",
        "the parameters of a replica have 200,",
    ),
    "a label that steers": ("UPDATE plan SET label = char(27)", "its plan has 1"),
    "a decay as text": (put("resolved.train.weight_decay", "x"), "resolved.train.weight_decay is 'x'"),
    "three betas": (put("resolved.train.betas", [0.9, 0.9, 0.9]), "resolved.train.betas is [0.9, 0.9, 0.9]"),
    "a schedule of its own": (put("resolved.train.schedule", "\x1b[2J"), "resolved.train.schedule is '\\x1b[2J'"),
    "options as a list": (put("resolved.train.optimizer_options", [1]), "resolved.train.optimizer_options is [1]"),
    "an option that clears": (put("resolved.train.optimizer_options", {"a": ["\x1b"]}), "train.optimizer_options is"),
    "a value of steps": (put("resolved.train.max_steps", 10**12), "train.max_steps is 1000000000000"),
    "a threshold without end": (put("resolved.solved.threshold", "x"), "solved.threshold is 'x'"),
    "one replica twice": (
        "INSERT INTO replica (family, key, seed, learning_rate, status, cause, final_step, engine, isa, compiler, "
        "seconds, started, finished, host, worker, attempt, traceback, checksum) SELECT 'other', key, seed, "
        "learning_rate, status, cause, final_step, engine, isa, compiler, seconds, started, finished, host, worker, "
        "attempt, traceback, checksum FROM replica WHERE id = 1",
        "is stored more than once",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CLAIMS)
def test_what_is_claimed_and_not_planned(kind: str, made: Path, command: Command) -> None:
    """Sealed again, and refused by whatever lays it out, with what was wrong; the others do their work or say so."""
    statement, said = CLAIMS[kind]
    shutil.copytree(made, "out")
    with closing(sqlite3.connect("out/runs.sqlite", isolation_level=None)) as db:
        assert db.execute(statement).rowcount > 0
    reseal(Path("out"))
    before = sorted(Path().rglob("*"))
    ended = command("report", "out")
    assert (ended.status, said in ended.err) == (2, True), ended.err
    assert len(ended.err) < 1_000
    with pytest.raises(StoreError):
        cellbench.load("out")
    for words in (["status", "out"], ["merge", "to", "out"]):
        assert command(*words).status in (0, 2)
    shutil.rmtree("to", ignore_errors=True)
    assert sorted(Path().rglob("*")) == before


def test_a_label_that_steers_in_the_plan_and_the_experiment(made: Path, command: Command) -> None:
    """A label is printable in an experiment file, and so it is in a store."""
    shutil.copytree(made, "out")
    with closing(sqlite3.connect("out/runs.sqlite", isolation_level=None)) as db:
        db.execute(put("resolved.cells", [{"name": "rnn", "label": "\x1b[2J"}]))
        db.execute("UPDATE plan SET label = char(27) || '[2J'")
    ended = command("report", "out")
    assert (ended.status, r"label '\x1b[2J' holds characters that cannot be printed" in ended.err) == (2, True)


def test_seeds_take_no_memory(made: Path, command: Command) -> None:
    """Three million seeds that only the experiment claims are refused before a table is made of them."""
    shutil.copytree(made, "out")
    with closing(sqlite3.connect("out/runs.sqlite", isolation_level=None)) as db:
        db.execute(MANY_SEEDS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert command("report", "out").status == 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


@pytest.mark.parametrize(("parameter", "difficulty"), [("../bits", "chain"), ("bits", "a\nchain"), ("", None)])
def test_a_task_names_its_axes_as_a_store_does(
    parameter: str, difficulty: str | None, write: Callable[..., Path]
) -> None:
    """A task of a plugin whose parameter could not be a column or a chart's name is refused before it is trained."""
    registry = discover()

    class Odd(BinaryAddition):
        parameters: ClassVar[Any] = {parameter: "a name"}

    Odd.difficulty = difficulty
    registry.tasks["odd"] = Entry("odd", Odd, "", "", {}, "cellbench-odd", "1")
    with pytest.raises(ExperimentError, match="cannot name a column and a chart"):
        load({**TINY, "task": "odd"}, registry)
