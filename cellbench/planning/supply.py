"""The supply of chunks while cells are still compiled: each is handed out once its cell's engine is certain."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, MutableMapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from cellbench.engines import Choice
from cellbench.planning.choosing import Choosing
from cellbench.planning.chunks import chunks, longest_first
from cellbench.records import CellSpec, Chunk, Planned

ALONE = 5.0
"""Seconds for which compilers of the first cell are left alone."""


@dataclass(frozen=True)
class Handed:
    """A chunk of a supply that was handed to a worker."""

    chunk: Chunk


@dataclass(frozen=True)
class Settled:
    """The engine of a cell is certain, since its compilers have ended.

    Attributes:
        label: the cell's.
        choice: its engine.
        chunks: the cell's chunks, if they were cut anew for another engine than was planned; else none.
        compiling: what is still compiled, in one line; empty if nothing is.
    """

    label: str
    choice: Choice
    chunks: tuple[Chunk, ...]
    compiling: str


@dataclass
class Supply:
    """The chunks of a plan, of which some wait until their cell is compiled.

    As long as some wait, the shortest chunk that is ready goes first: what is wrong shows early. Then the longest goes
    first, so that all workers end at about the same time. No number depends on the order.

    Attributes:
        todo: all chunks, cut as if `lanes` carried the cells that wait.
        waiting: the cells that compilers work on or are going to, in this order.
        choosing: chooses their engines.
        engines: each label's engine; corrected here where it is another one than was planned.
        selected: the part of the experiment that is trained.
        tell: called with each event.
    """

    todo: Sequence[Chunk]
    waiting: list[CellSpec]
    choosing: Choosing
    engines: MutableMapping[str, Choice]
    selected: Sequence[Planned]
    tell: Callable[[Handed | Settled], object] = lambda event: None
    _ready: deque[Chunk] = field(init=False)
    _held: dict[str, list[Chunk]] = field(init=False)
    _handed: bool = field(init=False, default=False)
    _since: float = field(init=False, default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._held = {cell.label: [] for cell in self.waiting}
        self._ready = deque()
        for chunk in self.todo:
            self._held.get(chunk.cell.label, self._ready).append(chunk)

    @property
    def open(self) -> bool:
        """Whether there are chunks that cannot be handed out yet."""
        return bool(self.waiting)

    @property
    def awaited(self) -> list[Future[Any]]:
        """What the other chunks wait for; a future that has ended if `settle` has something to do at once."""
        running = [self.choosing.awaited(cell) for cell in self.waiting]
        if all(running) or self._first_alone:
            return [future for mine in running for future in mine]
        at_once: Future[Any] = Future()
        at_once.set_result(None)
        return [at_once]

    @property
    def compiling(self) -> str:
        """Say what is compiled now; empty if nothing is."""
        labels = [cell.label for cell in self.choosing.experiment.cells]
        if not self.waiting:
            return ""
        label = self.waiting[0].label
        return f"compiling {labels.index(label) + 1} of {len(labels)}: {label}"

    @property
    def _first_alone(self) -> bool:
        """Whether only the first cell is worked on: to trace another beside its compilers would delay them.

        Once something is trained, or a compiler takes long, the others need not wait.
        """
        nothing = not self._handed and not self._ready and time.monotonic() - self._since < ALONE
        return nothing and any(self.choosing.awaited(cell) for cell in self.waiting)

    def settle(self) -> None:
        """Choose the engine of one cell whose compilers have ended, and free its chunks; or begin to compile one."""
        idle = [cell for cell in self.waiting if not self.choosing.awaited(cell)]
        ended = [cell for cell in idle if self.choosing.is_begun(cell)]
        if ended:
            self._free(ended[0])
        elif idle and not self._first_alone:
            self.choosing.begin(idle[0])

    def _free(self, cell: CellSpec) -> None:
        """Choose the engine of a cell, and make its chunks ready."""
        planned, choice = self.engines[cell.label], self.choosing.choose(cell)
        freed, anew = self._held.pop(cell.label), choice.engine != planned.engine
        if anew:
            keys = {r.key for chunk in freed for r in chunk.replicas}
            mine = [p for p in self.selected if p.cell.label == cell.label]
            cut = (replace(p, replicas=tuple(r for r in p.replicas if r.key in keys)) for p in mine)
            freed = chunks(self.choosing.experiment, list(cut), {cell.label: choice}, frozenset())
        self.engines[cell.label] = choice
        self.waiting.remove(cell)
        self._ready = deque(longest_first([*self._ready, *freed]))
        self.tell(Settled(cell.label, choice, tuple(freed) if anew else (), self.compiling))

    def take(self) -> Chunk | None:
        """Hand out the next chunk; None if none is ready."""
        if not self._ready:
            return None
        chunk = self._ready.pop() if self.waiting else self._ready.popleft()
        self._handed = True
        self.tell(Handed(chunk))
        return chunk
