"""Whether a store's catalogue is that of schema.sql: what may be in it is listed, not what may not.

A catalogue is SQL that sqlite runs when it reads a table. A stranger's may hold views that never end, columns that are
computed, and triggers, under the names of our tables too. So each of its texts must be ours, word for word.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from functools import lru_cache

from cellbench.store.schema import VERSION, statements

_TOKEN = re.compile(
    r"""
      (?P<left_out> --[^\n]* | /\*.*?(?:\*/|\Z) | [ \t\n\f\r]+ )
    | '(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\]
    | [A-Za-z0-9_$\u0080-\U0010ffff]+
    | .
    """,
    re.VERBOSE | re.DOTALL,
)
"""A word, a text in quotes or a sign of SQL; comments and spaces are left out. https://sqlite.org/lang_keywords.html"""

Entry = tuple[str, str, str]
"""The kind of an entry, its name, and the table that it belongs to."""


def difference(db: sqlite3.Connection, version: int, of: str = "main") -> str:
    """Say how the catalogue of a store differs from that of its version; empty if it does not.

    Args:
        db: a connection to it.
        version: the version of the schema that it says it has.
        of: the name of the database: `main`, or that under which a store is attached.
    """
    wanted = ours(version)
    # limited, so that a catalogue of a million entries is not read whole
    query = f"SELECT type, name, tbl_name, sql FROM {of}.sqlite_master LIMIT {2 * len(wanted)}"
    found: dict[Entry, tuple[str, ...] | None] = {}
    for kind, name, table, sql in db.execute(query):
        entry = (kind, name, table)
        if entry in found or (entry not in wanted and ("table", name, name) not in wanted):
            return f"holds a {kind} ({str(name)[:60]!r}), which cellbench never makes"
        found[entry] = words(sql)
    missing = sorted({table for _, _, table in wanted.keys() - found.keys()})
    if missing:
        return f"lacks {', '.join(missing)}, in whole or in part"
    altered = sorted(
        {table for (kind, name, table), sql in found.items() if wanted.get((kind, name, table), ()) != sql}
    )
    return f"has a table that is not as cellbench makes it ({', '.join(altered)})" if altered else ""


@lru_cache(maxsize=8)
def ours(version: int = VERSION) -> dict[Entry, tuple[str, ...] | None]:
    """Return the catalogue of a version: each entry with the words of its text.

    A new store has it, and so does one that was upgraded: both ran the same statements, with other comments perhaps.
    """
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(statements(to=version))
        rows = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")
        return {(kind, name, table): words(sql) for kind, name, table, sql in rows}


def words(sql: str | None) -> tuple[str, ...] | None:
    """Split a statement into its words and signs; None, as which sqlite keeps an index of its own, stays None.

    >>> words("CREATE TABLE t (x TEXT, -- a comment\\n y DEFAULT 'a -- b')")
    ('CREATE', 'TABLE', 't', '(', 'x', 'TEXT', ',', 'y', 'DEFAULT', "'a -- b'", ')')
    """
    return None if sql is None else tuple(m[0] for m in _TOKEN.finditer(sql) if not m["left_out"])
