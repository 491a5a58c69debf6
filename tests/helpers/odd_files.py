"""What a stranger may put in the place of a file: links, pipes, folders, second names; all of them harmless here."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

PRIVATE, NOWHERE = Path("private.txt"), Path("nowhere.txt")
CONTENT = "a file of the reader's"
"""What PRIVATE holds before and after; NOWHERE is never there."""


def _link(path: Path) -> None:
    path.symlink_to(PRIVATE.absolute())


def _dangling(path: Path) -> None:
    path.symlink_to(NOWHERE.absolute())


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _second_name(path: Path) -> None:
    path.hardlink_to(PRIVATE)


KINDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "link": (_link, "a link"),
    "dangling link": (_dangling, "a link"),
    "pipe": (_pipe, "a pipe"),
    "folder": (Path.mkdir, "a folder"),
    "second name": (_second_name, "has another name too"),
}
"""How to make each, and what is said of it where it is refused."""
