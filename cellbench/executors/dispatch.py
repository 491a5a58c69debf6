"""Hands chunks to an executor and yields outcomes, and copes with workers that die or hang."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from cellbench.executors.executor import Executor, WorkerDied
from cellbench.records import Chunk, Outcome

ATTEMPTS = 2
"""How often a chunk is tried before its replicas are recorded as failed because of the machine."""

Job = Callable[[], list[Outcome]]


@dataclass(frozen=True)
class Finished:
    """A chunk that ended, with the outcomes of all its replicas."""

    chunk: Chunk
    outcomes: tuple[Outcome, ...]


class Supply(Protocol):
    """Chunks to run, of which some may not be ready yet."""

    @property
    def open(self) -> bool:
        """Whether there are chunks that are not ready."""

    @property
    def awaited(self) -> Collection[Future[Any]]:
        """What these wait for; a future that has ended if `settle` has something to do at once."""

    def settle(self) -> None:
        """Make chunks ready whose waiting is over."""

    def take(self) -> Chunk | None:
        """Hand out the next chunk; None if none is ready."""


@dataclass
class _Listed:
    """Chunks that are all ready."""

    chunks: Iterator[Chunk]
    open: bool = False
    awaited: Collection[Future[Any]] = field(default_factory=tuple)

    def settle(self) -> None:
        """Do nothing: all are ready."""

    def take(self) -> Chunk | None:
        return next(self.chunks, None)


@dataclass
class _Flight:
    chunk: Chunk
    since: float


def dispatch(chunks: Iterable[Chunk] | Supply, executor: Executor, job: Callable[[Chunk], Job]) -> Iterator[Finished]:
    """Run every chunk.

    When a worker dies, the chunks in progress are suspects, and each is tried again. If the executor is not isolated,
    a suspect runs alone, so that a chunk which kills its worker takes no other with it. After `ATTEMPTS` attempts its
    replicas are recorded as failed, with the cause `machine`.

    Args:
        chunks: in the order to start them, or a supply of them.
        executor: where they run.
        job: turns a chunk into the function that the worker calls.

    Yields:
        Each chunk as it ends.
    """
    supply: Supply = _Listed(iter(chunks)) if isinstance(chunks, Iterable) else chunks
    suspects = deque[Chunk]()
    flying: dict[Future[list[Outcome]], _Flight] = {}
    while True:
        supply.settle()
        # hand out: suspects first, and one at a time where a dying worker would take others with it
        apart = not executor.isolated
        alone = apart and (bool(suspects) or any(f.chunk.attempt > 1 for f in flying.values()))
        while len(flying) < (1 if alone else executor.slots):
            chunk = suspects.popleft() if suspects else supply.take()
            if chunk is None:
                break
            flying[executor.submit(job(chunk))] = _Flight(chunk, time.monotonic())
            alone = apart and (alone or chunk.attempt > 1)
        if not flying and not suspects and not supply.open:
            return
        # collect: at most a second at a time, to notice chunks that hang, and what a supply does after some time
        ended, _ = wait({*flying, *supply.awaited}, timeout=1.0, return_when=FIRST_COMPLETED)
        finished = [future for future in flying if future in ended]
        broken = False
        for future in finished:
            chunk = flying.pop(future).chunk
            try:
                yield Finished(chunk, tuple(future.result()))
            except (BrokenExecutor, CancelledError) as error:
                # a WorkerDied concerns this chunk alone; any other error means that the executor itself broke
                broken = broken or not isinstance(error, WorkerDied)
                yield from _again(chunk, "its worker died (killed, or crashed in native code)", suspects)
        # recover: a chunk far beyond its own time limit hangs in native code, and only ending its worker helps
        late = {x: f for x, f in flying.items() if time.monotonic() - f.since > patience(f.chunk)}
        lost = late
        if (broken or late) and executor.restart(list(late)):
            lost = dict(flying)  # the restart ended the other chunks in progress too
        for future, flight in lost.items():
            why = "it was still running long after train.timeout" if future in late else "its worker died"
            yield from _again(flight.chunk, why, suspects)
            del flying[future]
        # last, so that outcomes are yielded even if the executor is gone
        executor.check()


def patience(chunk: Chunk) -> float:
    """Return the seconds after which a chunk is given up: its own alarm cannot interrupt code outside Python."""
    return 1.2 * chunk.settings.train.timeout + 10


def _again(chunk: Chunk, why: str, suspects: deque[Chunk]) -> Iterator[Finished]:
    """Queue a chunk for another attempt or, after the last one, yield it with its replicas failed."""
    if chunk.attempt < ATTEMPTS:
        suspects.append(replace(chunk, attempt=chunk.attempt + 1))
        return
    yield Finished(
        chunk,
        tuple(
            Outcome(r.key, "failed", "machine", engine=chunk.engine, attempt=chunk.attempt, traceback=f"{why}, twice")
            for r in chunk.replicas
        ),
    )
