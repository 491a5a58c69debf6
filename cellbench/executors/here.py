"""The executor that runs chunks in this process."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Here:
    """Runs each function at once, in this process."""

    slots = 1
    isolated = False

    def submit(self, function: Callable[..., T], /, *args: Any) -> Future[T]:
        """Run a function now. Its exception goes into the future; an interrupt is raised here."""
        future: Future[T] = Future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def restart(self, stuck: Collection[Future[Any]] = ()) -> bool:
        """Do nothing: no worker can have died."""
        return False

    def check(self) -> None:
        """Do nothing: this process is alive."""

    def close(self) -> None:
        """Do nothing: there is no worker to end."""
