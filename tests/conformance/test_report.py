"""The report on a cell: a line per check, a verdict, JSON; and how the cell is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cellbench import CellbenchError
from cellbench.conformance import LAWS, Check, Subject, checks
from cellbench.conformance.report import check_cell, line, report, subject_of
from tests.helpers.broken_cells import HasAnUnusedWeight, NoInitialState

MINE = """
import torch
from cellbench import Cell


class Mine(Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.linear = torch.nn.Linear(input_size + hidden_size, hidden_size)

    def forward(self, x, state):
        h = torch.tanh(self.linear(torch.cat([x, state], dim=1)))
        return h, h
"""


BY_NAME: dict[str, Check] = {check.name: check for check in checks}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks that need no engine: is-made and one more law."""
    monkeypatch.setattr("cellbench.conformance.report.checks", (LAWS[0], BY_NAME["gradients-reach-every-parameter"]))


@pytest.mark.usefixtures("quick")
def test_report_prints_a_line_a_check(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(MINE, encoding="utf-8")
    said: list[str] = []
    assert check_cell(f"{path}:Mine", echo=said.append)
    assert [text.split()[:2] for text in said[:-1]] == [
        ["pass", "is-made"],
        ["pass", "gradients-reach-every-parameter"],
    ]
    assert said[-1] == "Mine: all 2 laws hold"


@pytest.mark.usefixtures("quick")
def test_report_counts_broken_laws_and_gives_json() -> None:
    whole = report(Subject(HasAnUnusedWeight, name="spare"))
    assert not whole.passed
    assert whole.verdict == "spare: 1 of 2 laws broken"
    parsed = json.loads(whole.json())
    assert (parsed["cell"], parsed["passed"]) == ("spare", False)
    assert [c["status"] for c in parsed["checks"]] == ["pass", "fail"]
    assert all(c["law"] and c["shows"] for c in parsed["checks"])


@pytest.mark.usefixtures("quick")
def test_without_a_cell_the_rest_is_skipped() -> None:
    whole = report(Subject(NoInitialState))
    assert [result.status for _, result in whole.found] == ["fail", "skip"]
    assert line(*whole.found[1]).endswith("there is no cell to check")


def test_a_cell_is_found_by_name_or_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert str(subject_of("mine.py:Mine")) == "Mine"
    with pytest.raises(CellbenchError, match=r"no file other\.py"):
        subject_of("other.py:Mine")
    with pytest.raises(CellbenchError, match="no class or function 'Other'"):
        subject_of("./mine.py:Other")
    with pytest.raises(CellbenchError, match="no cell named 'lstn'"):
        subject_of("lstn")
