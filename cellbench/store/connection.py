"""Connections to sqlite that expect the file to be somebody else's.

As https://sqlite.org/security.html advises for such files, with the catalogue compared by `catalogue`.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

MOST_BYTES = 64 * 2**20
"""The most bytes of a value: more than any text of a module, and less than memory."""


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """Open a file that is there.

    Args:
        path: of the file.
        write: whether to write; a connection that only reads can be made unable to write by `seal`.

    Raises:
        sqlite3.Error: sqlite cannot open it.
    """
    uri = f"{path.resolve().as_uri()}?mode={'rw' if write else 'ro'}"
    db = sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None, check_same_thread=False)
    try:
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
        # functions and tables that a catalogue asks for are not called, and a page's cells are checked before use
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA cell_size_check = ON")
    except BaseException:
        db.close()
        raise
    return db


def seal(db: sqlite3.Connection) -> None:
    """Let a connection write nothing any more, not even a table of its own."""
    db.execute("PRAGMA query_only = ON")
