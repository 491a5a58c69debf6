"""Calls of other people's code, cells and plugins: whatever it raises, the program goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Timeout(BaseException):
    """The time of a chunk is over. Not an Exception, so that a cell's own `except Exception` cannot swallow it."""


class Exits(Exception):
    """Code raised something that would have ended the whole program, as `sys.exit()` does."""


@contextmanager
def contained() -> Iterator[None]:
    """Let only an Exception, an interrupt or the time limit leave this block.

    Without it, a run that ends because a cell calls `sys.exit()` would look like a success.

    Raises:
        Exits: in place of anything else.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt, Timeout):
        raise
    except BaseException as error:
        raise Exits(f"{type(error).__name__}({error}), which would have ended the whole program") from error
