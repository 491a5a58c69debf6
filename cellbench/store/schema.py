"""The tables of runs.sqlite: schema.sql, and what a file must have to be one of ours."""

from __future__ import annotations

import sqlite3
from functools import lru_cache
from importlib import resources

VERSION = 2
APPLICATION_ID = 0x63656C62


@lru_cache(maxsize=1)
def text() -> str:
    return resources.files("cellbench.store").joinpath("schema.sql").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def tables() -> dict[str, set[str]]:
    """Each table's columns, as the schema makes them."""
    db = sqlite3.connect(":memory:")
    db.executescript(text())
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {name: {row[1] for row in db.execute(f"PRAGMA table_info({name})")} for name in names}
    db.close()
    return found


VOLATILE = ("seconds", "started", "finished", "host", "worker", "attempt")
"""Columns that differ between two runs of one experiment; no others do."""


OUTCOME = (
    "status", "cause", "steps_to_solved", "examples_to_solved", "target_bits_to_solved", "final_step", "final_loss",
    "final_bit_accuracy", "final_sequence_accuracy", "diverged_at", "engine", "isa", "compiler", *VOLATILE, "traceback",
)  # fmt: skip


WHO = ("key", "family", "seed", "learning_rate")
"""Columns that say which replica it is."""


NUMBERS = tuple(name for name in OUTCOME if name not in VOLATILE and name != "traceback")
"""Those that two runs of one replica share."""
