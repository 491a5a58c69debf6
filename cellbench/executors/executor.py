"""The contract of an executor, as dispatch uses it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import BrokenExecutor, Future
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class WorkerDied(BrokenExecutor):
    """Only the worker of this future died; the others, and the executor, go on."""


class Executor(Protocol):
    """Runs functions.

    Attributes:
        isolated: whether a worker that dies loses only its own chunk.
    """

    isolated: bool

    @property
    def slots(self) -> int:
        """The number of chunks to hand over at a time; it may change as workers come and go."""

    def submit(self, function: Callable[..., T], /, *args: Any) -> Future[T]:
        """Run a function; the future fails with BrokenExecutor if a worker died."""

    def restart(self, stuck: Collection[Future[Any]] = ()) -> bool:
        """Replace workers that died, after a BrokenExecutor, and those whose futures do not end.

        Args:
            stuck: the futures that do not end.

        Returns:
            Whether every other future in progress is lost too.
        """

    def check(self) -> None:
        """Raise CellbenchError if no future can end any more. Called about once per second."""

    def close(self) -> None:
        """End the workers and discard their unfinished work."""
