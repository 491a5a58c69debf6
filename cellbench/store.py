"""runs.sqlite: every outcome, durable as soon as its chunk ends. One writer; any number of readers."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from cellbench.errors import StoreError
from cellbench.records import Outcome, Planned, Source

VERSION = 1
APPLICATION_ID = 0x63656C62
FILE = "runs.sqlite"

VOLATILE = ("seconds", "started", "finished", "host", "worker", "attempt")
"""Columns that differ between two runs of one experiment; no others do."""

_OUTCOME = (
    "status", "cause", "steps_to_solved", "examples_to_solved", "target_bits_to_solved", "final_step", "final_loss",
    "final_bit_accuracy", "final_sequence_accuracy", "diverged_at", "engine", "isa", "compiler", *VOLATILE, "traceback",
)  # fmt: skip

_NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "glusterfs",
    "afs",
    "9p",
    "fuse",
}


class Store:
    """An open runs.sqlite.

    Args:
        folder: the results folder; made if it is to be written.
        write: open for the one writer, else read only.

    Raises:
        StoreError: there is none, it is not ours, damaged, of another version, or cannot be written.
    """

    def __init__(self, folder: Path, *, write: bool) -> None:
        self.folder, self.path, self._write = folder, folder / FILE, write
        fresh = not self.path.exists()
        if fresh and not write:
            raise StoreError(f"{folder} holds no {FILE}: no results yet. `cellbench run` makes them.")
        try:
            if write:
                folder.mkdir(parents=True, exist_ok=True)
            mode = "rwc" if write else "ro"
            uri = f"{self.path.resolve().as_uri()}?mode={mode}"
            self._db = sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None, check_same_thread=False)
            with self._explained():
                if write:
                    self._open_to_write(fresh)
                self._verify()
        except OSError as error:
            raise StoreError(f"{folder}: {error.strerror}; choose another place with --results") from None
        except sqlite3.OperationalError as error:
            raise StoreError(f"{self.path}: {error}. Is the folder writable, and the disk not full?") from None

    def _open_to_write(self, fresh: bool) -> None:
        if not fresh and self.path.stat().st_size:
            self._verify()
        # WAL needs memory shared between processes, which a network file system does not give
        self._db.execute(f"PRAGMA journal_mode = {'DELETE' if _on_network(self.folder) else 'WAL'}")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        if self._db.execute("PRAGMA user_version").fetchone()[0] == 0:
            text = resources.files("cellbench").joinpath("schema.sql").read_text(encoding="utf-8")
            stamp = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
            self._db.executescript(f"BEGIN; {text}; {stamp} COMMIT;")

    def _verify(self) -> None:
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if application == 0 and version == 0 and not self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
            return  # empty, as a kill right after its making leaves it
        if application != APPLICATION_ID:
            raise StoreError(f"{self.path} is not a store of cellbench; choose another folder with --results")
        if version != VERSION:
            age = "a newer" if version > VERSION else "an older"
            raise StoreError(
                f"{self.path} was written by {age} cellbench (schema {version}, this one reads {VERSION}); "
                "use that version, or start anew with --fresh (the old file is kept beside)"
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if (
                isinstance(error, sqlite3.OperationalError)
                and "disk" not in str(error)
                and "malformed" not in str(error)
            ):
                raise
            what = "the disk is full" if "full" in str(error) else str(error)
            raise StoreError(
                f"{self.path}: {what}. Stored results are kept as they are. If the file is damaged, start anew with "
                "--fresh (the old file is kept beside); if the disk is full, make room and run the same command again."
            ) from None

    def close(self) -> None:
        """Fold the write-ahead log into the file, so that the folder can be copied, and close."""
        if self._write:
            # a reader is busy, or the disk is full: the log stays, and is as good
            with suppress(sqlite3.Error):
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    # ---- writing ----

    def set_experiment(
        self,
        resolved: Mapping[str, Any],
        facts: Mapping[str, Any],
        environment: Mapping[str, Any],
        command: str,
        started: str,
        planned: Sequence[Planned],
        texts: Iterable[Source],
    ) -> None:
        """Make this the experiment that reports show, with its plan and the sources it depends on."""
        rows = (
            (
                p.cell.label, p.cell.name, json.dumps(dict(p.point.parameters)), p.point.batch_size, p.point.size,
                p.fit.hidden_size, p.fit.parameters, p.fit.state, p.fit.multiply_adds, r.learning_rate, r.seed, r.key,
            )
            for p in planned
            for r in p.replicas
        )  # fmt: skip
        with self._transaction() as db:
            last = db.execute("SELECT resolved, facts, environment FROM experiment ORDER BY id DESC LIMIT 1").fetchone()
            now = tuple(json.dumps(x, sort_keys=True) for x in (resolved, facts, environment))
            if last != now:
                db.execute(
                    "INSERT INTO experiment (resolved, facts, environment, command, started) VALUES (?, ?, ?, ?, ?)",
                    (*now, command, started),
                )
            db.execute("DELETE FROM plan")
            db.executemany(f"INSERT INTO plan VALUES ({', '.join('?' * 13)})", ((i, *r) for i, r in enumerate(rows)))
            db.executemany(
                "INSERT OR IGNORE INTO source VALUES (?, ?, ?)", ((s.sha256, s.module, s.text) for s in texts)
            )

    def set_engines(self, engines: Mapping[str, tuple[str, str]]) -> None:
        """Record each cell's engine and the reason, by the cell's digest."""
        with self._transaction() as db:
            db.executemany("INSERT OR REPLACE INTO engine VALUES (?, ?, ?)", ((c, *e) for c, e in engines.items()))

    def add(self, outcomes: Iterable[Outcome], key_texts: Mapping[str, str]) -> None:
        """Store outcomes in one transaction; durable when this returns.

        A replica that is there already stays as it is, unless a machine's fault had ended it.
        """
        with self._transaction() as db:
            for o in outcomes:
                db.execute("DELETE FROM replica WHERE key = ? AND cause = 'machine'", (o.key,))
                cursor = db.execute(
                    f"INSERT OR IGNORE INTO replica (key, key_text, {', '.join(_OUTCOME)}) "
                    f"VALUES ({', '.join('?' * (len(_OUTCOME) + 2))})",
                    (o.key, key_texts.get(o.key, ""), *(getattr(o, name) for name in _OUTCOME)),
                )
                if not cursor.rowcount:
                    continue
                row = cursor.lastrowid
                db.executemany(
                    "INSERT INTO curve VALUES (?, ?, ?, ?, ?)",
                    ((row, c.step, c.loss, c.bit_accuracy, c.sequence_accuracy) for c in o.curve),
                )
                db.executemany(
                    "INSERT INTO evaluation VALUES (?, ?, ?, ?, ?, ?)",
                    ((row, i, e.by, e.value, e.bit_accuracy, e.sequence_accuracy) for i, e in enumerate(o.evaluations)),
                )

    # ---- reading ----

    def done(self) -> set[str]:
        """Keys of the replicas that need no training; those that a machine's fault ended do."""
        with self._explained():
            return {key for (key,) in self._db.execute("SELECT key FROM replica WHERE cause != 'machine'")}

    def stored_engines(self) -> dict[str, str]:
        """The engine of each cell, by the cell's digest."""
        with self._explained():
            return dict(self._db.execute("SELECT cell, engine FROM engine").fetchall())

    def experiment(self) -> dict[str, Any]:
        """The last experiment: resolved, facts, environment, command, started.

        Raises:
            StoreError: none was run here yet.
        """
        with self._explained():
            row = self._db.execute(
                "SELECT resolved, facts, environment, command, started FROM experiment ORDER BY id DESC LIMIT 1"
            ).fetchone()
        if row is None:
            raise StoreError(f"{self.path} holds no experiment yet")
        names = ("resolved", "facts", "environment", "command", "started")
        return {n: json.loads(v) if n in names[:3] else v for n, v in zip(names, row, strict=True)}

    def sources(self) -> dict[str, Source]:
        """Every source, by its SHA-256."""
        with self._explained():
            rows = self._db.execute("SELECT sha256, module, text FROM source").fetchall()
        return {sha: Source(module, text) for sha, module, text in rows}

    def unplanned(self) -> int:
        """Outcomes that the last experiment no longer plans."""
        with self._explained():
            query = "SELECT count(*) FROM replica WHERE key NOT IN (SELECT key FROM plan)"
            return int(self._db.execute(query).fetchone()[0])

    def counts(self) -> dict[str, int]:
        """Planned replicas by status; `missing` for those without an outcome."""
        query = (
            "SELECT CASE WHEN r.key IS NULL THEN 'missing' WHEN r.cause = 'machine' THEN 'failed (machine)' "
            "ELSE r.status END AS s, count(*) FROM plan p LEFT JOIN replica r ON r.key = p.key GROUP BY s"
        )
        with self._explained():
            return dict(self._db.execute(query).fetchall())

    def runs(self) -> pd.DataFrame:
        """One row a planned replica, in order: the columns of runs.csv and more."""
        outcome = ", ".join(f"r.{name}" for name in _OUTCOME)
        query = (
            f"SELECT p.*, r.id AS replica, {outcome} "
            "FROM plan p LEFT JOIN replica r ON r.key = p.key ORDER BY p.position"
        )
        with self._explained():
            frame = pd.read_sql_query(query, self._db)
        parameters = pd.DataFrame([json.loads(t) for t in frame["parameters"]], index=frame.index)
        frame = frame.drop(columns=["position", "parameters"]).rename(columns={"parameters_n": "parameters"})
        frame["status"] = frame["status"].fillna("missing")
        for name in ("cause", "engine", "isa", "compiler", "traceback", "host", "worker", "started", "finished"):
            frame[name] = frame[name].fillna("")
        for name in (
            "steps_to_solved", "examples_to_solved", "target_bits_to_solved", "final_step", "diverged_at", "attempt",
            "replica",
        ):  # fmt: skip
            frame[name] = frame[name].astype("Int64")
        for name in ("final_loss", "final_bit_accuracy", "final_sequence_accuracy", "seconds"):
            frame[name] = frame[name].astype("float64")
        order = [
            "label", "cell", *parameters.columns, "batch_size", "size", "hidden_size", "parameters", "state",
            "multiply_adds", "learning_rate", "seed", *_OUTCOME[:10], "engine", "isa", "compiler", "key", *VOLATILE,
            "traceback", "replica",
        ]  # fmt: skip
        return pd.concat([frame, parameters], axis=1)[order]

    def curves(self) -> pd.DataFrame:
        """replica, step, loss, bit_accuracy, sequence_accuracy of the planned replicas."""
        return self._of_planned("curve", "step")

    def evaluations(self) -> pd.DataFrame:
        """replica, position, by, value, bit_accuracy, sequence_accuracy of the planned replicas."""
        return self._of_planned("evaluation", "position")

    def _of_planned(self, table: str, order: str) -> pd.DataFrame:
        query = (
            f"SELECT t.* FROM {table} t WHERE t.replica IN "
            f"(SELECT r.id FROM replica r JOIN plan p ON p.key = r.key) ORDER BY t.replica, t.{order}"
        )
        with self._explained():
            return pd.read_sql_query(query, self._db)


def _on_network(folder: Path) -> bool:
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
