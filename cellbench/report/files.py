"""Writing a file so that a reader never sees half of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from cellbench.errors import StoreError


@contextmanager
def replaced(path: Path, *, binary: bool = False) -> Iterator[IO[Any]]:
    """Open a file beside `path` that takes its place when the block ends well.

    Raises:
        StoreError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") if binary else beside.open("w", encoding="utf-8", newline="") as file:
            yield file
        beside.replace(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}. The results in runs.sqlite are whole.") from None
    finally:
        with suppress(OSError):  # what stands in the folder's place is told above
            beside.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a whole text; see `replaced`."""
    with replaced(path) as file:
        file.write(text)


def write_bytes(path: Path, content: bytes) -> None:
    """Write whole bytes; see `replaced`."""
    with replaced(path, binary=True) as file:
        file.write(content)
