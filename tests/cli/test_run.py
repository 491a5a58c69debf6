"""`cellbench run`: how it ends, and what it says last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cellbench import executors
from tests.helpers.commands import Command

NOT_A_NUMBER = """import torch
from cellbench import Cell


class Mine(Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.linear = torch.nn.Linear(input_size + hidden_size, hidden_size)

    def forward(self, x, state):
        h = torch.log(-1 - self.linear(torch.cat([x, state], dim=1)) ** 2)
        return h, h
"""


def test_a_cell_that_diverges_throughout(write: Callable[..., Path], command: Command) -> None:
    """Exit 1, and its verdict is no claim about speed; a report made of the folder says the same."""
    Path("mine.py").write_text(NOT_A_NUMBER)
    words = ["run", write(seeds=3), "--cell", "mine.py:Mine", "--workers", 1, "--trust"]
    ended = command(*words)
    assert ended.status == 1
    assert "Mine diverged, or failed, in every replica" in ended.err
    assert "Mine: diverged" in ended.out
    assert "All 3 replicas of Mine diverged, the first at step 1." in ended.out
    assert "slower" not in ended.out
    assert "All 3 replicas of Mine diverged" in command("report", "results/tiny+Mine").out
    assert command(*words).status == 1, "nothing was trained, and it still never learned"
    # the baseline itself
    assert command(*words, "--set", "baseline=Mine").status == 1
    assert "cannot tell" in Path("results/tiny+Mine/summary.md").read_text()


@pytest.mark.parametrize(
    ("words", "times"),
    [
        (["--workers", 2], 1),
        (["--workers", 1], 0),
        (["--workers", 2, "--dry-run"], 0),
        (["--workers", 2, "--set", "train.max_step=3"], 0),
    ],
)
def test_when_the_server_of_the_workers_starts(
    write: Callable[..., Path], command: Command, monkeypatch: pytest.MonkeyPatch, words: list[object], times: int
) -> None:
    """Where workers are going to train, and not before the experiment is read: what is refused waits for no import."""
    started: list[tuple[str, ...]] = []
    monkeypatch.setattr(executors, "start_server", lambda *preload: started.append(preload))
    monkeypatch.setattr("cellbench.cli.run.train", lambda *given, **keys: (None, 0))
    command("run", write(), *words)
    assert len(started) == times
