"""cellbench: does my recurrent cell beat LSTM?

A table of contents. Names that need torch or pandas load when they are first used, so that
`cellbench --help` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import pluggy

from cellbench.errors import CellbenchError

if TYPE_CHECKING:
    from cellbench.cell import Cell, State, TorchCell
    from cellbench.results import Results, load
    from cellbench.runner import run
    from cellbench.task import Task
    from cellbench.training.one import train

__version__ = "0.1.0"

hookimpl = pluggy.HookimplMarker("cellbench")
"""Marks a function of a plugin as an implementation of one of cellbench's hooks."""

_LAZY = {
    "Cell": "cellbench.cell",
    "State": "cellbench.cell",
    "TorchCell": "cellbench.cell",
    "Task": "cellbench.task",
    "Results": "cellbench.results",
    "load": "cellbench.results",
    "run": "cellbench.runner",
    "train": "cellbench.training.one",
}

__all__ = [
    "Cell", "CellbenchError", "Results", "State", "Task", "TorchCell", "hookimpl", "load", "run", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'cellbench' has no attribute {name!r}")
