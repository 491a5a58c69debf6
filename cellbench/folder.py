"""A results folder: who may write in it, on what it lies, and where old stores go."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cellbench.errors import StoreError

FILE = "runs.sqlite"

_NETWORK = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "afs", "9p", "fuse",
}  # fmt: skip


def on_network(folder: Path) -> bool:
    """Whether the folder lies on a network file system, as far as /proc/mounts tells."""
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
    return kind.partition(".")[0] in _NETWORK


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock.

    Raises:
        StoreError: another run holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        with lock:
            yield
    except Timeout:
        raise StoreError(
            f"{folder} is in use by another cellbench run. Wait for it to end, or give this one another --results."
        ) from None
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror}; choose another place with --results") from None


def set_aside(folder: Path) -> Path | None:
    """Move runs.sqlite out of the way, for a fresh start; returns where it is kept now."""
    path = folder / FILE
    if not path.exists():
        return None
    number = 1
    while (kept := folder / f"runs-{number}.sqlite").exists():
        number += 1
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(kept.with_name(kept.name + suffix))
    return kept
