"""The tables of runs.sqlite: schema.sql, and the columns that a store must have."""

from __future__ import annotations

import sqlite3
from functools import lru_cache
from importlib import resources

VERSION = 2
APPLICATION_ID = 0x63656C62


@lru_cache(maxsize=1)
def text() -> str:
    """Read schema.sql."""
    return resources.files("cellbench.store").joinpath("schema.sql").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def tables() -> dict[str, set[str]]:
    """List each table's columns, as the schema makes them."""
    db = sqlite3.connect(":memory:")
    db.executescript(text())
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {name: {row[1] for row in db.execute(f"PRAGMA table_info({name})")} for name in names}
    db.close()
    return found


VOLATILE = ("seconds", "started", "finished", "host", "worker", "attempt")
"""The columns that may differ between two runs of the same experiment."""


OUTCOME = (
    "status", "cause", "steps_to_solved", "examples_to_solved", "target_bits_to_solved", "final_step", "final_loss",
    "final_bit_accuracy", "final_sequence_accuracy", "diverged_at", "engine", "isa", "compiler", *VOLATILE, "traceback",
)  # fmt: skip


WHO = ("key", "family", "seed", "learning_rate")
"""The columns that identify a replica."""


NUMBERS = tuple(name for name in OUTCOME if name not in VOLATILE and name != "traceback")
"""The columns of an outcome that are equal in two runs of the same replica."""
