"""The line of somebody's code that an error came through: theirs, not torch's or ours."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest
import torch

from cellbench.plugins import place_of, sources

TEXT = """import torch
from cellbench import Cell


class Mine(Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.linear = torch.nn.Linear(hidden_size, hidden_size)

    def gate(self, both):
        return torch.sigmoid(self.linear(both))

    def forward(self, x, state):
        h, (c, d) = state
        h = self.gate(torch.cat([x, h], dim=1))
        return h, (h, (c, d))
"""


def raised_by(call: object, *arguments: object) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # any error will do
        call(*arguments)  # type: ignore[operator]
    return caught.value


def test_the_innermost_line_of_their_own_and_what_came_in(tmp_path: Path) -> None:
    """torch raises inside the layer; the line shown is the author's, with the shapes that `forward` was given."""
    path = tmp_path / "mine.py"
    path.write_text(TEXT)
    cell = sources.load(sources.of_file(path), "Mine")(2, 4)
    state = (torch.zeros(5, 4), (torch.zeros(5, 4), torch.zeros(5, 1)))
    place = place_of(raised_by(cell, torch.zeros(5, 2), state))
    assert place is not None
    assert re.fullmatch(r"<mine\.py [0-9a-f]{12}>", place.file)
    assert (place.line, place.code) == (11, "return torch.sigmoid(self.linear(both))")
    assert place.text("~/mine.py").splitlines() == [
        "~/mine.py:11",
        "    return torch.sigmoid(self.linear(both))",
        "  forward was given x (5, 2), state ((5, 4), ((5, 4), (5, 1)))",
    ]


def test_the_cause_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that ours wraps keeps the line of the error that caused it; one of an installed module has its path."""
    (tmp_path / "theirs_alone.py").write_text("def f(n):\n    return 1 / n\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("theirs_alone")

    def wrapped() -> None:
        try:
            module.f(0)
        except ZeroDivisionError as error:
            raise RuntimeError("wrapped") from error

    place = place_of(raised_by(wrapped))
    assert place is not None
    assert (Path(place.file).name, place.line, place.shapes) == ("theirs_alone.py", 2, "")


def test_none_of_theirs() -> None:
    """An error of Python's own library or of torch's comes through no line of a user's."""
    json_error = raised_by(json.loads, "{")
    # this file is somebody's code too
    assert place_of(json_error) is None or place_of(json_error).file == __file__  # type: ignore[union-attr]
    assert place_of(ValueError("never raised")) is None
