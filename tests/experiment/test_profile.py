"""A profile: one file, one experiment for each task, and the matrix of all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from cellbench.errors import ExperimentError
from cellbench.experiment.profile import load_profile
from cellbench.plugins import discover
from tests.helpers.commands import Command
from tests.helpers.tasks import TINY, write

ROOT = Path(__file__).parents[2]
COMMON = {key: value for key, value in TINY.items() if key not in ("task", "grid")}
PROFILE: dict[str, Any] = {
    **COMMON,
    "name": "many",
    "grid": {"batch_size": 4, "hidden_size": 3},
    "tasks": {
        "binary_addition": {"grid": {"bits": [3, 4]}, "final": {"bits": [6], "difficulty": False}},
        "own": {"task": "./mytask.py:Parity", "grid": {"length": [3]}, "seeds": 3},
    },
}


def file(**changes: Any) -> Path:
    write()
    path = Path("many.yaml")
    path.write_text(yaml.safe_dump(PROFILE | changes, sort_keys=False))
    return path


def test_one_experiment_for_each_task() -> None:
    """Each has the file's keys and its own; what the command line gives is for all."""
    found = load_profile(file(), discover(), overrides=["train.max_steps=7"], extra_cells=["gru"])
    assert found.name == "many+gru"
    one, two = found.experiments.values()
    assert [one.name, two.name] == ["many.binary_addition+gru", "many.own+gru"]
    assert [one.settings.task, two.settings.task] == ["binary_addition", "mytask.py:Parity"]
    assert one.axes == (("bits", (3, 4)),)
    assert one.settings.final.values == (("bits", (6,)),)
    assert (len(one.seeds), len(two.seeds)) == (2, 3)
    assert one.settings.train.max_steps == two.settings.train.max_steps == 7
    assert [cell.label for cell in two.cells] == ["rnn", "lstm", "gru"]


def test_keys_of_the_whole_file_on_the_command_line() -> None:
    """`name` renames all folders, `tasks.TASK...` changes one task, any other key all of them."""
    given = ["name=other", "tasks.own.train.max_steps=3", "seeds=4"]
    found = load_profile(file(), discover(), overrides=given)
    assert found.name == "other"
    one, two = found.experiments.values()
    assert [one.name, two.name] == ["other.binary_addition", "other.own"]
    assert [len(one.seeds), len(two.seeds)] == [4, 4]
    assert two.settings.train.max_steps == 3 != one.settings.train.max_steps


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no tasks": ({"tasks": {}}, "a profile is an experiment with `tasks`"),
    "a task too": ({"task": "binary_addition"}, "a profile has `tasks`, and no `task`"),
    "cells of its own": ({"tasks": {"binary_addition": {"cells": ["rnn"]}}}, "is the same for all tasks"),
    "a list": ({"tasks": {"binary_addition": [1]}}, "expected keys of an experiment"),
    "no name of a folder": ({"tasks": {"./mytask.py:Parity": {}}}, "cannot name a results folder"),
    "no such task": ({"tasks": {"pariti": {}}}, "no task named 'pariti'"),
    "a wrong key": ({"tasks": {"binary_addition": {"grid": {"bit": 3}}}}, "the task binary_addition has no such key"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults(name: str) -> None:
    """Each is at its line of the file."""
    changes, said = FAULTS[name]
    with pytest.raises(ExperimentError) as caught:
        load_profile(file(**changes), discover())
    assert said in str(caught.value)
    assert "many.yaml:" in str(caught.value)


@pytest.mark.slow
def test_the_command(command: Command) -> None:
    """It trains each task in a folder of its own, prints the matrix, writes it, and does nothing the second time."""
    path = file()
    first = command("profile", str(path), "--workers", "1", "--quiet")
    assert first.status == 0, first.err
    assert "rnn against lstm: " in first.out
    assert Path("results/many/profile.md").read_text().startswith("# many: 1 cell against lstm on 2 tasks\n")
    assert pd.read_csv("results/many/profile.csv")["task"].tolist() == ["binary_addition", "own"]
    assert Path("results/many.own/summary.md").exists()
    before = Path("results/many.own/runs.sqlite").read_bytes()
    assert command("profile", str(path), "--workers", "1", "--quiet").out == first.out
    assert Path("results/many.own/runs.sqlite").read_bytes() == before
    added = command("profile", str(path), "--workers", "1", "--quiet", "--cell", "gru")
    page = added.out.splitlines()[-1].removeprefix("A page for each task: ")
    assert (Path(page.replace("TASK", "own")).parent / "summary.md").exists(), added.err


def test_dry_run(command: Command) -> None:
    """It says what each task would train, adds up, and leaves nothing behind; `--only` limits it."""
    path = file()
    whole = command("profile", path, "--dry-run")
    assert whole.status == 0, whole.err
    assert "many.binary_addition: 8 replicas, 0 of them done" in whole.out
    assert "many.own: 6 replicas, 0 of them done" in whole.out
    assert "All tasks: 14 replicas to train, about " in whole.out
    part = command("profile", path, "--dry-run", "--only", "own,cell=rnn")
    assert "All tasks: 3 replicas to train" in part.out
    assert "binary_addition" not in part.out
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("owm", "--only owm: no such task in the profile, and no KEY=VALUE. Did you mean own?"),
        ("own,bits=3", "--only bits=3: no such key."),
        ("length=3", "This is of the task binary_addition"),
    ],
)
def test_a_part_that_is_not_there(given: str, said: str, command: Command) -> None:
    """The message says of which task it is, and nothing is run."""
    ended = command("profile", file(), "--only", given)
    assert ended.status == 2
    assert said in " ".join(ended.err.split())
    assert "Traceback" not in ended.err
    assert not Path("results").exists()


@pytest.mark.slow
def test_ranks(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a profile's folder it has each task's ranks, and counts the tasks at which a cell is among the fastest."""
    path = file(cells=["rnn", "lstm", "gru"], engine="auto", train={"max_steps": 40})
    assert command("profile", path, "--workers", 1, "--quiet").status == 0
    monkeypatch.setenv("COLUMNS", "80")
    shown = command("rank", "results/many")
    assert (shown.status, shown.err) == (0, "")
    assert max(map(len, shown.out.splitlines())) <= 80
    assert all(word in shown.out for word in ("binary_addition", "own", "among the fastest on", "rnn", "gru"))
    assert "## Ranks" in command("rank", "results/many", "--format", "md").out
    table = pd.read_csv(io.StringIO(command("rank", "results/many", "--format", "csv").out))
    assert table.groupby("task")["cell"].agg(sorted).tolist() == [["gru", "lstm", "rnn"]] * 2
    for task, part in table.groupby("task"):
        alone = pd.read_csv(io.StringIO(command("rank", f"results/many.{task}", "--format", "csv").out))
        assert part["cell"].tolist() == alone["cell"].tolist()
        assert part["ratio"].tolist() == pytest.approx(alone["ratio"].tolist(), nan_ok=True)
    beside = command("rank", "results/many", "results/many.own")
    assert beside.status == 2
    assert "results/many: is the folder of a profile, which is ranked alone" in beside.err
    Path("results/many/profile.json").write_text('{"tasks": 3}')
    altered = command("rank", "results/many")
    assert altered.status == 2
    assert "profile.json cannot be read" in altered.err
    assert "Traceback" not in altered.err


@pytest.mark.slow
def test_only_one_task(command: Command) -> None:
    """The matrix has its row and names the tasks without results; with the others it has them all."""
    path = file()
    part = command("profile", path, "--workers", 1, "--quiet", "--only", "own,cell=rnn")
    assert part.status == 0, part.err
    first = command("profile", path, "--workers", 1, "--quiet", "--only", "own")
    assert first.status == 0, first.err
    assert not Path("results/many.binary_addition").exists()
    assert pd.read_csv("results/many/profile.csv")["task"].tolist() == ["own"]
    assert "No results yet: binary_addition" in Path("results/many/profile.md").read_text()
    second = command("profile", path, "--workers", 1, "--quiet")
    assert second.status == 0, second.err
    assert pd.read_csv("results/many/profile.csv")["task"].tolist() == ["binary_addition", "own"]
    assert "No results yet" not in Path("results/many/profile.md").read_text()


def test_the_shipped_profile() -> None:
    """It is well formed: eight tasks, each with three points and a length four times the longest that is trained."""
    shipped = yaml.safe_load((ROOT / "experiments/profile.yaml").read_text())
    assert len(shipped["tasks"]) == 8
    for keys in shipped["tasks"].values():
        points = [values for values in keys["grid"].values() if len(values) > 1]
        assert [len(values) for values in points] == [3]
        # two of them, and the matrix would have two longest lengths
        assert len([values for values in keys["final"].values() if values]) == 1
        assert any(
            max(keys["final"].get(name, [0])) >= 4 * max(values) or name == "bits"
            for name, values in keys["grid"].items()
        )


@pytest.mark.slow
def test_a_profile_of_tuned_cells(command: Command) -> None:
    """Where options are tuned, the matrix has the cell, and not its choices."""
    tuned = {"name": "lstm", "tune": {"options.forget_bias": [0, 1]}}
    path = file(cells=["rnn", tuned], baseline="rnn", tuning_budget="any", train={"max_steps": 5})
    ended = command("profile", path, "--workers", 1)
    assert ended.status == 0, ended.err
    frame = pd.read_csv("results/many/profile.csv")
    assert set(frame["cell"]) == {"lstm"}
    assert set(frame["task"]) == {"binary_addition", "own"}
