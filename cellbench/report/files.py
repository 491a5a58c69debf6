"""Write files so that a reader never sees half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from cellbench.errors import StoreError


@contextmanager
def replaced(path: Path, *, binary: bool = False) -> Iterator[IO[Any]]:
    """Open a file beside `path` that replaces it when the block ends without an error.

    Raises:
        StoreError: the file cannot be written.
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
        with suppress(OSError):  # it was renamed, or could not be made: then the error above says so
            beside.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text as a whole file; see `replaced`."""
    with replaced(path) as file:
        file.write(text)


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes as a whole file; see `replaced`."""
    with replaced(path, binary=True) as file:
        file.write(content)
