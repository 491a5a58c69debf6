"""In this process."""

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
        """Run it now; its exception is the future's, but an interrupt passes through."""
        future: Future[T] = Future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def restart(self, stuck: Collection[Future[Any]] = ()) -> bool:
        """Nothing can have died."""
        return False

    def check(self) -> None:
        """Always well."""

    def close(self) -> None:
        """Nothing to end."""
