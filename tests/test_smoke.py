"""One small experiment from the command line to the page: what every environment that cellbench promises must pass.

.ci/environments has these tests run with the lowest versions of all requirements too.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.helpers.commands import TINY


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of `cellbench run` with the engine that it chooses itself, charts drawn."""
    place = tmp_path_factory.mktemp("smoke")
    (place / "tiny.yaml").write_text(yaml.safe_dump({**TINY, "engine": "auto"}))
    cellbench(place, "run", "tiny.yaml", "--workers", "2")
    return place / "results/tiny"


def cellbench(place: Path, *arguments: str) -> str:
    """Run a command in a process of its own, and return what it printed."""
    command = [sys.executable, "-m", "cellbench", *arguments]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_run_writes_everything(folder: Path) -> None:
    """Every replica is trained, and each file of the report is there."""
    with (folder / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert {row["status"] for row in rows} <= {"solved", "censored"}
    for name in ("curves.csv", "accuracy.csv", "summary.csv", "comparisons.csv", "summary.md", "report.html"):
        assert (folder / name).stat().st_size > 100, name
    assert all(chart.read_bytes().startswith(b"\x89PNG") for chart in (folder / "charts").iterdir())
    assert any((folder / "charts").iterdir())


def test_verify_finds_the_same_numbers(folder: Path) -> None:
    """The stored replicas are trained again to the same bits."""
    assert "The environment is the same as that of the results." in cellbench(folder, "verify", ".", "--sample", "2")


@pytest.mark.slow
def test_a_report_is_written_again(folder: Path) -> None:
    """The report of a finished run, with charts as SVG."""
    cellbench(folder, "report", ".", "--format", "svg")
    assert list((folder / "charts").glob("*.svg"))


@pytest.mark.parametrize("command", ["--help", "run --help", "list", "schema", "status results/tiny"])
def test_commands_answer(command: str, folder: Path) -> None:
    """Commands that only read, and the help, which depends on click's version."""
    assert cellbench(folder.parent.parent, *command.split())


def test_info_knows_every_requirement(folder: Path) -> None:
    """`info` names a version for each package that cellbench requires."""
    facts = json.loads(cellbench(folder, "info", "--json"))
    assert {"torch", "pandas", "typer", "scipy"} <= set(facts["packages"])


@pytest.mark.slow
def test_a_new_cell_package_is_sound(folder: Path) -> None:
    """The cell of the package that `new` writes passes `check`."""
    cellbench(folder, "new", "fresh")
    assert "laws hold" in cellbench(folder, "check", "./cellbench-fresh/cellbench_fresh/cell.py:Fresh")
