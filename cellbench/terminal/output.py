"""Print what a command shows, which may hold text from somebody else's store."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn, TextIO

from cellbench.wording import escaped


def reader_is_gone() -> NoReturn:
    """End with the exit status of SIGPIPE, and throw away what is still to be written, which would fail once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            with suppress(OSError, ValueError):
                os.dup2(nowhere, stream.fileno())
    raise SystemExit(141)


def show(text: str, file: TextIO | None = None) -> None:
    """Print text with its control characters escaped: somebody else's store could hold some that act on a terminal."""
    print(escaped(text), file=file)
