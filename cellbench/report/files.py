"""Write files so that a reader never sees half of one, and nothing outside the folder changes.

The folder may be a stranger's, with links in it. A file is made in a folder of its own, whose name nobody can foresee,
and then takes its place: a link there is replaced, not followed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from cellbench.errors import StoreError

_WHOLE = "The results in runs.sqlite are whole."


@contextmanager
def replaced(path: Path, *, binary: bool = False) -> Iterator[IO[Any]]:
    """Open a file that takes the place of `path` when the block ends without an error.

    Raises:
        StoreError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent, ignore_cleanup_errors=True) as own:
            made = Path(own, path.name)
            with made.open("xb") if binary else made.open("x", encoding="utf-8", newline="") as file:
                yield file
            made.replace(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}. {_WHOLE}") from None


def write_text(path: Path, text: str) -> None:
    """Write a text as a whole file; see `replaced`."""
    with replaced(path) as file:
        file.write(text)


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes as a whole file; see `replaced`."""
    with replaced(path, binary=True) as file:
        file.write(content)


def remove(path: Path) -> None:
    """Remove a file, or a link itself, if it is there.

    Raises:
        StoreError: it cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path} cannot be removed: {error.strerror}. {_WHOLE}") from None


def refuse_link(folder: Path) -> None:
    """Refuse a folder of the report that is a link: files in another folder would be replaced and removed.

    Raises:
        StoreError: it is a link.
    """
    if folder.is_symlink():
        raise StoreError(
            f"{folder} is a link: nothing is written there, since files of another folder would be replaced and "
            f"removed. Remove the link. {_WHOLE}"
        )
