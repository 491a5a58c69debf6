"""The replicas to train, cut into chunks of a few seconds, and their supply while cells are still compiled."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from cellbench.engines import Choice, together
from cellbench.experiment import Experiment
from cellbench.planning.choosing import Choosing
from cellbench.planning.cost import Guess
from cellbench.records import CellSpec, Chunk, Planned

CHUNK_SECONDS = 4.0
"""Seconds that a chunk should take: long compared with handing it out, short compared with a whole run."""


_MOST = {"lanes": 256, "stack": 32, "reference": 8}
"""Replicas that a chunk may hold."""


def _width(seconds: float, rates: int, group: int, most: int) -> int:
    """Choose how many replicas a chunk should hold.

    Args:
        seconds: that one replica takes.
        rates: learning rates; whole seeds share their data.
        group: replicas that the engine trains at a time; fewer take as long, so a chunk holds whole groups.
        most: replicas that it may hold.
    """
    affordable = min(int(CHUNK_SECONDS / seconds), most)
    whole = math.lcm(rates, group)
    if whole <= affordable:
        return affordable // whole * whole
    # no whole seeds and groups together: a group is a matter of speed, a seed one of drawing its data twice
    return max(1, affordable // group) * group if group > 1 else min(rates, most)


def chunks(
    experiment: Experiment, selected: Sequence[Planned], engines: Mapping[str, Choice], done: frozenset[str]
) -> list[Chunk]:
    """Cut the replicas to train into chunks of a few seconds, the longest first, so that workers stay busy."""
    cut: list[Chunk] = []
    guess = Guess(experiment.task, experiment.settings)
    seen = set(done)
    for p in selected:
        missing = []
        for r in p.replicas:
            if r.key not in seen:
                seen.add(r.key)  # two labels may ask for one replica
                missing.append(r)
        if not missing:
            continue
        engine = engines[p.cell.label].engine
        seconds = guess.seconds(p, engine)
        group = together(engine, p.point.batch_size)
        width = _width(seconds, len(experiment.rates(p.cell)), group, _MOST[engine])
        for start in range(0, len(missing), width):
            replicas = tuple(missing[start : start + width])
            cost = seconds * len(replicas)
            cut.append(
                Chunk(
                    p.cell, p.point, p.fit.hidden_size, experiment.settings, engine, replicas, cost=cost,
                    keep_weights=experiment.keys.keep == "weights",
                )
            )  # fmt: skip
    return _longest_first(cut)


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
        """What the other chunks wait for; a future that has ended if the next call of `settle` has something to do."""
        running = [self.choosing.awaited(cell) for cell in self.waiting]
        if all(running):
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

    def settle(self) -> None:
        """Choose the engine of one cell whose compilers have ended, and free its chunks; or begin to compile one."""
        idle = [cell for cell in self.waiting if not self.choosing.awaited(cell)]
        ended = [cell for cell in idle if self.choosing.is_begun(cell)]
        if ended:
            self._free(ended[0])
        elif idle:
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
        self._ready = deque(_longest_first([*self._ready, *freed]))
        self.tell(Settled(cell.label, choice, tuple(freed) if anew else (), self.compiling))

    def take(self) -> Chunk | None:
        """Hand out the next chunk; None if none is ready."""
        if not self._ready:
            return None
        chunk = self._ready.pop() if self.waiting else self._ready.popleft()
        self.tell(Handed(chunk))
        return chunk


def _longest_first(cut: Sequence[Chunk]) -> list[Chunk]:
    return sorted(cut, key=lambda chunk: -chunk.cost)
