"""runs.sqlite: every outcome, durable as soon as its chunk ends. One writer; any number of readers."""

from __future__ import annotations

import json
import operator
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from cellbench.errors import StoreError
from cellbench.records import Outcome, Planned, Replica, Source, family_of
from cellbench.store import checksum as checksums
from cellbench.store import claims, schema
from cellbench.store.catalogue import difference
from cellbench.store.connection import connect, seal
from cellbench.store.folder import FILE, apart, fold, on_network, set_aside, unused
from cellbench.store.guard import JOURNAL, is_there, refuse_unlike_ours
from cellbench.store.replica import place
from cellbench.store.schema import DONE, LATER, NUMBERS, OUTCOME, WHO
from cellbench.wording import described, one_line, short

_DAMAGED = (
    "If the file was damaged or altered, restore a copy of it, or start anew with --fresh (this file stays in the "
    "folder, under another name)."
)


_facts = operator.attrgetter(*OUTCOME)
_later = tuple((OUTCOME.index(name), default) for name, default in LATER.items())
_numbers = operator.itemgetter(*(OUTCOME.index(name) for name in NUMBERS))
_LOSS = OUTCOME.index("final_loss")
_Rows = list[tuple[Any, ...]]


def _rows(number: int, r: Replica, family: str, o: Outcome) -> tuple[tuple[Any, ...], _Rows, _Rows]:
    """Turn an outcome into rows of the tables replica, curve and evaluation.

    Values are as sqlite returns them, which has neither NaN nor negative zero.
    """
    curve = [(c.step, None if c.loss != c.loss else c.loss + 0.0, c.bit_accuracy, c.sequence_accuracy) for c in o.curve]
    evaluations = [(i, e.by, e.value, e.bit_accuracy, e.sequence_accuracy) for i, e in enumerate(o.evaluations)]
    facts = [None if value != value else value for value in _facts(o)]
    for at, default in _later:
        facts[at] = None if facts[at] == default else facts[at]
    if facts[_LOSS] == 0:
        facts[_LOSS] = 0.0
    who = (r.key, family, r.seed, r.learning_rate)
    return (
        (number, *who, *facts, checksums.of(who, _numbers(facts), curve, evaluations)),
        [(number, *row) for row in curve],
        [(number, *row) for row in evaluations],
    )


def _bring_up(db: sqlite3.Connection, version: int) -> None:
    stamp = f"PRAGMA application_id = {schema.APPLICATION_ID}; PRAGMA user_version = {schema.VERSION};"
    db.executescript(f"BEGIN IMMEDIATE; {schema.statements(after=version)}; {stamp} COMMIT;")


class Store:
    """An open runs.sqlite.

    Args:
        folder: the results folder; created if the store is to be written.
        write: whether to write; only one process may.

    Raises:
        StoreError: there is no store, or it is not cellbench's, is damaged, of another version, or cannot be written.
    """

    def __init__(self, folder: Path, *, write: bool) -> None:
        self.folder, self.path, self._write = folder, folder / FILE, write
        self.upgraded: Path | None = None
        """The copy of the store as it was before it was upgraded to today's schema; None if it was not."""
        fresh = not is_there(self.path)
        if fresh and not write:
            raise StoreError(f"{folder} holds no {FILE}: no results yet. `cellbench run` writes them.")
        try:
            with self.reading():
                if fresh:
                    self._make()
                else:
                    refuse_unlike_ours(self.path, write=write)
                if not write and is_there(self.path.with_name(f"{FILE}{JOURNAL}")):
                    # a read-only connection cannot undo a transaction that a killed writer left half done
                    fold(self.path)
                self.db = connect(self.path, write=write)
                try:
                    self._verify()
                    if write:
                        self._open_to_write()
                    else:
                        self._read_as_newest()
                except BaseException:
                    self.db.close()
                    raise
        except OSError as error:
            raise StoreError(f"{folder}: {error.strerror}; choose another place with --results") from None

    def _open_to_write(self) -> None:
        """Check the file, set how it is written, and upgrade an older store."""
        # before the first write, so that a damaged file is not changed
        self._whole()
        # WAL needs memory shared between processes, which a network file system does not provide
        mode, sync = ("DELETE", "FULL") if on_network(self.folder) else ("WAL", "NORMAL")
        self.db.execute(f"PRAGMA journal_mode = {mode}")
        # with NORMAL a killed process loses nothing; a power cut may lose the last chunks, but never the store
        self.db.execute(f"PRAGMA synchronous = {sync}")
        # 32 MiB of log, not 4: every chunk rewrites the last pages of each table, which so reach the file less often
        self.db.execute("PRAGMA wal_autocheckpoint = 8000")
        self.db.execute("PRAGMA foreign_keys = ON")
        if self.version < schema.VERSION:
            self._upgrade()

    def _whole(self) -> None:
        """Check the pages, and each index against its table: reading would leave out a replica that an index lacks."""
        said = self.db.execute("PRAGMA integrity_check(1)").fetchone()[0]
        # sqlite reads what is missing of the last page as zeros, and may find nothing wrong with it
        if said == "ok" and self.path.stat().st_size % self.db.execute("PRAGMA page_size").fetchone()[0]:
            said = "its last page is cut short"
        if said != "ok":
            raise StoreError(f"{self.path} is damaged ({one_line(said, 200)}). {_DAMAGED}")

    def _make(self) -> None:
        """Make the file apart, and put it in its place when complete: an empty store is then always a damaged one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with apart(self.path) as new:
            with closing(sqlite3.connect(new, isolation_level=None)) as db:
                _bring_up(db, 0)
            set_aside(self.folder)
            new.replace(self.path)

    def _verify(self) -> None:
        application = self.db.execute("PRAGMA application_id").fetchone()[0]
        version = self.db.execute("PRAGMA user_version").fetchone()[0]
        if application == 0 and version == 0 and not self.db.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise StoreError(f"{self.path} is empty, and cellbench never leaves it empty. {_DAMAGED}")
        if application != schema.APPLICATION_ID:
            raise StoreError(f"{self.path} is not a store of cellbench; choose another folder with --results")
        if not schema.OLDEST <= version <= schema.VERSION:
            age = "a newer" if version > schema.VERSION else "an older"
            raise StoreError(
                f"{self.path} was written by {age} cellbench (schema {version}, this one reads {schema.OLDEST} to "
                f"{schema.VERSION}); use that version, or start anew with --fresh (the old file stays in the folder, "
                "under another name)"
            )
        self.version = version
        self.refuse_unlike(self.path)

    def refuse_unlike(self, path: Path, of: str = "main") -> None:
        """Refuse a store whose catalogue is not that of its version.

        Args:
            path: of the store, for the message.
            of: `main` for this one; the name of one that is attached and of the same version.

        Raises:
            StoreError: it differs; the message says how.
        """
        with self.reading():
            unlike = difference(self.db, self.version, of)
        if unlike:
            raise StoreError(f"{path} {unlike}. {_DAMAGED}")

    def _read_as_newest(self) -> None:
        """Make today's queries work on an older store: columns that it lacks read as NULL, tables as empty.

        The views and tables that do so belong to this connection alone: they are in sqlite's `temp` schema, where
        sqlite looks up names first.
        """
        there = schema.tables(self.version)
        for table, columns in schema.tables().items():
            if table not in there:
                self.db.execute(f"CREATE TEMP TABLE {table} ({', '.join(columns)})")
            elif columns != there[table]:
                shown = ", ".join(name if name in there[table] else f"NULL AS {name}" for name in columns)
                self.db.execute(f"CREATE TEMP VIEW {table} AS SELECT {shown} FROM main.{table}")
        seal(self.db)

    def _upgrade(self) -> None:
        """Upgrade an older store to today's schema in one transaction, and keep a copy of it in the folder."""
        kept = unused(self.folder, f"runs-schema-{self.version}")
        self.copy(kept)
        _bring_up(self.db, self.version)
        self.upgraded = kept

    def copy(self, path: Path, *, newest: bool = False) -> None:
        """Copy the store into another file, which is whole before it gets its name.

        Args:
            path: of the copy.
            newest: whether the copy gets today's schema.
        """
        with apart(path) as new:
            with closing(sqlite3.connect(new, isolation_level=None)) as db:
                self.db.backup(db)
                if newest:
                    _bring_up(db, self.version)
            new.replace(path)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn an error of sqlite into one that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            what = str(error)
            if isinstance(error, sqlite3.OperationalError):
                if "full" in what or "disk I/O" in what:
                    advice = "Is the disk full? Make room, and run the same command again."
                elif "readonly" in what or "unable to open" in what:
                    advice = "Make the folder and its files writable, or choose another with --results."
                elif "locked" in what:
                    advice = "Another program holds the file; run the same command again when it has ended."
                else:
                    advice = _DAMAGED
            else:
                advice = _DAMAGED
            raise StoreError(f"{self.path}: {what}. What is stored is left as it is. {advice}") from None

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Do as `explained` does, and turn errors from reading impossible values into a StoreError too."""
        try:
            with self.explained():
                yield
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise StoreError(
                f"{self.path} holds what cellbench did not write ({described(error)}). {_DAMAGED}"
            ) from None

    def close(self) -> None:
        """Write the log into the file, so that the folder can be copied, and close it."""
        if self._write:
            # if a reader is busy or the disk is full, the log stays, and nothing is lost
            with suppress(sqlite3.Error):
                self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self.db.execute("PRAGMA journal_mode = DELETE")
        self.db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all of a block, or nothing of it."""
        if not self.path.exists():  # sqlite would go on writing into a deleted file
            raise StoreError(
                f"{self.path} was removed during the run, and with it everything that was trained. "
                "Run the same command again."
            )
        with self.explained():
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield self.db
            except BaseException:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")

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
        """Make this the experiment that reports show, with its plan and the sources that it depends on."""
        rows = (
            (
                p.cell.label, p.cell.name, json.dumps(p.point.named), p.point.batch_size, p.point.size,
                p.fit.hidden_size, p.fit.parameters, p.fit.state, p.fit.multiply_adds, r.learning_rate, r.seed, r.key,
            )
            for p in planned
            for r in p.replicas
        )  # fmt: skip
        with self.transaction() as db:
            last = db.execute("SELECT resolved, facts, environment FROM experiment ORDER BY id DESC LIMIT 1").fetchone()
            now = tuple(json.dumps(x, sort_keys=True) for x in (resolved, facts, environment))
            if last != now:
                db.execute(
                    "INSERT INTO experiment (resolved, facts, environment, command, started) VALUES (?, ?, ?, ?, ?)",
                    (*now, command, started),
                )
            db.execute("DELETE FROM plan")
            db.executemany(schema.insert("plan"), ((i, *r) for i, r in enumerate(rows)))
            db.executemany(schema.insert("source", "OR IGNORE"), ((s.sha256, s.module, s.text) for s in texts))

    def set_engines(self, engines: Mapping[str, tuple[str, str]]) -> None:
        """Record each cell's engine and the reason for it, by the cell's digest."""
        with self.transaction() as db:
            db.executemany(schema.insert("engine", "OR REPLACE"), ((c, *e) for c, e in engines.items()))

    def add(self, outcomes: Iterable[Outcome], replicas: Iterable[Replica], family_text: str) -> None:
        """Store outcomes of one cell at one point in one transaction; durable when this returns.

        A replica that is stored already stays as it is, unless a machine's failure had ended it, or it is wrong.

        Args:
            outcomes: to be stored.
            replicas: those that the outcomes belong to, and perhaps others.
            family_text: the part of their keys that they share.
        """
        by_key = {o.key: o for o in outcomes}
        family = family_of(family_text)
        with self.transaction() as db:
            find = f"SELECT key, {DONE} FROM replica WHERE family = ? AND key IN ({', '.join('?' * len(by_key))})"
            done = dict(db.execute(find, (family, *by_key)).fetchall())
            again = [(family, key) for key, is_done in done.items() if not is_done]
            db.executemany("DELETE FROM replica WHERE family = ? AND key = ?", again)
            new = [r for r in replicas if r.key in by_key and not done.get(r.key)]
            db.execute(schema.insert("family", "OR IGNORE"), (family, family_text))
            first = db.execute("SELECT coalesce(max(id), 0) + 1 FROM replica").fetchone()[0]
            rows = [_rows(number, r, family, by_key[r.key]) for number, r in enumerate(new, first)]
            columns = ("id", *WHO, *OUTCOME, "checksum")
            db.executemany(
                f"INSERT INTO replica ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
                [replica for replica, _, _ in rows],
            )
            db.executemany(schema.insert("curve"), [c for _, curve, _ in rows for c in curve])
            db.executemany(schema.insert("evaluation"), [e for *_, found in rows for e in found])

    # ---- reading ----

    def done(self) -> set[str]:
        """Return the keys of the replicas that need no training; see `schema.DONE`."""
        with self.reading():
            return {key for (key,) in self.db.execute(f"SELECT key FROM replica WHERE {DONE}")}

    def stored_engines(self) -> dict[str, str]:
        """Return each cell's engine, by the cell's digest."""
        with self.reading():
            return dict(self.db.execute("SELECT cell, engine FROM engine").fetchall())

    def experiment(self) -> dict[str, Any]:
        """Return the last experiment: resolved, facts, environment, command, started.

        Raises:
            StoreError: no experiment was run here yet.
        """
        with self.reading():
            row = self.db.execute(
                "SELECT resolved, facts, environment, command, started FROM experiment ORDER BY id DESC LIMIT 1"
            ).fetchone()
        if row is None:
            raise StoreError(f"{self.path} holds no experiment yet")
        with self.reading():
            return claims.parsed(row)

    def shown(self) -> str:
        """Return the resolved experiment that reports show, as it is stored."""
        with self.reading():
            return str(self.db.execute("SELECT resolved FROM experiment ORDER BY id DESC LIMIT 1").fetchone()[0])

    def history(self) -> list[dict[str, Any]]:
        """Return every experiment that was run here, as `experiment` does, in the order of time.

        One that cannot be read is left out: no number comes from it.
        """
        query = "SELECT resolved, facts, environment, command, started FROM experiment ORDER BY started, id"
        with self.reading():
            rows = self.db.execute(query).fetchall()
        found = []
        for row in rows:
            with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
                found.append(claims.parsed(row))
        return found

    def plan(self) -> dict[tuple[Any, ...], str]:
        """Map label, parameters (JSON), batch size, size, rate and seed of each planned replica to its key."""
        query = "SELECT label, parameters, batch_size, size, learning_rate, seed, key FROM plan ORDER BY position"
        with self.reading():
            return {row[:6]: row[6] for row in self.db.execute(query)}

    def refuse_twice(self) -> None:
        """Refuse a store that holds a replica twice: joined with the plan, a thousand of one key are a million rows.

        Raises:
            StoreError: it does.
        """
        query = "SELECT key FROM replica GROUP BY key HAVING count(*) > 1 LIMIT 1"
        with self.reading():
            if twice := self.db.execute(query).fetchone():
                raise ValueError(f"the replica {short(twice[0])} is stored more than once")

    def check(self) -> None:
        """Compare every replica with its checksum.

        Raises:
            StoreError: the file is damaged, or a replica was changed after it was stored; the message names it.
        """
        columns = ", ".join((*WHO, *NUMBERS))
        with self.reading():
            self._whole()
            self.refuse_twice()
            texts = self.db.execute("SELECT family, key_text FROM family")
            families = {family for family, text in texts if family_of(text) == family}
            curves = checksums.by_replica(
                self.db.execute(f"SELECT {schema.columns('curve')} FROM curve ORDER BY replica, step")
            )
            evaluations = checksums.by_replica(
                self.db.execute(f"SELECT {schema.columns('evaluation')} FROM evaluation ORDER BY replica, position")
            )
            query = f"SELECT id, checksum, {columns} FROM replica ORDER BY id"
            for number, checksum, *row in self.db.execute(query):
                who, numbers = row[: len(WHO)], row[len(WHO) :]
                key, family = who[:2]
                right = checksums.of(who, numbers, curves(number), evaluations(number))
                if family not in families or checksum != right:
                    break
            else:
                return
        query = "SELECT label, parameters, batch_size, size, learning_rate, seed FROM plan WHERE key = ?"
        with self.reading():
            where = self.db.execute(query, (key,)).fetchone()
            which = place(where[0], json.loads(where[1]), *where[2:]) if where else f"the replica {key}"
        raise StoreError(
            f"{self.path}: the numbers of {which} were changed after they were stored. {_DAMAGED} Nothing was written."
        )

    def sources(self) -> dict[str, Source]:
        """Return every source, by its SHA-256."""
        with self.reading():
            rows = self.db.execute("SELECT sha256, module, text FROM source").fetchall()
        return {sha: Source(module, text) for sha, module, text in rows}
