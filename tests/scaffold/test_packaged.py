"""`cellbench new NAME --from FILE:CLASS` packages that very cell, with the modules beside it that it imports."""

from __future__ import annotations

import importlib
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from cellbench.conformance import LAWS, Subject
from cellbench.plugins import sources
from tests.helpers.commands import Command

CELL = '''\
# coding: latin-1
"""Größe."""
import helper, os.path as p; import parts.gates as g
import parts.gates, torch
if True:
    from parts.scales import (scale,
                              OTHER as other)  # kept
from parts import gates
from cellbench import Cell

class Mine(Cell):
    """h' = "squashed" W [x, h], as in $x.

    More.
    """

    def __init__(self, input_size, hidden_size, times=1.0):
        super().__init__(input_size, hidden_size)
        self.linear = torch.nn.Linear(input_size + hidden_size, hidden_size)
        self.times = times

    def forward(self, x, state):
        assert helper.ONE == 1 and other == 3 and p.sep and g is gates is parts.gates
        h = self.times * scale(gates.squash(self.linear(torch.cat([x, state], dim=1))))
        return h, h
'''
BESIDE = {
    "helper.py": "ONE = 1\n",
    "parts/__init__.py": "",
    "parts/gates.py": "import torch\nfrom . import scales\n\ndef squash(x):\n    return torch.tanh(x)\n",
    "parts/scales.py": "import helper\nOTHER = 3\n\ndef scale(x):\n    return x * helper.ONE\n",
    "not_imported.py": "raise SystemExit\n",
}


@pytest.fixture
def mine(tmp_path: Path) -> None:
    for name, text in BESIDE.items():
        path = tmp_path / "idea" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "idea" / "mycell.py").write_bytes(CELL.encode("latin-1"))


def test_packages_that_very_cell(mine: None, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imported from the package, it computes what it computes in its file, and its test of the laws passes."""
    ended = command("new", "my-net", "--from", "./idea/mycell.py:Mine,times=0.5")
    assert ended.status == 0, ended.err
    assert "pip install -e cellbench-my-net && cellbench check my-net" in ended.out
    folder = tmp_path / "cellbench-my-net"
    inside = sorted(
        str(p.relative_to(folder / "cellbench_my_net")) for p in (folder / "cellbench_my_net").rglob("*.py")
    )
    assert inside == ["__init__.py", "cell.py", "helper.py", "parts/__init__.py", "parts/gates.py", "parts/scales.py"]
    monkeypatch.syspath_prepend(str(folder))
    try:
        made = importlib.import_module("cellbench_my_net.cell").Mine
        registered: list[dict[str, object]] = []
        importlib.import_module("cellbench_my_net").register_cells(lambda **keys: registered.append(keys))
        torch.manual_seed(1)
        packaged = made(2, 3)
        torch.manual_seed(1)
        own = sources.load(sources.of_file(tmp_path / "idea" / "mycell.py"), "Mine")(2, 3)
        x, h = torch.randn(4, 2), torch.randn(4, 3)
        assert torch.equal(packaged(x, h)[0], own(x, h)[0])
        assert [str(check) for check in LAWS if not check(Subject(made, {"times": 0.5})).ok] == []
    finally:
        for name in [name for name in sys.modules if name.startswith("cellbench_my_net")]:
            del sys.modules[name]
    assert registered == [
        {
            "name": "my-net", "factory": "cellbench_my_net.cell:Mine", "reference": "where it was proposed",
            "description": "h' = \"squashed\" W [x, h], as in $x.", "defaults": {"times": 0.5},
        }
    ]  # fmt: skip
    assert "Subject(Mine, {'times': 0.5})" in (folder / "tests/test_my_net.py").read_text()
    assert tomllib.loads((folder / "pyproject.toml").read_text())["project"]["dependencies"] == ["cellbench"]


def test_a_file_alone_is_copied_to_the_byte(tmp_path: Path, command: Command) -> None:
    """Nothing of its text changes; the libraries that it imports become requirements of the package."""
    lines = ("import yaml, torch", "from cellbench import TorchCell", "", "def mine(a, b):")
    text = "\r\n".join((*lines, "    return TorchCell(torch.nn.GRUCell(a, b))")).encode()
    (tmp_path / "a.py").write_bytes(text)
    assert command("new", "mynet", "--from", "a.py:mine").status == 0
    assert Path("cellbench-mynet/cellbench_mynet/cell.py").read_bytes() == text
    project = tomllib.loads(Path("cellbench-mynet/pyproject.toml").read_text())["project"]
    assert [name.lower() for name in project["dependencies"]] == ["cellbench", "pyyaml"]
    assert "one line: what the cell is" in Path("cellbench-mynet/cellbench_mynet/__init__.py").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mynet", "--from", "gone.py:Mine"], "gone.py: there is no such file"),
        (["mynet", "--from", "idea/mycell.py:Other"], "has no class or function 'Other'"),
        (["mynet", "--from", "gru"], "--from gru: must be FILE:CLASS"),
        (["--from", "idea/mycell.py:Mine"], "goes with a name, `cellbench new mycell --from idea/mycell.py:Mine`"),
        (["mynet", "--from", "clash.py:mine"], "cell.py cannot be packaged under this name"),
    ],
)
def test_refused(words: list[str], said: str, mine: None, command: Command) -> None:
    """What cannot be packaged ends with status 2, and no folder is made."""
    Path("clash.py").write_text("import cell\n\ndef mine(a, b): ...\n")
    Path("cell.py").write_text("X = 1\n")
    ended = command("new", *words)
    assert (ended.status, said in ended.err) == (2, True), ended.err
    assert not Path("cellbench-mynet").exists()
