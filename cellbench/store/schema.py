"""The tables of runs.sqlite: schema.sql, and the columns that a store must have."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from functools import lru_cache
from importlib import resources
from typing import Any

from cellbench.records import CPU

APPLICATION_ID = 0x63656C62

VOLATILE = ("seconds", "started", "finished", "host", "worker", "attempt")
"""The columns that may differ between two runs of the same experiment."""

OUTCOME = (
    "status", "cause", "steps_to_solved", "examples_to_solved", "target_bits_to_solved", "final_step", "final_loss",
    "final_bit_accuracy", "final_sequence_accuracy", "diverged_at", "engine", "isa", "compiler", *VOLATILE, "traceback",
    "engine_version", "device",
)  # fmt: skip

WHO = ("key", "family", "seed", "learning_rate")
"""The columns that identify a replica."""

LATER: dict[str, Any] = {"engine_version": 1, "device": CPU}
"""Columns that older stores do not have, last in `NUMBERS`, with the value that NULL means.

A checksum is made without those that are NULL, so that the checksum of an older store's replica stays right.
"""

DONE = "cause != 'machine' AND wrong IS NULL"
"""The condition that a stored replica is done: no machine's failure ended it, and it is not known to be wrong."""

NUMBERS = tuple(name for name in OUTCOME if name not in VOLATILE and name != "traceback")
"""The columns of an outcome that are equal in two runs of the same replica."""


@lru_cache(maxsize=1)
def _versions() -> dict[int, str]:
    """Read schema.sql: the statements of each version."""
    whole = resources.files("cellbench.store").joinpath("schema.sql").read_text(encoding="utf-8")
    _, *parts = re.split(r"(?m)^-- version (\d+):", whole)
    return {int(number): f"--{text}" for number, text in zip(parts[::2], parts[1::2], strict=True)}


OLDEST, VERSION = min(_versions()), max(_versions())
"""The oldest version that is read, and the one that is written."""


def statements(after: int = 0, to: int = VERSION) -> str:
    """Return the statements that bring a store of one version to another.

    Args:
        after: the version that it has; 0 for one without tables.
        to: the version that it gets.
    """
    return "\n".join(text for version, text in _versions().items() if after < version <= to)


@lru_cache(maxsize=8)
def tables(version: int = VERSION) -> dict[str, tuple[str, ...]]:
    """Return each table's columns in order, as a version of the schema makes them."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(statements(to=version))
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: tuple(row[1] for row in db.execute(f"PRAGMA table_info({name})")) for name in names}


def columns(table: str, of: str = "") -> str:
    """List a table's columns in order, as a query names them.

    Args:
        table: its name.
        of: a name of the table in the query, to stand before each column.
    """
    return ", ".join(f"{of}.{name}" if of else name for name in tables()[table])


def insert(table: str, otherwise: str = "") -> str:
    """Write the statement that inserts whole rows; `otherwise` says what becomes of those that are there."""
    names = tables()[table]
    return f"INSERT {otherwise} INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


def version_of(replica: str) -> str:
    """Write the version of the engine that trained a replica, as a query names it."""
    return f"coalesce({replica}.engine_version, {LATER['engine_version']})"


def device_of(replica: str) -> str:
    """Write the device that trained a replica, as a query names it."""
    return f"coalesce({replica}.device, '{CPU}')"
