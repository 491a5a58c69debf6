"""Tasks of classes and of numbers through whole runs: what is trained, stored, shown and said of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from cellbench.store import Store
from tests.helpers import kinds
from tests.helpers.tools import paths_with

Cellbench = Callable[..., subprocess.CompletedProcess[str]]
HOOK = """
from cellbench import hookimpl


@hookimpl
def register_tasks(register):
    register(name="echo", factory="kinds_of_tasks:Echo")
    register(name="last", factory="kinds_of_tasks:Last")
    register(name="mean", factory="kinds_of_tasks:LastMean")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a distribution whose tasks are those of the helpers."""
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "kinds_of_tasks.py").write_text(Path(kinds.__file__).read_text() + HOOK)
    facts = folder / "cellbench_kinds-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: cellbench-kinds\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[cellbench]\nkinds = kinds_of_tasks\n")
    return folder


@pytest.fixture
def cellbench(site: Path) -> Cellbench:
    """The command in a process of its own that sees the tasks."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": paths_with(site)}
        command = [sys.executable, "-m", "cellbench", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return call


def written(task: str, **keys: object) -> str:
    """An experiment file of this task."""
    experiment = {
        "name": task, "task": task, "cells": ["lstm", "rnn"], "seeds": 2, "learning_rate": [0.03],
        "grid": {"length": [4], "batch_size": [16], "hidden_size": [8]},
        "train": {"max_steps": 300}, "final": {"examples": 50, "length": [4, 6]}, **keys,
    }  # fmt: skip
    Path(f"{task}.yaml").write_text(yaml.safe_dump(experiment))
    return f"{task}.yaml"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "right", "other"),
    [("echo", "Step accuracy", "Bit accuracy"), ("mean", "Share within 0.04", "Step accuracy")],
)
def test_a_run_of_each_kind(task: str, right: str, other: str, cellbench: Cellbench) -> None:
    """lanes trains it, the report names the accuracy by its kind, and verify and show agree with what is stored."""
    done = cellbench("run", written(task), "--results", "out")
    assert done.returncode == 0, done.stderr
    summary = Path(f"out/{task}/summary.md").read_text()
    assert f"{right} at the trained length" in summary
    assert other not in summary
    with Store(Path("out") / task, write=False) as store:
        facts = store.experiment()["facts"]
    assert facts["kind"] == {"echo": "classes", "mean": "numbers"}[task]
    runs = Path(f"out/{task}/runs.csv").read_text().splitlines()
    head = runs[0].split(",")
    for line in runs[1:]:
        row = dict(zip(head, line.split(","), strict=True))
        assert row["engine"] == "lanes"
        if task == "echo":
            assert row["status"] == "solved"
            assert float(row["final_sequence_accuracy"]) >= 0.99
    again = cellbench("verify", f"out/{task}", "--sample", "2")
    assert again.returncode == 0, again.stdout + again.stderr
    shown = cellbench("show", f"out/{task}", "label=lstm,seed=0", "--examples", "1")
    assert shown.returncode == 0, shown.stderr
    assert "targets" in shown.stdout


@pytest.mark.slow
def test_what_a_mask_leaves_out_is_not_shown(cellbench: Cellbench) -> None:
    """Where a step does not count, targets and outputs are written as a dot."""
    done = cellbench("run", written("last", cells=["gru"], seeds=1), "--results", "out")
    assert done.returncode == 0, done.stderr
    shown = cellbench("show", "out/last", "label=gru,seed=0", "--examples", "1").stdout.splitlines()
    (targets,) = (line.split()[1] for line in shown if line.strip().startswith("targets"))
    (inputs,) = (line.split()[1] for line in shown if line.strip().startswith("inputs"))
    assert targets == f"...{inputs[0]}", "the first token is what it must answer"
