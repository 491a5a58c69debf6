"""Merging: parts give the whole, in any order, again and again; other numbers are refused and shown."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cellbench.errors import StoreError
from cellbench.results import results
from cellbench.running import run as run_experiment
from cellbench.store.merge import merge
from tests.helpers.commands import TINY, Command
from tests.helpers.runs import exports, go, reseal

PARTS = {**TINY, "cells": ["rnn", {"name": "lstm", "label": "=long|<b>"}], "seeds": 4}


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """Three shards of one experiment, beside `whole`."""
    go(PARTS, "whole")
    for i in (1, 2, 3):
        run_experiment(PARTS, f"s{i}", shard=(i, 3), report=False)
    return [tmp_path / f"s{i}" for i in (1, 2, 3)]


def numbers(folder: Path) -> dict[str, Any]:
    """The exports, made again."""
    results.write(folder, charts=False)
    return exports(folder)


def change(folder: Path, *statements: str) -> None:
    with closing(sqlite3.connect(folder / "runs.sqlite")) as db, db:
        for statement in statements:
            db.execute(statement)
    reseal(folder)


@pytest.mark.slow
def test_merged_shards_are_the_undivided_run(parts: list[Path], command: Command, tmp_path: Path) -> None:
    """Every export equals that of one run, in all six orders, at once, one after another, twice, and onto itself."""
    whole = numbers(Path("whole"))
    for i, order in enumerate(itertools.permutations(parts)):
        merge(tmp_path / f"m{i}", order)
        assert numbers(tmp_path / f"m{i}") == whole
    for part in (*parts, *parts):
        merge(tmp_path / "slow", [part])
    assert numbers(tmp_path / "slow") == whole
    ended = command("merge", "slow", "slow", *parts)
    assert (ended.status, ended.err) == (0, "8 replicas planned, 0 of them missing, in slow\n")
    assert numbers(tmp_path / "slow") == whole
    ended = command("merge", "part", parts[0], parts[2])
    assert "replicas planned, 3 of them missing, in part" in ended.err
    # what was merged goes on like any other run
    run_experiment(PARTS, "part", report=False)
    assert numbers(Path("part")) == whole


CONFLICTS = {
    "status": ("UPDATE replica SET status = 'diverged'", "status 'censored' and 'diverged'"),
    "loss": ("UPDATE replica SET final_loss = 0.25", "and 0.25"),
    "curve": ("UPDATE curve SET loss = loss + 1e-9 WHERE step = 10", "curve at step 10"),
    "a point more": ("DELETE FROM curve WHERE step = 20", "curve at step 20"),
    "evaluation": ("UPDATE evaluation SET bit_accuracy = 0 WHERE position = 1", "evaluation at position 1"),
    "instruction set": ("UPDATE replica SET isa = 'vax'", "and 'vax'"),
}


def test_other_numbers_are_refused_and_shown(command: Command) -> None:
    """One number changed in a copy: exit 2, the replica and both values are named, and OUT is as it was."""
    run_experiment(TINY, "a", report=False)
    merge(Path("out"), [Path("a")])
    before = Path("out/runs.sqlite").read_bytes()
    for kind, (statement, said) in CONFLICTS.items():
        shutil.rmtree("b", ignore_errors=True)
        shutil.copytree("a", "b")
        first = "(SELECT r.{} FROM plan p JOIN replica r ON r.key = p.key ORDER BY p.position LIMIT 1)"
        which = "key = " + first.format("key") if "UPDATE replica" in statement else "replica = " + first.format("id")
        change(Path("b"), f"{statement} {'AND' if 'WHERE' in statement else 'WHERE'} {which}")
        for order in (["a", "b"], ["b"], ["b", "a"]):
            ended = command("merge", "out", *order)
            assert ended.status == 2, kind
            assert said in ended.err, kind
            assert "rnn at bits 4, batch 4, hidden 3, rate 0.05, seed 0" in ended.err, kind
            assert Path("out/runs.sqlite").read_bytes() == before
            assert sorted(p.name for p in Path("out").iterdir()) == [".lock", "runs.sqlite"]


def test_parts_from_two_devices(command: Command) -> None:
    """A part that a card trained and one of the CPU make one folder; one line counts them, and a run goes on there."""
    for i in (1, 2):
        run_experiment(TINY, f"s{i}", shard=(i, 2), report=False)
    change(Path("s1"), "UPDATE replica SET device = 'NVIDIA H100', isa = 'sm_90'")
    ended = command("merge", "out", "s1", "s2")
    assert ended.status == 0, ended.err
    assert "rnn: " in ended.err
    assert "sm_90" in ended.err
    assert ", NVIDIA H100" in ended.err
    go({**TINY, "seeds": 3}, "out")
    said = Path("out/summary.md").read_text()
    assert "replicas of one cell were trained differently" in said
    assert said.count("computed by NVIDIA H100") == 1


@pytest.mark.parametrize("harm", ["DELETE FROM family WHERE rowid = 1", "UPDATE family SET key_text = '{}'"])
def test_a_damaged_part_is_named_whatever_the_order(harm: str, command: Command) -> None:
    """A part is compared with its checksums before it is taken over, the other way round too."""
    for i in (1, 2):
        run_experiment(TINY, f"s{i}", shard=(i, 2), report=False)
    shutil.copytree("s1", "harmed")
    with closing(sqlite3.connect("harmed/runs.sqlite", isolation_level=None)) as db:
        db.execute(harm)
    for order in (["harmed", "s1"], ["s1", "harmed"], ["s2", "harmed"], ["harmed", "s2"]):
        ended = command("merge", "out", *order)
        assert (ended.status, "harmed/runs.sqlite: the numbers of" in ended.err) == (2, True), ended.err
    assert not Path("out/runs.sqlite").exists()


def test_volatile_columns_may_differ_and_a_result_beats_a_machines_fault() -> None:
    """When and where are no numbers; what a machine lost in one part is taken from the other, in both orders."""
    run_experiment(TINY, "a", report=False)
    shutil.copytree("a", "b")
    change(Path("b"), "UPDATE replica SET host = 'b', worker = '1', seconds = 9, attempt = 2, started = 'x'")
    change(
        Path("b"),
        "DELETE FROM curve WHERE replica = 2", "DELETE FROM evaluation WHERE replica = 2",
        "UPDATE replica SET status = 'failed', cause = 'machine', final_loss = NULL, traceback = 'gone' WHERE id = 2",
    )  # fmt: skip
    whole = numbers(Path("a"))
    for name, order in (("ab", ["a", "b"]), ("ba", ["b", "a"])):
        assert merge(Path(name), [Path(p) for p in order]).tally.by_status == {"censored": 4}
        assert numbers(Path(name)) == whole


def test_what_is_no_part_is_refused(command: Command) -> None:
    """Another experiment, another text of a cell, another engine, an empty folder: exit 2, and why."""
    run_experiment(TINY, "a", report=False)
    for name, keys, said in (
        ("seeds", {"seeds": 3}, "seeds is [0, 1] in the first, [0, 1, 2] in the second"),
        ("engine", {"engine": "stack"}, "engine is 'reference' in the first, 'stack' in the second"),
    ):
        run_experiment({**TINY, **keys}, name, report=False)
        ended = command("merge", "out", "a", name)
        assert (ended.status, said in ended.err) == (2, True), ended.err
    shutil.copytree("a", "text")
    change(Path("text"), "UPDATE plan SET key = replace(key, substr(key, 1, 4), 'ffff')")
    assert "the text of a cell or task" in command("merge", "out", "a", "text").err
    shutil.copytree("a", "other")
    change(Path("other"), "UPDATE engine SET engine = 'lanes'")
    assert "must come from one engine" in command("merge", "out", "a", "other").err
    Path("empty").mkdir()
    assert command("merge", "out", "a", "empty").err == "empty holds no runs.sqlite: no results to merge\n"
    assert not Path("out/runs.sqlite").exists()
    with pytest.raises(StoreError):
        merge(Path("out"), [Path("nowhere")])


def test_a_merged_folder_goes_on_as_the_whole(command: Command, write: Callable[..., Path]) -> None:
    """Not as the shard whose command was the last: `status` gives the command that trains what no shard has."""
    path = write(**PARTS)
    for number in (1, 3):
        ended = command("run", path, "--shard", f"{number}/3", "--results", f"p{number}", "--no-report", "--workers", 1)
        assert ended.status == 0, ended.err
    shard = command("status", "p1/tiny").out
    assert shard.rstrip().endswith(f"  cellbench run {path} --shard 1/3 --results p1 --no-report --workers 1")
    for out, first in (("m/tiny", []), ("m/other", ["  cellbench merge m/tiny m/other"])):
        assert command("merge", out, "p1/tiny", "p3/tiny").status == 0
        lines = command("status", out).out.splitlines()
        run = f"  cellbench run {path} --no-report --workers 1 --results m"
        assert lines[lines.index("Not complete. To go on:") + 1 :] == [*first, run]
    assert command(*run.split()[1:]).status == 0
    assert "Complete." in command("status", "m/tiny").out
