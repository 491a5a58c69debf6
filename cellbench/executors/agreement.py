"""Checks, before anything is trained, that workers on other machines would compute the numbers of this one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from cellbench.errors import CellbenchError
from cellbench.records import CellSpec, Chunk, Outcome, TaskSpec
from cellbench.wording import one_line

if TYPE_CHECKING:
    from cellbench.executors.dask import Dask
    from cellbench.training.fingerprint import Facts, Need

ASK_SECONDS = 300.0
"""The most seconds for a worker to answer: it imports torch, and may prove cells that were built elsewhere."""


class Agreement:
    """What workers must have in common with this machine, per cell, and the jobs that check it.

    Args:
        cells: with the engine, the device and the hidden sizes of each.
        task: the task's name.
        own: the task, if it is the user's own.
    """

    def __init__(
        self, cells: Iterable[tuple[CellSpec, str, str, Sequence[int]]], task: str, own: TaskSpec | None = None
    ) -> None:
        from cellbench.training import fingerprint as surroundings

        self._needs: dict[CellSpec, Need] = {
            cell: (cell, tuple(hidden_sizes), engine, task, own, device) for cell, engine, device, hidden_sizes in cells
        }
        self._expected: dict[CellSpec, Facts] = {
            cell: surroundings.of_cell(*need) for cell, need in self._needs.items()
        }

    def ask(self, executor: Dask) -> None:
        """Ask every worker that is connected. Those that connect later are checked with their first chunk.

        Raises:
            CellbenchError: some differ; each difference is named once, with the workers that have it.
        """
        from cellbench.training import fingerprint as surroundings

        mine = surroundings.of_cells(tuple(self._needs.values()))
        answers = executor.everywhere(surroundings.of_cells, tuple(self._needs.values()))
        said: dict[str, list[str]] = {}
        for address, future in answers.items():
            try:
                theirs = future.result(timeout=ASK_SECONDS)
            except Exception as error:
                said_why = one_line(error, 300) or f"no answer within {ASK_SECONDS:g} s"
                text = f"cannot say what it runs: {type(error).__name__}: {said_why}"
                said.setdefault(text, []).append(address)
                continue
            for text in surroundings.differences(mine, theirs):
                said.setdefault(text, []).append(address)
        if said:
            raise CellbenchError(_message(said, len(answers)))

    def job(self, chunk: Chunk) -> Callable[[], list[Outcome]]:
        """Make the function that a worker calls for a chunk."""
        from cellbench.training.fingerprint import work_if_like

        return partial(work_if_like, self._expected[chunk.cell], self._needs[chunk.cell], chunk)


def _message(said: Mapping[str, Sequence[str]], of: int) -> str:
    lines = ["The Dask workers would not compute the same numbers as this machine; nothing was run."]
    for text, addresses in said.items():
        some = ", ".join(addresses[:3]) + (", ..." if len(addresses) > 3 else "")
        lines.append(f"  {text}\n    on {len(addresses)} of {of} workers: {some}")
    return "\n".join(lines)
