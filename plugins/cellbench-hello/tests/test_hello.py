"""The plugin is small, and its step is what its docstring says."""

from __future__ import annotations

from pathlib import Path

import cellbench_hello
import pytest
import torch
from cellbench_hello.cell import Hello

from cellbench.conformance import LAWS, Check, Subject


def test_is_under_25_lines() -> None:
    sources = Path(cellbench_hello.__file__).parent.glob("*.py")
    assert sum(1 for source in sources for line in source.read_text().splitlines() if line.strip()) < 25


def test_registers_its_cell() -> None:
    registered = []
    cellbench_hello.register_cells(register=lambda **cell: registered.append((cell["name"], cell["factory"])))
    assert registered == [("hello", "cellbench_hello.cell:Hello")]


@pytest.mark.parametrize("check", LAWS, ids=str)
def test_keeps_the_laws(check: Check) -> None:
    result = check(Subject(Hello))
    assert result.ok, result.message


def test_steps_halfway_to_the_candidate() -> None:
    cell, x, h = Hello(2, 3), torch.randn(4, 2), torch.randn(4, 3)
    w, u = cell.linear.weight[:, :2], cell.linear.weight[:, 2:]
    output, state = cell(x, h)
    torch.testing.assert_close(output, 0.5 * h + 0.5 * torch.tanh(x @ w.T + h @ u.T + cell.linear.bias))
    assert state is output
