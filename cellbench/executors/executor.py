"""What dispatch asks of an executor."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import BrokenExecutor, Future
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class WorkerDied(BrokenExecutor):
    """The worker of this future alone died; the others, and the executor, go on."""


class Executor(Protocol):
    """Runs functions.

    Attributes:
        isolated: whether a worker that dies takes nothing with it but what it ran.
    """

    isolated: bool

    @property
    def slots(self) -> int:
        """How many chunks to hand over at a time; may change as workers come and go."""

    def submit(self, function: Callable[..., T], /, *args: Any) -> Future[T]:
        """Run a function; the future fails with BrokenExecutor if a worker died."""

    def restart(self, stuck: Collection[Future[Any]] = ()) -> bool:
        """Replace dead workers, after a BrokenExecutor, and those that run futures which do not end.

        Returns:
            Whether everything else that was under way is lost too.
        """

    def check(self) -> None:
        """Called about once a second; raises CellbenchError if no future can end any more."""

    def close(self) -> None:
        """End the workers; whatever they still do is thrown away."""
