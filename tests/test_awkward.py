"""Cells as people bring them, through whole runs: the same numbers every time, however the work is divided."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cellbench
from cellbench.store import VOLATILE
from tests.helpers.commands import Command

HEAD = """\
import random

import numpy as np
import torch
from torch import nn
from cellbench import Cell


class Base(Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.i, self.h = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)
        self.drop, self.norm = nn.Dropout(0.2), nn.BatchNorm1d(hidden_size)
        self.own = torch.Generator().manual_seed(int(torch.randint(1 << 30, ())))

"""
STEP = """\

class {name}(Base):
    def forward(self, x, h):
        z = self.i(x) + self.h(h)
        {line}
        h = torch.tanh(z)
        return h, h

"""
LINES = {
    "Dropped": "z = self.drop(z)",
    "Numpy": "z = z + torch.from_numpy(0.1 * np.random.randn(*z.shape).astype('float32'))",
    "Python": "z = z * (0.5 if self.training and random.random() < 0.3 else 1.0)",
    "Owned": "z = z + 0.1 * torch.randn(z.shape, generator=self.own)",
    "Normed": "z = self.norm(z)",
}
FILE = HEAD + "".join(STEP.format(name=name, line=line) for name, line in LINES.items())


def rows(folder: str) -> list[dict[str, str]]:
    """The rows of runs.csv, volatile columns aside."""
    with (Path(folder) / "runs.csv").open(newline="") as text:
        return [{k: v for k, v in row.items() if k not in VOLATILE} for row in csv.DictReader(text)]


def experiment(write: Callable[..., Path], **keys: Any) -> Path:
    Path("noisy.py").write_text(FILE)
    cells = [{"name": name, "factory": f"./noisy.py:{name}"} for name in LINES]
    return write(cells=cells, engine="auto", train={"max_steps": 10}, **keys)


@pytest.mark.slow
def test_random_cells_have_the_same_numbers_every_time(command: Command, write: Callable[..., Path]) -> None:
    """One worker or two, at once or in parts, with a part before: equal to the bit; verify finds no difference."""
    path = experiment(write)
    assert command("run", path, "--workers", 1, "--results", "one").status == 0
    assert command("run", path, "--workers", 2, "--results", "two").status == 0
    assert command("run", path, "--workers", 1, "--results", "parts", "--only", "seed=1").status == 0
    assert command("run", path, "--workers", 1, "--results", "parts").status == 0
    assert rows("one/tiny") == rows("two/tiny") == rows("parts/tiny")
    assert {row["engine"] for row in rows("one/tiny")} == {"reference"}
    ended = command("verify", "one/tiny", "--sample", 10, "--run-code")
    assert (ended.status, ended.out.splitlines()[-1]) == (0, "No difference.")
    assert "Trained 10 of 10 replicas again" in ended.out
    assert "bit for bit" in ended.out
    # and they are random: no two seeds and no two cells have the same losses
    losses = cellbench.load("one/tiny").curves.groupby(["label", "seed"]).loss.first()
    assert losses.nunique() == len(losses) == 10


def test_what_no_seed_determines_fails_by_name(command: Command, write: Callable[..., Path]) -> None:
    """A generator of the cell's module: its replicas fail with the reason, and the other cells are trained."""
    line = "z = z + 0.1 * torch.randn(z.shape, generator=SHARED)"
    text = HEAD + "\nSHARED = torch.Generator()\n" + STEP.format(name="Shared", line=line)
    Path("shared.py").write_text(text)
    ended = command("run", write(cells=["rnn", {"name": "Shared", "factory": "./shared.py:Shared"}]), "--workers", 1)
    assert ended.status == 1
    runs = cellbench.load("results/tiny").runs
    assert set(runs[runs.label == "Shared"].cause) == {"cell"}
    assert set(runs[runs.label == "rnn"].status) == {"censored"}
    assert "two equal models, run the same way, give different outputs" in Path("results/tiny/failures.txt").read_text()
