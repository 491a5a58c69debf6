"""The report on a cell: a line per check, a verdict, JSON; and how the cell is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from cellbench import CellbenchError, SequenceCell
from cellbench.conformance import LAWS, Check, Findings, Result, Subject, check, checks
from cellbench.conformance.report import check_cell, line, report, subject_of
from tests.helpers.broken_cells import HasAnUnusedWeight, NoInitialState, Sound
from tests.helpers.commands import Command

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
    assert whole.verdict == "spare: 1 of 2 laws broken: gradients-reach-every-parameter"
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


RAISES = MINE.replace("[x, state]", "[x, state, x]")
TWO_AND_A_FUNCTION = f"""{MINE}

class Another(Mine):
    pass


class _Hidden(Mine):
    pass


class Step(torch.autograd.Function):
    pass


def orthogonal(input_size, hidden_size):
    return Mine(input_size, hidden_size)


def helper(x, y):
    return x
"""


def test_a_cell_that_raises_is_told_in_few_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    """What was raised, the author's own line, the shapes that came in; one line for all that could not be asked."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(RAISES, encoding="utf-8")
    ended = command("check", "mine.py:Mine")
    assert ended.status == 1
    assert ended.out.splitlines() == [
        "fail  is-made                           raised RuntimeError: mat1 and mat2 shapes cannot be multiplied "
        "(2x12 and 10x8)",
        "      mine.py:12",
        "          h = torch.tanh(self.linear(torch.cat([x, state, x], dim=1)))",
        "        forward was given x (2, 2), state (2, 8)",
        f"skip  the other {len(checks) - 1} checks               there is no cell to check",
        f"Mine: 1 of {len(LAWS)} laws broken: is-made",
    ]
    given = json.loads(command("check", "mine.py:Mine", "--json").out)
    assert given["checks"][0]["place"] == {
        "file": "mine.py",
        "line": 12,
        "code": "h = torch.tanh(self.linear(torch.cat([x, state, x], dim=1)))",
        "function": "forward",
        "shapes": "x (2, 2), state (2, 8)",
    }
    assert [c["status"] for c in given["checks"][1:]] == ["skip"] * (len(checks) - 1)


def test_classes_of_a_file_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    """A file without a class: exit 2, and what may be meant, each as it is to be typed."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(TWO_AND_A_FUNCTION, encoding="utf-8")
    for words in (("check", "mine.py"), ("run", "--cell", "mine.py"), ("compare", "mine.py", "lstm")):
        ended = command(*words)
        assert ended.status == 2
        listed = [line for line in ended.err.splitlines() if line.startswith("  mine.py:")]
        assert listed == ["  mine.py:Mine", "  mine.py:Another", "  mine.py:orthogonal"], ended.err
    Path("none.py").write_text("x = 1\n", encoding="utf-8")
    assert "it defines no cell" in command("check", "none.py").err
    assert "there is no file gone.py" in command("check", "gone.py").err
    Path("broken.py").write_text("class (:\n", encoding="utf-8")
    assert command("check", "broken.py").status == 2


def test_what_cannot_be_told_is_counted() -> None:
    """No law that was not answered is said to hold."""
    found = tuple((law, Result("skip" if law.name == "depends-on-the-state" else "pass")) for law in LAWS)
    count = len(LAWS)
    assert Findings(Subject(Sound, name="mine"), found).verdict == (
        f"mine: {count - 1} of {count} laws hold, 1 cannot be told: depends-on-the-state"
    )


@pytest.mark.usefixtures("quick")
def test_lines_fit_the_terminal(tmp_path: Path) -> None:
    """What is wider stands under the name of its check, at the terminal's width; a pipe gets whole lines."""
    said: list[str] = []
    check_cell("gru", echo=said.append, columns=60)
    lines = "\n".join(said).splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[:2] == ["pass  is-made", "      TorchCell, 288 parameters at hidden size 8"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MINE.replace("input_size, hidden_size):", "hidden_size):"), "making the cell with input_size=2, hidden_"),
        (MINE.replace("return h, h", "return h"), "a module of torch's convention goes into cellbench.TorchCell"),
        (MINE.replace("(Cell)", "(torch.nn.Module)").replace("__init__(input_size, hidden_size)", "__init__()"),
         "Mine has no initial_state(batch_size). Subclass cellbench.Cell"),
    ],
    ids=["arguments", "one output", "no state"],
)  # fmt: skip
def test_what_is_no_cell(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    """In words that name no class of ours, and what to do."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(text, encoding="utf-8")
    ended = command("check", "mine.py:Mine")
    assert ended.status == 1
    assert said in ended.out
    assert "CellError" not in ended.out
    assert len(ended.out.splitlines()) == 3


class Sums(nn.Module):
    """A module that takes whole sequences and carries no state."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cumsum(torch.tanh(self.linear(x)), 0)


@pytest.mark.slow
def test_what_takes_whole_sequences_alone_breaks_no_law() -> None:
    """What asks for single steps is one line beside the first, and the verdict says how much cannot be told."""

    def sums(input_size: int, hidden_size: int) -> SequenceCell:
        return SequenceCell(Sums(input_size, hidden_size), input_size)

    found = check(sums)
    said = str(found)
    assert found.passed
    assert "pass  is-made" in said
    assert "more checks                    Sums takes whole sequences alone" in said
    assert len(said.splitlines()) < 14
    assert "2 of 14 laws hold, 12 cannot be told" in said
