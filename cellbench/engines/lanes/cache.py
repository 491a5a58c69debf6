"""The folder of compiled cells: private, checked, and shared by processes that may build the same cell at once.

An entry is `<key>.json`. It holds the layout of a program, the result of its proof and the hash of its shared object
`<hash>.so`; or the reason why the cell is refused. Both files are written under a unique name and then renamed. An
object is loaded only if its bytes have that hash, and only from a folder that no other user can write to.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from cellbench import usercache

FOLDER_VARIABLE = "CELLBENCH_CACHE"
"""Names a folder for compiled cells, in place of the user's cache folder."""

FORMAT = 2
"""The format of entries; those of another one are not used. Format 1 had no number, and knew a cell by two steps."""


@dataclass(frozen=True)
class CacheEntry:
    """One compiled cell, or one refused cell.

    Attributes:
        refused: why lanes cannot carry the cell; if it is given, the other fields mean nothing.
        object: the SHA-256 of the shared object.
        compiler: the version of the compiler that made it.
        trained, frozen: name and number of elements of each tensor, in the order of a replica's row.
        row, trained_row: floats in a replica's row, and in its trained part.
        proved: the largest relative error of the compiled gradient; None if it was not proved yet, because it was
            built for another processor.
        steps: time steps of the longest sequence whose steps were found to be alike.
        seconds: how long tracing and compiling took.
        format: `FORMAT`.
    """

    refused: str | None = None
    object: str = ""
    compiler: str = ""
    trained: tuple[tuple[str, int], ...] = ()
    frozen: tuple[tuple[str, int], ...] = ()
    row: int = 0
    trained_row: int = 0
    proved: float | None = None
    steps: int = 0
    seconds: tuple[float, float] = (0.0, 0.0)
    format: int = FORMAT


class Cache:
    """A folder of compiled cells.

    Args:
        folder: an existing folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, name: str) -> CacheEntry | None:
        """Find an entry by its key; None unless it and its object are there, whole and of this format."""
        try:
            raw = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
            if raw.get("format") != FORMAT:
                return None
            entry = CacheEntry(**{**raw, **{k: tuple(tuple(pair) for pair in raw[k]) for k in ("trained", "frozen")}})
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        return entry if entry.refused is not None or self.object(entry) is not None else None

    def find_any(self, prefix: str) -> CacheEntry | None:
        """Find an entry by the beginning of its key, whichever compiler made it: for machines without a compiler."""
        for path in sorted(self.folder.glob(f"{prefix}*.json")):
            entry = self.find(path.stem)
            if entry is not None and entry.refused is None:
                return entry
        return None

    def older(self) -> bool:
        """Return whether there are entries of an older format."""
        for path in self.folder.glob("*.json"):
            try:
                if int(json.loads(path.read_text()).get("format", 1)) < FORMAT:
                    return True
            except (OSError, ValueError, TypeError, AttributeError):
                continue
        return False

    def object(self, entry: CacheEntry) -> bytes | None:
        """Read the shared object of an entry; None if its bytes are not those that were stored."""
        try:
            content = (self.folder / f"{entry.object}.so").read_bytes()
        except OSError:
            return None
        return content if hashlib.sha256(content).hexdigest() == entry.object else None

    def store(self, name: str, entry: CacheEntry, shared_object: bytes | None = None) -> None:
        """Write an entry, its object first, so that no entry is ever without its object.

        Raises:
            OSError: it cannot be written.
        """
        if shared_object is not None:
            self._write(f"{entry.object}.so", shared_object)
        self._write(f"{name}.json", json.dumps(asdict(entry), indent=1).encode())

    def _write(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all."""
        unique = self.folder / f".{name}.{uuid.uuid4().hex}"
        try:
            with open(unique, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unique, self.folder / name)
        except OSError:
            unique.unlink(missing_ok=True)
            raise

    @contextmanager
    def workshop(self) -> Iterator[Path]:
        """Make a private folder for the compiler's files, and remove it afterwards."""
        folder = Path(tempfile.mkdtemp(prefix=".build-", dir=self.folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def user_cache() -> Cache | None:
    """Open the cache in the user's folder; None if it cannot be made, or if others may write to it."""
    folder = usercache.private("lanes", os.environ.get(FOLDER_VARIABLE))
    return None if folder is None else Cache(folder)


def described() -> dict[str, str]:
    """Describe the user's cache: its folder, and the format of the entries that are read and written."""
    user = user_cache()
    return {"folder": str(user.folder) if user else "none that is the user's alone", "format": str(FORMAT)}


def temporary_cache() -> Cache | None:
    """Open a private cache that lasts as long as the process, for when the user's cannot be written to."""
    try:
        return _temporary(tempfile.gettempdir())
    except OSError:
        return None


@functools.lru_cache
def _temporary(within: str) -> Cache:
    folder = Path(tempfile.mkdtemp(prefix="cellbench-", dir=within))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Cache(folder)
