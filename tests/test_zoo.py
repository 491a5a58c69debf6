"""experiments/zoo.yaml holds every cell of the built-ins and of two plugin packages, each once.

cellbench-libraries is not among them: its cells are lstm and gru with other initial weights, and have
experiments/initial-weights.yaml to themselves.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROVIDERS = ("cellbench.cells", "cellbench_torchrecurrent", "cellbench_modern")


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the built-ins and the two plugin packages register; none of them is imported beyond its hook."""
    for package in ("cellbench-torchrecurrent", "cellbench-modern"):
        monkeypatch.syspath_prepend(ROOT / "plugins" / package)
    found: list[dict[str, Any]] = []
    for module in PROVIDERS:
        importlib.import_module(module).register_cells(register=lambda **cell: found.append(cell))
    return found


def test_the_zoo_has_every_cell_once(registered: list[dict[str, Any]]) -> None:
    zoo = yaml.safe_load((ROOT / "experiments" / "zoo.yaml").read_text(encoding="utf-8"))
    assert zoo["cells"] == [cell["name"] for cell in registered]
    assert len(set(zoo["cells"])) == len(zoo["cells"]) >= 45
    assert (zoo["grid"]["bits"], zoo["seeds"], len(zoo["learning_rate"])) == ([8, 32], {"from": 20, "to": 80}, 5)
    assert "parameter_budget" in zoo["grid"]


def test_no_cell_is_another_under_a_second_name(registered: list[dict[str, Any]]) -> None:
    made = {(cell["factory"], repr(sorted((cell.get("defaults") or {}).items()))) for cell in registered}
    assert len(made) == len(registered)
