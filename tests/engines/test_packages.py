"""Cells of packages that people use: every engine trains them as the package's own stepping does in a plain loop."""

from __future__ import annotations

import json
import os
import subprocess
import venv
from pathlib import Path

import pytest
import torch

import cellbench
from tests.helpers import packages
from tests.helpers.tools import missing, paths_with

PINNED = (
    # without what they require: all but the last four of it is here already, torch among it
    "ncps==1.0.1", "geotorch==0.4.0", "norse==1.1.0", "snntorch==1.0.0", "auto_esn==0.0.7",
    "nir==1.0.8", "nirtorch==2.6", "h5py==3.16.0", "matplotlib==3.11.2",
)  # fmt: skip
CARRIED = {
    # by an engine other than reference
    "CfC": {"stack", "lanes"}, "WiredCfC": {"stack", "lanes"}, "LTC": {"stack", "lanes"}, "LIF": {"lanes"},
    "LSNN": set(), "Orthogonal": {"stack", "lanes"}, "LowRank": {"stack", "lanes"}, "RLeaky": {"lanes"},
    "ESN": {"stack", "lanes"},
}  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float | str]]:
    """What tests/helpers/packages.py prints in an environment that has the packages beside what is here."""
    home = tmp_path_factory.mktemp("packages") / "venv"
    venv.create(home, with_pip=True)
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    (site,) = home.rglob("site-packages")
    (site / "beside.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")
    installed = subprocess.run(
        [python, "-m", "pip", "install", "-q", "--no-deps", *PINNED], capture_output=True, text=True, timeout=200
    )
    if installed.returncode:
        missing(f"a package index that has {', '.join(PINNED)} ({installed.stderr.strip()[-200:]})")
    roots = (Path(cellbench.__file__).parents[1], Path(__file__).parents[2])
    ended = subprocess.run(
        [python, packages.__file__],
        capture_output=True, text=True, timeout=400, env={**os.environ, "PYTHONPATH": paths_with(*roots)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)  # type: ignore[no-any-return]


@pytest.mark.slow
def test_engines_are_the_packages_own_stepping(found: dict[str, dict[str, float | str]]) -> None:
    """Reference to the bit, another engine to rounding, unless it refuses the cell; and each cell learns something."""
    assert set(found) == set(CARRIED) == {factory.__name__ for factory in packages.CELLS}
    for name, by in found.items():
        assert isinstance(by["learns"], float)
        assert by["learns"] > 1e-3, name
        assert by["reference"] == 0, name
        carried = {engine: gap for engine in ("stack", "lanes") if isinstance(gap := by[engine], float)}
        assert carried.keys() >= CARRIED[name], (name, by)
        assert all(gap < 1e-5 for gap in carried.values()), (name, by)
