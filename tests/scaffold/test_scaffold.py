"""`cellbench new` writes what works unedited, and overwrites nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
import venv
from pathlib import Path
from typing import Any

import pytest
import yaml

from cellbench import CellbenchError
from cellbench.conformance import LAWS, subject_of_task, task_checks
from cellbench.conformance.report import subject_of
from cellbench.experiment import experiment
from cellbench.experiment import sections as keys
from cellbench.plugins import discovery as plugins
from cellbench.scaffold import new_experiment, new_package, new_task

ROOT = Path(__file__).parents[2]


def test_writes_a_package(tmp_path: Path) -> None:
    folder = new_package("my-gate", tmp_path)
    assert folder == tmp_path / "cellbench-my-gate"
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == [
        ".github/workflows/tests.yml",
        ".gitignore",
        "LICENSE",
        "README.md",
        "cellbench_my_gate/__init__.py",
        "cellbench_my_gate/cell.py",
        "experiment.yaml",
        "pyproject.toml",
        "tests/test_my_gate.py",
    ]
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["name"] == "cellbench-my-gate"
    assert project["project"]["entry-points"]["cellbench"] == {"my_gate": "cellbench_my_gate"}
    text = "".join(p.read_text() for p in folder.rglob("*") if p.is_file())
    assert not re.search(r"\$[a-z]", text), "a template's word was not filled in"


def test_what_must_be_replaced_is_listed(tmp_path: Path) -> None:
    """Every placeholder in capitals is named in the README, with its file; the workflow is one that YAML reads."""
    folder = new_package("my-gate", tmp_path)
    listed = (folder / "README.md").read_text().partition("## Before you publish it")[2]
    found = {
        (path.relative_to(folder).as_posix(), word)
        for path in folder.rglob("*")
        if path.is_file() and path.name != "README.md"
        for word in re.findall(r"YOUR[ -][A-Z]+|YEAR", path.read_text())
    }
    assert found == {
        ("LICENSE", "YEAR"),
        ("LICENSE", "YOUR NAME"),
        ("pyproject.toml", "YOUR NAME"),
        ("pyproject.toml", "YOUR-ACCOUNT"),
    }
    for file, word in found:
        assert any(f"`{file}`" in line and f"`{word}`" in line for line in listed.splitlines()), (file, word)
    workflow = yaml.safe_load((folder / ".github/workflows/tests.yml").read_text())
    assert "cellbench check my-gate" in [step.get("run") for step in workflow["jobs"]["test"]["steps"]]


def test_the_new_cell_keeps_the_laws(tmp_path: Path) -> None:
    subject = subject_of(f"{new_package('my-gate', tmp_path)}/cellbench_my_gate/cell.py:MyGate")
    assert {str(check): check(subject).message for check in LAWS if not check(subject).ok} == {}


@pytest.mark.parametrize(
    ("name", "class_name"), [("none", "NoneCell"), ("cell", "CellCell"), ("x2", "X2"), ("a-b-3", "AB3")]
)
def test_names_the_class_after_the_cell(name: str, class_name: str, tmp_path: Path) -> None:
    folder = new_package(name, tmp_path)
    text = (folder / f"cellbench_{name.replace('-', '_')}" / "cell.py").read_text()
    assert f"class {class_name}(Cell):" in text
    compile(text, "cell.py", "exec")


@pytest.mark.parametrize(
    "name", ["", "My-Gate", "2fast", "a_b", "a--b", "-a", "a-", "a/b", "../a", "a b", "naïve", "a\n", "x" * 41]
)
def test_refuses_a_name_of_no_use(name: str, tmp_path: Path) -> None:
    with pytest.raises(CellbenchError, match="cannot name a cell"):
        new_package(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_refuses_a_name_that_is_taken(tmp_path: Path) -> None:
    with pytest.raises(CellbenchError, match=r"a cell named 'lstm' exists already, from cellbench "):
        new_package("lstm", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_never_overwrites_a_folder(tmp_path: Path) -> None:
    kept = tmp_path / "cellbench-mine" / "notes.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(CellbenchError, match="exists already, and was left as it is"):
        new_package("mine", tmp_path)
    assert kept.read_text() == "mine"
    assert list(kept.parent.iterdir()) == [kept]
    (tmp_path / "cellbench-gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(CellbenchError, match="exists already"):
        new_package("gone", tmp_path)


def test_wants_a_folder_to_write_into(tmp_path: Path) -> None:
    with pytest.raises(CellbenchError, match="is not a folder"):
        new_package("mine", tmp_path / "nowhere")


IN_COMMENTS = ("factory", "options", "learn_initial_state", "label", "readout", "layers", "tune")


def test_the_experiment_states_every_key_with_its_default(tmp_path: Path) -> None:
    path = new_experiment(tmp_path / "first-look.yaml")
    written = experiment.load(path, plugins.discover())
    assert written.name == "first-look"
    least = {"name": "first-look", "cells": ["rnn", "lstm", "gru"], "grid": written.keys.model_dump()["grid"]}
    default = experiment.load(least, plugins.discover())
    assert written.settings == default.settings
    same = {**default.keys.model_dump(), "baseline": "lstm", "final": written.keys.final.model_dump()}
    assert written.keys.model_dump() == same

    def names(model: dict[str, Any]) -> set[str]:
        return set(model["properties"]) - {*IN_COMMENTS}

    data, whole = yaml.safe_load(path.read_text()), keys.schema()
    assert set(data) == names(whole)
    for section, definition in (("train", "TrainKeys"), ("evaluate", "EvaluateKeys"), ("solved", "SolvedKeys"),
                                ("report", "ReportKeys")):  # fmt: skip
        assert set(data[section]) == names(whole["$defs"][definition])
    for key in IN_COMMENTS:
        assert f"{key}: " in path.read_text(), f"{key} is shown in a comment"


@pytest.mark.parametrize("name", ["2024", "no", "on"])
def test_an_experiment_s_name_stays_text(name: str, tmp_path: Path) -> None:
    assert experiment.load(new_experiment(tmp_path / f"{name}.yaml"), plugins.discover()).name == name


def test_never_overwrites_an_experiment(tmp_path: Path) -> None:
    path = new_experiment(tmp_path / "mine.yaml")
    path.write_text("name: kept")
    with pytest.raises(CellbenchError, match="exists already"):
        new_experiment(path)
    assert path.read_text() == "name: kept"


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("mine.txt", "does not end in .yaml"),
        ("my own.yaml", "cannot name an experiment"),
        ("nowhere/mine.yaml", "cannot be written: No such file"),
    ],
)
def test_refuses_an_experiment_of_no_use(file: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(CellbenchError, match=re.escape(says)):
        new_experiment(tmp_path / file)
    assert not (tmp_path / file).exists()


@pytest.mark.slow
def test_the_package_works_in_a_fresh_environment(tmp_path: Path) -> None:
    """Install with pip, run its tests, list, check, and run its experiment, unedited."""
    constraints = ROOT / "constraints.txt"
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    scripts = home / "bin"
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    environment["PATH"] = f"{scripts}{os.pathsep}{environment['PATH']}"

    def run(*words: str, folder: Path = tmp_path) -> str:
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=1800)
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    pip = (str(scripts / "python"), "-m", "pip", "install", "-q", "-c", str(constraints))
    run(*pip, str(ROOT))
    run("cellbench", "new", "fresh")
    package = tmp_path / "cellbench-fresh"
    run(*pip, ".[test]", folder=package)
    assert " passed" in run("pytest", "-q", folder=package)
    cells = json.loads(run("cellbench", "list", "--json"))["cells"]
    assert ("fresh", "cellbench-fresh") in {(c["name"], c["distribution"]) for c in cells}
    assert "laws hold" in run("cellbench", "check", "fresh")
    smaller = ("--set", "seeds=2", "--set", "train.max_steps=60", "--set", "grid.hidden_size=4")
    assert "fresh" in run("cellbench", "run", "experiment.yaml", *smaller, folder=package)
    assert (package / "results" / "fresh" / "summary.md").is_file()


def test_writes_a_task(tmp_path: Path) -> None:
    """A new task keeps every law that a run asks, and its experiment is one."""
    file, written = new_task("my-task", tmp_path)
    assert (file.name, written.name) == ("my_task.py", "my_task.yaml")
    subject = subject_of_task(f"{file}:MyTask")
    assert [law.name for law in task_checks if law.quick and not law(subject).ok] == []
    assert experiment.load(written, plugins.discover()).settings.task == "my_task.py:MyTask"
    before = file.read_text()
    with pytest.raises(CellbenchError, match="exists already, and was left as it is"):
        new_task("my-task", tmp_path)
    assert file.read_text() == before


@pytest.mark.parametrize("name", ["My", "a_b", "", "x" * 41, "random", "import", "-a"])
def test_refuses_a_task_s_name_of_no_use(name: str, tmp_path: Path) -> None:
    """Among them names that would hide a module of Python's; nothing is written."""
    with pytest.raises(CellbenchError, match=r"cannot name a task|would hide a module"):
        new_task(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_templates_are_package_data() -> None:
    """What is not in package-data is missing after an install that is not editable."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["cellbench"]
    house = ROOT / "cellbench"
    shipped = {p for pattern in patterns for p in house.glob(pattern)}
    assert set(house.glob("templates/**/*.tmpl")) <= shipped
