"""Calling other people's code, cells and plugins: however it ends, it ends no more than itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Timeout(BaseException):
    """The time of a chunk is over. Not an Exception, so that a cell's own `except Exception` does not swallow it."""


class Exits(Exception):
    """Code raised what would have ended the whole program, as `sys.exit()` does."""


@contextmanager
def contained() -> Iterator[None]:
    """Let only an Exception out of this block, an interrupt, or the time limit.

    A run that `sys.exit()` ends in a cell would look like one that succeeded.

    Raises:
        Exits: in place of anything else.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt, Timeout):
        raise
    except BaseException as error:
        raise Exits(f"{type(error).__name__}({error}), which would have ended the whole program") from error
