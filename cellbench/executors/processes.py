"""The executor that runs chunks in worker processes on this machine."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import tempfile
import threading
import types
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

PRELOAD = (
    "cellbench.training.worker", "cellbench.engines.stack", "cellbench.engines.reference", "cellbench.engines.lanes",
    "numpy.random",
)  # fmt: skip
"""What a worker imports to train: named here, so that the command line can begin before it imports any of it."""


def start_server(preload: tuple[str, ...] = PRELOAD) -> bool:
    """Start the fork server, where the system has one: it imports modules while this process goes on.

    Its forks then start in milliseconds. Whoever asks for a worker before that waits.

    Returns:
        Whether there is one.
    """
    if not _serves():
        return False
    from multiprocessing import forkserver, resource_tracker

    multiprocessing.get_context("forkserver").set_forkserver_preload(list(preload))
    # first, because it lets Ctrl-C through again when it has started its own process
    resource_tracker.ensure_running()
    with _without_ctrl_c():
        forkserver.ensure_running()
    return True


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Keep Ctrl-C, within this block, from processes that start in it, for as long as they live.

    It reaches every process of the terminal, and the server shows a traceback if it comes while the server imports.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Processes:
    """Worker processes on this machine.

    Args:
        workers: how many.
        preload: modules that are imported before workers fork, where the system has a fork server.
    """

    isolated = False

    def __init__(self, workers: int, preload: tuple[str, ...] = PRELOAD) -> None:
        self.slots = workers
        self._served = start_server(preload)
        self._context: Any = multiprocessing.get_context("forkserver" if self._served else "spawn")
        self._pool = self._make()

    def _make(self) -> ProcessPoolExecutor:
        pool = ProcessPoolExecutor(self.slots, mp_context=self._context, initializer=_start_worker)
        return pool

    def warm(self) -> None:
        """Start the workers now, where no server imports for them, so that they import while this process goes on."""
        for _ in range(0 if self._served else self.slots):
            self.submit(os.getpid)

    def workers(self) -> list[int]:
        """List the process ids of the workers that were started."""
        return list(getattr(self._pool, "_processes", None) or {})

    def submit(self, function: Callable[..., T], /, *args: Any) -> Future[T]:
        """Run a function in a worker."""
        try:
            with _without_main():
                return self._pool.submit(function, *args)
        except BrokenExecutor as error:
            future: Future[T] = Future()
            future.set_exception(error)
            return future

    def restart(self, stuck: Collection[Future[Any]] = ()) -> bool:
        """Replace the whole pool; every future in progress is lost."""
        self._kill()
        self._pool = self._make()
        return True

    def check(self) -> None:
        """Do nothing: a broken pool shows in its futures."""

    def close(self) -> None:
        """Kill the workers."""
        self._kill()

    def _kill(self) -> None:
        processes = list((getattr(self._pool, "_processes", None) or {}).values())
        results = getattr(self._pool, "_result_queue", None)
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()
        for process in processes:
            process.join(5)
        # A worker that was killed while it sent a result has left a part of it. The pool's thread would wait for the
        # rest, and the interpreter for the thread, as long as this process could still send it.
        if (sender := getattr(results, "_writer", None)) is not None:
            sender.close()


_LONGEST = 104 - len("/pymp-12345678/listener-12345678") - 1
"""The length of a temporary folder's path that leaves room for a socket: macOS allows 104 bytes, Linux 108."""


def _serves() -> bool:
    """Tell whether a fork server can be started: Windows has none, and its socket needs a short path."""
    short = len(os.fsencode(tempfile.gettempdir())) <= _LONGEST
    return short and "forkserver" in multiprocessing.get_all_start_methods()


_hiding = threading.Lock()


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the user's program within this block, so that a worker that starts in it does not run it once more.

    multiprocessing imports the main module in each new process, for functions that are defined there. A worker needs
    none of them: cells are made from their text or from plugins. And a script without `if __name__ == "__main__":`
    would start its run again in every worker.
    """
    with _hiding:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _start_worker() -> None:
    # Ctrl-C reaches every process of the terminal; the main process alone decides when workers end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True).start()
    # stdout is for results: what a cell prints goes to stderr
    sys.stdout = sys.stderr


def _die_with(sentinel: int) -> None:
    """End this worker as soon as the main process has ended, however it ended."""
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
