"""What a cell changes of the whole process is put back, so that no other cell gets other numbers, and it is named."""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy  # noqa: F401  # torch imports it late, and it adds a filter of warnings of its own
import torch

from tests.helpers.commands import Command
from tests.helpers.runs import exports

CELL = """\
import os, random, sys, warnings
import numpy as np
import torch
from torch import nn
from cellbench import TorchCell

{imported}


class Mine(TorchCell):
    def __init__(self, input_size, hidden_size):
        {made}
        super().__init__(nn.RNNCell(input_size, hidden_size))

    def forward(self, x, state):
        {stepped}
        return super().forward(x, state)
"""
CHANGES = {
    # a statement, and what it changes
    "torch.set_default_dtype(torch.float64)": "the default type of tensors",
    "torch.set_num_threads(3)": "the number of threads",
    "torch.use_deterministic_algorithms(True)": "the deterministic mode",
    "torch.set_grad_enabled(False)": "whether gradients are computed",
    "torch.set_float32_matmul_precision('medium')": "the precision of matrix products",
    "torch.manual_seed(0)": "torch's generator",
    "np.random.seed(0)": "numpy's generator",
    "np.seterr(all='ignore')": "numpy's way with errors",
    "random.seed(0)": "Python's generator",
    "warnings.simplefilter('ignore')": "the filters of warnings",
    "warnings.resetwarnings()": "the filters of warnings",
    "sys.path.insert(0, 'elsewhere')": "sys.path",
    "os.makedirs('x', exist_ok=True); os.chdir('x')": "the working folder",
}


def state() -> list[Any]:
    return [
        torch.get_default_dtype(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(),
        torch.is_grad_enabled(), torch.get_float32_matmul_precision(), np.geterr(), list(warnings.filters),
        list(sys.path), os.getcwd(),
    ]  # fmt: skip


def seeded() -> list[bool]:
    """Whether each generator is as it is after a seed of 0."""
    torchs = torch.Generator().manual_seed(0).get_state()
    return [
        torch.equal(torch.get_rng_state(), torchs),
        bool((np.random.get_state()[1] == np.random.RandomState(0).get_state()[1]).all()),  # type: ignore[index]
        random.getstate() == random.Random(0).getstate(),
    ]


@pytest.mark.parametrize("where", ["imported", "made"])
@pytest.mark.parametrize("statement", list(CHANGES))
def test_put_back_and_named(statement: str, where: str, command: Command, write: Callable[..., Path]) -> None:
    """Whether its module does it or its factory: the process is as before, and the report says what was changed."""
    before = state()
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    named = where == "imported" or "seed" not in statement  # a factory draws from generators that are set for it
    # a name of its own: what was changed is remembered by the name of the code, as long as the process lives
    file = f"mine{list(CHANGES).index(statement)}{where}.py"
    Path(file).write_text(CELL.format(**{"imported": "", "made": "", "stepped": "", where: statement}))
    path = write(cells=[{"name": "mine", "factory": f"./{file}:Mine"}], seeds=1, train={"max_steps": 5})
    ended = command("run", path, "--workers", 1)
    assert state() == before
    assert not any(seeded())
    if "float64" in statement and where == "made":  # its weights are float64, so it cannot take a step
        assert ended.status == 2
        return
    assert ended.status == 0
    said = f"mine: its code changed {CHANGES[statement]} of the whole process; that was put back"
    assert (said in Path("results/tiny/summary.md").read_text()) == named


@pytest.mark.parametrize("where", ["imported", "made", "stepped"])
def test_other_cells_keep_their_numbers(where: str, write: Callable[..., Path], command: Command) -> None:
    """Beside one that makes float64 the type of new tensors, or sets threads, as it is imported, made or run."""
    statement = "torch.set_default_dtype(torch.float64); torch.set_num_threads(2)"
    Path("mine.py").write_text(CELL.format(**{"imported": "", "made": "", "stepped": "", where: statement}))
    mine = {"name": "mine", "factory": "./mine.py:Mine"}
    # with another new cell, one that cannot take a step does not end the run
    Path("sound.py").write_text(CELL.format(imported="", made="", stepped=""))
    sound = {"name": "sound", "factory": "./sound.py:Mine"}
    assert command("run", write(cells=["lstm"]), "--workers", 1, "--results", "alone").status == 0
    ended = command("run", write(cells=[mine, sound, "lstm"]), "--workers", 1, "--results", "beside")
    assert ended.status in (0, 1), ended.err
    alone, beside = (exports(Path(f"{folder}/tiny"))["runs.csv"] for folder in ("alone", "beside"))
    assert [row for row in beside if row["label"] == "lstm"] == alone
    assert torch.get_default_dtype() == torch.float32
