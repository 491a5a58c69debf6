"""The hooks that a plugin implements to add cells and tasks.

A plugin is a distribution with an entry point in the group `cellbench`. The entry point names a module (or an object)
with implementations of these hooks, each marked `@cellbench.hookimpl`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

if TYPE_CHECKING:
    from cellbench.cell import Cell
    from cellbench.task import Task

hookspec = pluggy.HookspecMarker("cellbench")

hookimpl = pluggy.HookimplMarker("cellbench")
"""Marks a function of a plugin as an implementation of one of cellbench's hooks."""

GROUP = "cellbench"
"""The entry-point group."""


class RegisterCell(Protocol):
    """The function that `register_cells` is called with."""

    def __call__(
        self,
        *,
        name: str,
        factory: str | Callable[..., Cell],
        description: str = "",
        reference: str = "",
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        """Add one cell.

        Args:
            name: its name in experiments: lower-case letters, digits, `-`, `_` and `.`.
            factory: called as `factory(input_size, hidden_size, **options)`; returns a `Cell`. A string
                `"package.module:Class"` is imported only when the cell is used, so that listing cells needs no torch.
            description: one line that says which cell it is and how its weights are initialised.
            reference: the paper, for example `"Cho et al. 2014, arXiv:1406.1078, equations 5 to 8"`.
            defaults: options passed to the factory unless the experiment gives others.
        """


class RegisterTask(Protocol):
    """The function that `register_tasks` is called with."""

    def __call__(
        self, *, name: str, factory: str | Callable[[], Task], description: str = "", reference: str = ""
    ) -> None:
        """Add one task: `factory()` returns a `Task`; a string is imported only when used."""


@hookspec
def register_cells(register: RegisterCell) -> None:
    """Call `register(name=..., factory=..., description=..., reference=..., defaults=...)` once per cell."""


@hookspec
def register_tasks(register: RegisterTask) -> None:
    """Call `register(name=..., factory=..., description=..., reference=...)` once per task."""
