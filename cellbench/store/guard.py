"""What lies in a results folder, looked at before sqlite or anything else opens it: it may be a stranger's.

sqlite follows links, waits for pipes, writes into the files beside a store, and undoes what a journal tells it to: also
in a further file that the journal names, which it then deletes. So only files of the kinds that cellbench itself leaves
are opened.
"""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

from cellbench.errors import StoreError
from cellbench.store.schema import APPLICATION_ID

JOURNAL, LOG, SHARED = "-journal", "-wal", "-shm"
BESIDE = (JOURNAL, LOG, SHARED)
"""What follows the store's name in the names of the files that sqlite keeps beside it."""

_HEAD = b"SQLite format 3\0"
_ID_AT = 68
"""Where a store's head has its application id. https://sqlite.org/fileformat2.html, section 1.3."""

_MAGIC = bytes.fromhex("d9d505f920a163d7")
"""How a journal's head begins, and how the name of a further journal at its end ends.

https://sqlite.org/fileformat2.html, section 3, and `readSuperJournal` in sqlite's pager.c.
"""

_KINDS = (
    (stat.S_ISLNK, "a link"), (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
)  # fmt: skip


def facts(path: Path) -> os.stat_result | None:
    """Ask what is at a path itself, links not followed; None if nothing is."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_there(path: Path) -> bool:
    """Tell whether anything at all has this name, a link that leads nowhere included."""
    return facts(path) is not None


def is_regular(path: Path) -> bool:
    """Tell whether a path is a regular file itself."""
    found = facts(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def refuse_odd(path: Path, *, shared: bool = False) -> None:
    """Refuse what is not a regular file, or has another name too, under which writing would change it.

    Args:
        path: may be absent.
        shared: whether another name is fine, since the file is only read.

    Raises:
        StoreError: it is a link, a pipe, a folder, a device, or has a second name.
    """
    found = facts(path)
    if found is None:
        return
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for test, name in _KINDS if test(found.st_mode)), "a device")
        raise StoreError(
            f"{path} is {kind}, and cellbench writes regular files only: it was not opened. If the folder is somebody "
            "else's, be careful with it; to use it, remove this file"
        )
    if found.st_nlink > 1 and not shared:
        raise StoreError(
            f"{path} has another name too (a hard link), and writing here would change that file: it was not opened. "
            "Put a copy in its place"
        )


def refuse_unlike_ours(store: Path, *, write: bool) -> None:
    """Refuse a store, or what lies beside it, that is of a kind that cellbench never leaves.

    Args:
        store: the path of runs.sqlite.
        write: whether it is to be written.

    Raises:
        StoreError: a file is no regular one, or the journal names a further file, or belongs to another store.
    """
    beside = [path for suffix in BESIDE if is_there(path := store.with_name(store.name + suffix))]
    # sqlite may write a store that it only reads as soon as a file lies beside it
    refuse_odd(store, shared=not write and not beside)
    for path in beside:
        refuse_odd(path)
    journal = store.with_name(store.name + JOURNAL)
    if journal in beside:
        _refuse_journal(journal, store)


def _refuse_journal(journal: Path, store: Path) -> None:
    with journal.open("rb") as file:
        head = file.read(28)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(_MAGIC)))
        tail = file.read()
    advice = "It was not opened. Is the folder somebody else's? Ask for the store without its journal"
    if size > len(_MAGIC) and tail == _MAGIC:
        raise StoreError(
            f"{journal} names a further file, which sqlite would delete, and cellbench writes no such journal. {advice}"
        )
    if len(head) == 28 and head.startswith(_MAGIC):
        pages, _, page_size = struct.unpack(">III", head[16:])
        # a page that neither file holds cannot be brought back
        if pages * page_size > store.stat().st_size + size:
            raise StoreError(f"{journal} does not belong to this store, which never was that long. {advice}")


def is_ours(store: Path) -> bool:
    """Tell from the file's first bytes whether it is a store of cellbench, without sqlite."""
    with store.open("rb") as file:
        head = file.read(_ID_AT + 4)
    return head.startswith(_HEAD) and head[_ID_AT:] == struct.pack(">I", APPLICATION_ID)
