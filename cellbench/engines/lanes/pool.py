"""Threads that wait for compilers, while the thread that began them goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from cellbench.environment import usable_cores


class Compilers(ThreadPoolExecutor):
    """Threads that wait for compilers, one per core.

    Attributes:
        begun: what they work on or have made, by its place in the cache: several cells may need one program.
        ended: set once nobody waits for them any more.
    """

    def __init__(self) -> None:
        super().__init__(usable_cores())
        self.begun: dict[str, Future[tuple[bytes, float]]] = {}
        self.ended = threading.Event()


@contextmanager
def compilers() -> Iterator[Compilers]:
    """Make threads that wait for compilers. Those that still run when the block ends are ended with it."""
    pool = Compilers()
    try:
        yield pool
    finally:
        pool.ended.set()
        pool.shutdown(cancel_futures=True)
