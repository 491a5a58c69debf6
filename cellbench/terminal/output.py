"""Print what a command shows, which may hold text from somebody else's store."""

from __future__ import annotations

import codecs
import io
import os
import re
import shutil
import sys
import textwrap
from contextlib import suppress
from typing import NoReturn, TextIO

from cellbench.wording import escaped

_PLAIN = {"×": "x", "–": "-", "—": "-", "−": "-", "…": "...", "≤": "<=", "≥": ">=", "·": "-", "’": "'"}
"""What stands for a sign of ours in an encoding that lacks it."""


def _plainer(error: UnicodeError) -> tuple[str, int]:
    """Write what an encoding lacks with the characters that every encoding has; a handler of errors for codecs."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in lacking), error.end


def any_encoding() -> None:
    """Make stdout and stderr take every text, whatever their encoding: ASCII under `LC_ALL=C`, a Windows code page."""
    codecs.register_error("plainer", _plainer)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plainer")


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


def show_fitted(text: str, file: TextIO | None) -> None:
    """Print a message: on a terminal its lines are broken between words, elsewhere it stays as it is."""
    show(
        fitted(text, shutil.get_terminal_size((80, 24)).columns) if file is not None and file.isatty() else text,
        file=file,
    )


def fitted(text: str, columns: int) -> str:
    """Break the lines of a message that are wider than the terminal, between words; what follows is indented further.

    Args:
        text: what it says; a command stays whole, between backticks and on a line of its own.
        columns: the width of the terminal.
    """
    lines: list[str] = []
    for line in text.split("\n"):
        if len(line) <= columns or _COMMAND.match(line):
            lines.append(line)
            continue
        begins = line[: len(line) - len(line.lstrip(" "))]
        whole = re.sub(r"`[^`]*`", lambda command: command[0].replace(" ", _KEPT), line.lstrip(" "))
        lines += textwrap.wrap(
            whole,
            columns,
            initial_indent=begins,
            subsequent_indent=f"{begins}  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines).replace(_KEPT, " ")


_COMMAND = re.compile(r" +(python\S* -m )?(cellbench|pip) ")
"""What a line begins with that is a command, to be copied whole."""

_KEPT = "\ue000"
"""Stands for a space at which no line is broken: a character that no text of ours has."""
