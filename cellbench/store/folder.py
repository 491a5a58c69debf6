"""A results folder: its lock, its file system, and stores that were set aside."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from cellbench.errors import StoreError
from cellbench.store.connection import connect
from cellbench.store.guard import BESIDE, is_ours, is_there, refuse_odd, refuse_unlike_ours

FILE = "runs.sqlite"

NETWORK = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "afs", "9p", "fuse",
}  # fmt: skip
"""File systems that are reached over a network, as /proc/mounts names them."""


def on_network(folder: Path) -> bool:
    """Tell whether the folder is on a network file system, as far as /proc/mounts says."""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    place, kind = os.path.realpath(folder), ""
    longest = -1
    for line in mounts:
        fields = line.split()
        if len(fields) > 2:
            mount = fields[1].replace("\\040", " ")
            if (place == mount or place.startswith(mount.rstrip("/") + "/")) and len(mount) > longest:
                longest, kind = len(mount), fields[2]
    return kind.partition(".")[0] in NETWORK


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. A folder that is made for it, and is empty when the block raises, is removed again.

    Raises:
        StoreError: another run holds it, or it is no file of ours.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        refuse_odd(folder / ".lock")
        lock = FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise StoreError(
            f"{folder} is in use by another cellbench run. Wait for it to end, or give this one another --results."
        ) from None
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror}; choose another place with --results") from None
    try:
        yield
    except BaseException:
        with suppress(OSError):
            if made and [path.name for path in folder.iterdir()] == [".lock"]:
                (folder / ".lock").unlink()
                for place in made:
                    place.rmdir()
        raise
    finally:
        lock.release()


@contextmanager
def apart(path: Path) -> Iterator[Path]:
    """Name a file of the same name, in a folder of its own beside `path`, to be made there and then renamed.

    Nobody can foresee that folder's name, and put a link into it: the results folder may be a stranger's.
    """
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent, ignore_cleanup_errors=True) as own:
        yield Path(own, path.name)


def beside(path: Path) -> list[Path]:
    """List the journal and log files beside a store: sqlite would apply them to any file of the store's name."""
    found = (path.with_name(path.name + suffix) for suffix in BESIDE)
    return [part for part in found if is_there(part)]


def fold(path: Path) -> None:
    """Apply the log that a killed writer left beside a store. Where sqlite cannot, leave it as it is.

    Raises:
        StoreError: the store or its log is of a kind that cellbench never leaves; nothing was opened.
    """
    if is_there(path) and beside(path):
        refuse_unlike_ours(path, write=True)
        if not is_ours(path):
            return
        with suppress(sqlite3.Error), closing(connect(path, write=True)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            db.execute("PRAGMA journal_mode = DELETE")


def unused(folder: Path, stem: str) -> Path:
    """Name a file that is not there yet: STEM-1.sqlite, STEM-2.sqlite and so on."""
    number = 1
    while is_there(path := folder / f"{stem}-{number}.sqlite") or beside(path):
        number += 1
    return path


def set_aside(folder: Path) -> Path | None:
    """Rename runs.sqlite for a fresh start; returns its new path, or None if there was nothing to rename.

    Logs are renamed too, even if their store is gone: sqlite would apply them to the next one. What cellbench did not
    leave is renamed as it is, unopened.

    Raises:
        StoreError: the file cannot be renamed.
    """
    path = folder / FILE
    with suppress(StoreError):
        fold(path)
    parts = [*([path] if is_there(path) else []), *beside(path)]
    if not parts:
        return None
    kept = unused(folder, "runs")
    try:
        for part in parts:
            part.rename(kept.with_name(kept.name + part.name.removeprefix(FILE)))
    except OSError as error:
        raise StoreError(f"{path} cannot be set aside: {error.strerror}; choose another place with --results") from None
    return kept
