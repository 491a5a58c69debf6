"""cellbench: does my recurrent cell beat LSTM?

It trains recurrent cells side by side on binary addition, with the same data and the same search for a learning rate,
and says which needs fewer steps, with the uncertainty. The doors:

    run         train the cells of an experiment, or go on with it; returns Results
    check       is a cell sound? one line per law
    compare     one cell against another, such as a version against the one before it; returns Results
    train       train one model, to look inside it or to use it
    load        read a results folder again
    Results     what `run` and `load` return: verdicts, and tables as DataFrames

    Cell        the base class of a cell of your own: one step, written in torch
    TorchCell   wraps a cell of torch, such as nn.GRUCell
    SequenceCell    wraps a module that takes whole sequences, such as nn.GRU
    Task        the base class of a task of your own
    hookimpl    marks the hooks of a plugin

A first session:

    import cellbench
    found = cellbench.run(
        cells=["lstm", "gru"], grid={"bits": 8, "batch_size": 16, "hidden_size": 20}, seeds=4, name="first"
    )
    print(found)
    found.runs

See docs/python.md for more of it. The commands of the terminal do the same: `cellbench --help`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cellbench.errors import CellbenchError
from cellbench.hookspecs import hookimpl

# names that need torch or pandas are imported when first used, so that `cellbench --help` is quick
if TYPE_CHECKING:
    from cellbench.cell import Cell, SequenceCell, State, TorchCell
    from cellbench.conformance import check
    from cellbench.results import Results, load
    from cellbench.task import Task
    from cellbench.terminal.session import compare, run
    from cellbench.training.single import train

__version__ = "0.1.0"

_LAZY = {
    "Cell": "cellbench.cell",
    "State": "cellbench.cell",
    "TorchCell": "cellbench.cell",
    "SequenceCell": "cellbench.cell",
    "Task": "cellbench.task",
    "check": "cellbench.conformance",
    "compare": "cellbench.terminal.session",
    "Results": "cellbench.results",
    "load": "cellbench.results",
    "run": "cellbench.terminal.session",
    "train": "cellbench.training.single",
}

__all__ = [
    "Cell", "CellbenchError", "Results", "SequenceCell", "State", "Task", "TorchCell", "check", "compare", "hookimpl",
    "load", "run", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'cellbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names for `dir` and for completion, those that were not used yet included."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
