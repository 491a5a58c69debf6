"""Plugins, as real distributions installed by pip into a temporary environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.helpers.commands import TINY
from tests.helpers.plugins import CELL, PLUGINS
from tests.helpers.tools import paths_with


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed every distribution of the table."""
    root = tmp_path_factory.mktemp("plugins")
    target = root / "site"
    sources = []
    for name, (text, point) in PLUGINS.items():
        folder, module = root / name, f"cellbench_{name.replace('-', '_')}"
        folder.mkdir()
        (folder / f"{module}.py").write_text(text)
        modules = [module]
        if name == "good":
            (folder / "cellbench_good_cell.py").write_text(CELL)
            modules.append("cellbench_good_cell")
        (folder / "pyproject.toml").write_text(
            "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n"
            f"[project]\nname = 'cellbench-{name}'\nversion = '1.2.3'\n"
            f"[project.entry-points.cellbench]\n{point} = '{module}'\n"
            f"[tool.setuptools]\npy-modules = {modules!r}\n"
        )
        sources.append(str(folder))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
           "--disable-pip-version-check", "--target", str(target), *sources]  # fmt: skip
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


Cellbench = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cellbench_with(installed: Path) -> Cellbench:
    """The command in a process of its own that sees the plugins."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cellbench", *arguments],
            env={**os.environ, "PYTHONPATH": paths_with(installed)}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return call


@pytest.mark.slow
def test_list(cellbench_with: Cellbench) -> None:
    """Good plugins are listed with distribution and version, broken ones with their cause; none stops another."""
    done = cellbench_with("list", "--json")
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    cells = {c["name"]: c for c in listed["cells"]}
    assert set(cells) >= {"rnn", "lstm", "gru", "good", "nowhere", "also"}
    assert cells["good"] == {
        "name": "good", "distribution": "cellbench-good", "version": "1.2.3", "description": "a gru",
        "reference": "Nobody 2026",
    }  # fmt: skip
    assert cells["lstm"]["distribution"] == "cellbench"
    # the environment may have tasks of other plugins
    assert [t["name"] for t in listed["tasks"] if t["distribution"] == "cellbench"] == ["binary_addition"]
    broken = {b["distribution"]: b for b in listed["broken"]}
    assert "No module named 'a_module_that_is_not_there'" in broken["cellbench-unimportable"]["cause"]
    assert "register_cells raised: RuntimeError: oh no" in broken["cellbench-raising"]["cause"]
    assert "a name is 1 to 64 lower-case letters" in broken["cellbench-badname"]["cause"]
    assert "its hooks do not fit" in broken["cellbench-misfit"]["cause"]
    assert {b["version"] for b in broken.values()} == {"1.2.3"}
    assert "lost" not in cells, "of a hook that raises, nothing is taken"
    assert "twice" not in cells
    assert "claimed by cellbench-rival-a 1.2.3 and by" in broken["cellbench-rival-b"]["cause"]
    text = cellbench_with("list").stdout
    assert "Broken: cellbench-raising 1.2.3 (entry point cells = cellbench_raising)" in text
    assert "the cell 'twice' is claimed by cellbench-rival-a 1.2.3 and by cellbench-rival-b 1.2.3" in text


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("twice", "the cell 'twice' is claimed by cellbench-rival-a 1.2.3 and by cellbench-rival-b 1.2.3"),
        ("lost", "A broken plugin may provide it: cellbench-raising 1.2.3"),
        (
            "nowhere",
            "nowhere (from cellbench-nowhere 1.2.3): its factory's module 'cellbench_nowhere_cell' does not exist",
        ),
    ],
)
def test_a_broken_plugin_stops_the_experiments_that_ask_for_it(cell: str, said: str, cellbench_with: Cellbench) -> None:
    """The message names the distributions at fault; exit 2."""
    Path("x.yaml").write_text(yaml.safe_dump({**TINY, "cells": ["rnn", cell]}))
    done = cellbench_with("run", "x.yaml")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plugins_cell_is_trained_beside_broken_ones(cellbench_with: Cellbench) -> None:
    """Broken plugins stop no other: an experiment with a good plugin's cell runs, its defaults applied."""
    Path("x.yaml").write_text(yaml.safe_dump({**TINY, "cells": ["gru", "good"]}))
    done = cellbench_with("run", "x.yaml", "--workers", "2")
    assert done.returncode == 0, done.stderr
    rows = Path("results/tiny/runs.csv").read_text().splitlines()
    parameters = rows[0].split(",").index("parameters")
    counts = {row.split(",")[0]: int(row.split(",")[parameters]) for row in rows[1:]}
    assert counts["gru"] - counts["good"] == 2 * 3 * 3, "bias: false came from the plugin's defaults"
