"""cellbench: does my recurrent cell beat LSTM?

This module lists the public names. Those that need torch or pandas are imported when first used, so that
`cellbench --help` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cellbench.errors import CellbenchError
from cellbench.hookspecs import hookimpl

if TYPE_CHECKING:
    from cellbench.cell import Cell, State, TorchCell
    from cellbench.results import Results, load
    from cellbench.running import run
    from cellbench.task import Task
    from cellbench.training.single import train

__version__ = "0.1.0"

_LAZY = {
    "Cell": "cellbench.cell",
    "State": "cellbench.cell",
    "TorchCell": "cellbench.cell",
    "Task": "cellbench.task",
    "Results": "cellbench.results",
    "load": "cellbench.results",
    "run": "cellbench.running",
    "train": "cellbench.training.single",
}

__all__ = [
    "Cell", "CellbenchError", "Results", "State", "Task", "TorchCell", "hookimpl", "load", "run", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'cellbench' has no attribute {name!r}")
