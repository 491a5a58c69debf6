"""The errors that cellbench raises on purpose, each with the exit status of the command line.

CellbenchError            2   bad input: nothing was run
├── ExperimentError       2   faults of an experiment file, all at once, each with its place
├── PluginError           2   a plugin is broken or missing, or two plugins claim one name
├── CellError             2   a cell breaks the contract; names the cell, keeps the author's traceback
├── TaskError             2   a task breaks the contract; names the task and where it is written
├── StoreError            2   a results folder cannot be used as asked
└── Interrupted         130   Ctrl-C or SIGTERM: results are kept
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class CellbenchError(Exception):
    """Base of all errors that cellbench raises on purpose; the user reads the message as it is."""

    exit_status = 2


@dataclass(frozen=True)
class Fault:
    """One fault of an experiment: where it is, what is wrong, and what to do."""

    place: str
    """`file:line`, or the option of the command line, for example `--set train.max_steps=x`."""
    key: str
    """The path of the key, for example `cells[2].name`; empty if the fault is in the file as a whole."""
    message: str

    def __str__(self) -> str:
        return f"{self.place}  {self.key}: {self.message}" if self.key else f"{self.place}  {self.message}"


MOST_SHOWN = 100
"""The most faults that a message shows: a list of 10,000 values may have as many."""


class ExperimentError(CellbenchError):
    """An experiment file or its overrides have faults; `faults` are all of them, the message shows the first 100."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults):,} faults"
        more = [f"and {len(self.faults) - MOST_SHOWN:,} more"] if len(self.faults) > MOST_SHOWN else []
        super().__init__("\n".join([*map(str, self.faults[:MOST_SHOWN]), *more, f"{count}, nothing was run."]))

    def __reduce__(self) -> tuple[type[ExperimentError], tuple[tuple[Fault, ...]]]:
        # an exception is unpickled from its message by default; this one is made from its faults
        return type(self), (self.faults,)


class PluginError(CellbenchError):
    """A plugin cannot be loaded, or claims a name that another plugin has."""


class CellError(CellbenchError):
    """A cell breaks the contract, or its code raised while the cell was made."""


class TaskError(CellbenchError):
    """A task breaks the contract: what it drew has another type, range or shape than it declares."""


class StoreError(CellbenchError):
    """A results folder is locked, foreign or damaged, or holds other results than asked for."""


class Interrupted(CellbenchError):
    """The run was interrupted; results stored before that are kept."""

    exit_status = 130
