"""The executor that runs chunks on a Dask cluster: one at an address, or one started on this machine, on loopback.

Dask does the cluster's work (workers on Slurm, Kubernetes and clouds, TLS, reconnecting); this module only turns its
futures into those of concurrent.futures, and its errors into ours.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Collection
from concurrent.futures import BrokenExecutor, Future
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from cellbench.errors import CellbenchError, Interrupted
from cellbench.executors import private
from cellbench.executors.executor import WorkerDied
from cellbench.wording import described

T = TypeVar("T")

CONNECT = 10.0
"""Seconds for a scheduler to accept a connection."""
ANSWER = 10.0
"""Seconds for a connected scheduler to list its workers."""
IMPORT = 120.0
"""Seconds for a worker to import torch, perhaps from a slow network folder."""
PATIENCE = 60.0
"""Seconds to wait for a first worker, and for a new one after the last has left."""


class Dask:
    """A Dask cluster.

    Args:
        scheduler: its address, such as `tcp://node1:8786`, or the .json file that `dask scheduler --scheduler-file`
            writes; None starts a scheduler and workers on this machine, see `private`.
        workers: how many workers to start, if no address is given.
        patience: seconds to wait for workers, and for the file.

    Raises:
        CellbenchError: distributed is not installed, no scheduler answers at the address, or no worker connects.
    """

    isolated = True
    warning = ""
    """What the user should know about the cluster before it is used; empty if nothing."""

    def __init__(self, scheduler: str | None = None, workers: int = 1, *, patience: float = PATIENCE) -> None:
        try:
            import distributed
        except ImportError as error:
            raise CellbenchError(
                f"--executor dask needs the package distributed ({error}): pip install 'cellbench[dask]'"
            ) from None
        if scheduler is not None and not scheduler.strip():
            raise CellbenchError(
                "--scheduler is empty. Give an address, such as tcp://node1:8786, or leave --scheduler out to start a "
                "scheduler on this machine"
            )
        self._patience = patience
        self._cluster: Any = None
        self._where = scheduler or "a cluster on this machine"
        # a batch system may start the scheduler after this process: wait for its file
        address = _address(scheduler, patience) if scheduler is not None and scheduler.endswith(".json") else scheduler
        if scheduler is None:
            self._cluster = private.start(workers)
            self.warning = "" if private.can_encrypt() else private.OPEN
        with warnings.catch_warnings():
            # agreement.py reports what differs between this machine and the workers, and stops the run
            warnings.simplefilter("ignore")
            try:
                make_client: Any = distributed.Client
                self._client = make_client(address or self._cluster, timeout=CONNECT, set_as_default=False)
            except (OSError, ValueError, TypeError) as error:
                self._end_cluster()
                raise CellbenchError(
                    f"--scheduler {scheduler}: no Dask scheduler answers there within {CONNECT:g} s "
                    f"({described(error)}). `dask scheduler` prints its address, such as tcp://node1:8786"
                ) from None
            except BaseException:  # an interrupt must not leave the workers behind
                self._end_cluster()
                raise
        self._flying: dict[Future[Any], Any] = {}
        self._seen_worker = time.monotonic()
        self._slots, self._asked = 0, 0.0
        # no chunk is handed out before there is a worker to ask whether it agrees with this machine
        try:
            while not self._count():
                self.check()
                time.sleep(0.1)
        except BaseException:
            self.close()
            raise

    @property
    def slots(self) -> int:
        """The number of workers: each trains one chunk at a time, however many threads it has."""
        if time.monotonic() - self._asked > 2:
            self._count()
        return max(1, self._slots)

    @property
    def address(self) -> str:
        """Where the scheduler listens."""
        return str(self._client.scheduler_info()["address"])

    def _count(self) -> int:
        """Ask the scheduler how many workers there are, and remember when the last one was seen."""
        self._asked = time.monotonic()
        self._slots = 0
        if self._client.status == "running":
            with suppress(Exception):  # the scheduler is shutting down or stopped: check() says so
                self._slots = len(self._client.nthreads(callback_timeout=ANSWER))
        if self._slots:
            self._seen_worker = self._asked
        return self._slots

    def submit(self, function: Callable[..., T], /, *args: Any) -> Future[T]:
        """Run a function on a worker that is free."""
        future: Future[T] = Future()
        try:
            theirs = self._client.submit(function, *args, pure=False)
        except Exception as error:
            future.set_exception(BrokenExecutor(f"the Dask scheduler did not accept the chunk: {described(error)}"))
            return future
        self._follow(future, theirs)
        return future

    def everywhere(self, function: Callable[..., T], /, *args: Any) -> dict[str, Future[T]]:
        """Run a function on every worker; returns the futures by the workers' addresses.

        The future of a worker that cannot import the function holds the reason.
        """
        # a worker that cannot import what it is sent leaves the cluster without a message; a text it can always read
        importing = f"__import__('importlib').import_module({function.__module__!r}) and None"
        try:
            workers = list(self._client.nthreads(callback_timeout=ANSWER))
        except Exception as error:
            raise CellbenchError(
                f"the Dask scheduler ({self._where}) does not answer ({described(error)}); nothing was run"
            ) from None
        # first all workers import at the same time, then each that can is sent the function
        asked: dict[str, Future[Any]] = {a: self._at(a, eval, importing) for a in workers}
        found: dict[str, Future[T]] = {}
        until = time.monotonic() + IMPORT
        for address, answer in asked.items():
            try:
                able = answer.exception(timeout=max(0.0, until - time.monotonic())) is None
            except TimeoutError:
                able, answer = False, self._silent(answer)
            found[address] = self._at(address, function, *args) if able else answer
        return found

    def _silent(self, answer: Future[Any]) -> Future[Any]:
        """Give up a worker that does not answer; returns a future that says so."""
        theirs = self._flying.pop(answer, None)
        if theirs is not None:
            self._client.cancel([theirs], force=True)
        future: Future[Any] = Future()
        future.set_exception(
            TimeoutError(
                f"it gave no answer within {IMPORT:g} s: it is stopped, or busy, perhaps with what a killed run left "
                "behind. Restart it, or run again when it is free"
            )
        )
        return future

    def _at(self, address: str, function: Callable[..., T], /, *args: Any) -> Future[T]:
        future: Future[T] = Future()
        theirs = self._client.submit(function, *args, pure=False, workers=[address], allow_other_workers=False)
        self._follow(future, theirs)
        return future

    def _follow(self, future: Future[T], theirs: Any) -> None:
        """Complete our future when Dask's ends."""
        future.set_running_or_notify_cancel()
        self._flying[future] = theirs

        def done(ended: Any) -> None:  # runs in a thread of Dask's, which may wait for the result
            self._flying.pop(future, None)
            with suppress(Exception):  # restart() may have given our future up
                _copy(ended, future)

        theirs.add_done_callback(done)

    def restart(self, stuck: Collection[Future[Any]] = ()) -> bool:
        """Restart the workers whose futures do not end. Dask itself replaces workers that died."""
        self.check()
        mine = [self._flying.pop(future) for future in stuck if future in self._flying]
        if mine:
            # which worker runs them is known only before they are cancelled
            running: dict[str, Any] = self._client.processing()
            keys = {theirs.key for theirs in mine}
            self._client.cancel(mine, force=True)
            for address in [a for a, tasks in running.items() if keys & set(map(str, tasks))]:
                # a worker without a nanny cannot be restarted, and is lost
                with suppress(Exception):
                    self._client.restart_workers([address], timeout=30, raise_for_error=False)
        return False

    def check(self) -> None:
        """Raise Interrupted if the scheduler is gone, or if there has been no worker for too long."""
        if self._client.status != "running":
            raise Interrupted(f"the Dask scheduler ({self._where}) is gone; what was trained is kept")
        if time.monotonic() - self._asked > 2:
            self._count()
        if not self._slots and time.monotonic() - self._seen_worker > self._patience:
            raise Interrupted(
                f"the Dask scheduler ({self._where}) has had no worker for {self._patience:g} s, or does not answer; "
                "what was trained is kept. Start workers (`dask worker ADDRESS --nthreads 1`)"
            )

    def close(self) -> None:
        """Leave the scheduler, and end the workers that were started here."""
        flying = list(self._flying.values())
        self._flying.clear()
        with suppress(Exception):
            if self._client.status == "running" and flying:
                self._client.cancel(flying, force=True)
        with suppress(Exception):
            self._client.close(timeout=5)
        self._end_cluster()

    def _end_cluster(self) -> None:
        if self._cluster is not None:
            with suppress(Exception):
                self._cluster.close(timeout=10)
            self._cluster = None


def _address(file: str, patience: float) -> str:
    """Read the address in a scheduler's file, as soon as the file is there."""
    until = time.monotonic() + patience
    while True:
        try:
            found = json.loads(Path(file).read_text(encoding="utf-8"))["address"]
            if not isinstance(found, str) or not found.strip():
                raise TypeError("its address is empty or not a text")
            return found
        except (
            OSError,
            ValueError,
            TypeError,
            KeyError,
            RecursionError,
        ) as error:  # not there yet, or not yet complete
            if time.monotonic() > until:
                raise CellbenchError(
                    f"--scheduler {file}: no scheduler's file appeared within {patience:g} s ({described(error)}). "
                    "`dask scheduler --scheduler-file FILE` writes one"
                ) from None
        time.sleep(0.1)


def _copy(ended: Any, future: Future[Any]) -> None:
    """Copy the result or error of a finished Dask future into ours."""
    if ended.status == "finished":
        try:
            result = ended.result()
        except Exception as error:
            future.set_exception(WorkerDied(f"the result was lost with its worker: {described(error)}"))
        else:
            future.set_result(result)
    elif ended.status == "error":
        raised = ended.exception()
        killed = type(raised).__name__ in ("KilledWorker", "NoValidWorkerError")
        future.set_exception(WorkerDied(described(raised)) if killed else raised)
    else:
        future.set_exception(BrokenExecutor(f"Dask gave up the chunk ({ended.status})"))
