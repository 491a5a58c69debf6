"""Hands chunks to an executor and gives back outcomes, whatever happens to workers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from dataclasses import dataclass, replace

from cellbench.executors.executor import Executor, WorkerDied
from cellbench.records import Chunk, Outcome

ATTEMPTS = 2
"""How often a chunk is tried before its replicas are recorded as failed by the machine."""

Job = Callable[[], list[Outcome]]


@dataclass(frozen=True)
class Finished:
    """A chunk that ended, with the outcomes of all its replicas."""

    chunk: Chunk
    outcomes: tuple[Outcome, ...]


@dataclass
class _Flight:
    chunk: Chunk
    since: float


def dispatch(chunks: Iterable[Chunk], executor: Executor, job: Callable[[Chunk], Job]) -> Iterator[Finished]:
    """Run every chunk.

    When a worker dies, the chunks that were under way are suspects. Each is tried again, and where a death takes
    neighbours with it, alone, so that one which kills its worker fails no other; after `ATTEMPTS` its replicas are
    failed, by the machine.

    Args:
        chunks: in the order to begin them.
        executor: where they run.
        job: makes of a chunk what the worker calls.

    Yields:
        Each chunk as it ends.
    """
    waiting, suspects = deque(chunks), deque[Chunk]()
    flying: dict[Future[list[Outcome]], _Flight] = {}
    while waiting or suspects or flying:
        apart = not executor.isolated
        alone = apart and (bool(suspects) or any(f.chunk.attempt > 1 for f in flying.values()))
        while (waiting or suspects) and len(flying) < (1 if alone else executor.slots):
            chunk = suspects.popleft() if suspects else waiting.popleft()
            flying[executor.submit(job(chunk))] = _Flight(chunk, time.monotonic())
            alone = apart and (alone or chunk.attempt > 1)
        finished, _ = wait(flying, timeout=1.0, return_when=FIRST_COMPLETED)
        broken = False
        for future in finished:
            chunk = flying.pop(future).chunk
            try:
                yield Finished(chunk, tuple(future.result()))
            except (BrokenExecutor, CancelledError) as error:
                broken = broken or not isinstance(error, WorkerDied)
                yield from _again(chunk, "its worker died (killed, or crashed in native code)", suspects)
        late = {x: f for x, f in flying.items() if time.monotonic() - f.since > patience(f.chunk)}
        lost = late
        if (broken or late) and executor.restart(list(late)):
            lost = dict(flying)
        for future, flight in lost.items():
            why = "it did not end long after train.timeout" if future in late else "its worker died"
            yield from _again(flight.chunk, why, suspects)
            del flying[future]
        executor.check()


def patience(chunk: Chunk) -> float:
    """Seconds until a chunk whose own alarm did not end it is given up: code that never returns to Python."""
    return 1.2 * chunk.settings.train.timeout + 10


def _again(chunk: Chunk, why: str, suspects: deque[Chunk]) -> Iterator[Finished]:
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
