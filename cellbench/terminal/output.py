"""What the commands leave on a terminal, whoever made what they show."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn, TextIO


def reader_is_gone() -> NoReturn:
    """End as the signal would; what still waits to be written must not fail once more on the way."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            with suppress(OSError, ValueError):
                os.dup2(nowhere, stream.fileno())
    raise SystemExit(141)


def show(text: str, file: TextIO | None = None) -> None:
    """Print what a terminal is only to show: a store that somebody else made could hold characters that steer it."""
    print("".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text), file=file)
