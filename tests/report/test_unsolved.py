"""The page has a command for each replica that did not solve the task, and each command shows that replica."""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

import cellbench
from tests.helpers.commands import Command


@pytest.mark.charts
@pytest.mark.slow
def test_a_command_for_each(command: Command, write: Callable[..., Path]) -> None:
    """As many as censored replicas; the first and the last show their replica, whatever the label and the folder."""
    cells = ["rnn", {"name": "lstm", "label": "a, 'b' <c>"}]
    found = cellbench.run(write(cells=cells, learning_rate=[0.05, 0.1]), "some results")
    unsolved = found.runs[found.runs.status == "censored"]
    assert len(unsolved) > 4
    page = Path("some results/report.html").read_text()
    (listed,) = re.findall(r'<pre id="unsolved" tabindex="0">(.*?)</pre>', page, re.S)
    lines = html.unescape(listed).splitlines()
    assert len(lines) == len(unsolved)
    for at in (0, -1):
        line, row = lines[at], unsolved.iloc[at]
        program, *arguments = shlex.split(line)
        assert program == "cellbench"
        ended = command(*arguments)
        assert ended.status == 0, ended.err
        place = f"{row.label} at bits 4, batch 4, hidden 3, rate {row.learning_rate:g}, seed {row.seed}"
        assert ended.out.startswith(place)
