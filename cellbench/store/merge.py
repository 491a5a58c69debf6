"""`cellbench merge`: the results of several folders in one, as if one run had made them all.

The result is a union and does not depend on the order: replicas by key, experiments by content, sources by hash. Where
two folders hold the same replica, its numbers must be equal; when and where it was trained may differ.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cellbench.errors import StoreError
from cellbench.records import CPU, stages_of
from cellbench.store import weights
from cellbench.store.folder import FILE, beside, fold, locked
from cellbench.store.guard import is_there
from cellbench.store.replica import place
from cellbench.store.schema import DONE, NUMBERS, OUTCOME, VERSION, WHO, columns, device_of, version_of
from cellbench.store.store import Store
from cellbench.store.tally import Tally, tally
from cellbench.wording import short

_WORKSHOP = ".merge-"
"""How the name of the folder begins in which a merge works; the caller holds the lock of the folder around it."""

_SHOWN = 3
"""The most conflicts that an error message lists."""


@dataclass(frozen=True)
class Merged:
    """The result of a merge.

    Attributes:
        tally: of the planned replicas, by how they ended.
        unlike: per cell whose replicas come from several engine versions, instruction sets or compilers, which ones.
    """

    tally: Tally
    unlike: tuple[str, ...]


def merge(out: Path, folders: Sequence[Path]) -> Merged:
    """Merge results folders. What `out` holds already is merged too.

    Args:
        out: the folder to write; unchanged if this fails.
        folders: results of parts (`--shard`, `--only`) of one experiment.

    Raises:
        StoreError: a folder holds no results, another experiment, or different numbers for the same replica.
    """
    inputs = {folder.resolve(): folder for folder in folders}
    for folder in inputs.values():
        if not is_there(folder / FILE):
            raise StoreError(f"{folder} holds no {FILE}: no results to merge")
    with locked(out):
        if is_there(out / FILE):
            inputs = {out.resolve(): out, **inputs}
        _remove_old(out)
        # the merged store is made apart, and takes its place in one step: a failure changes nothing
        with _cannot_be_written(out), TemporaryDirectory(prefix=_WORKSHOP, dir=out, ignore_cleanup_errors=True) as made:
            workshop = Path(made)
            ordered, shown = _same_experiment(list(inputs.values()))
            with Store(workshop, write=True) as store:
                for folder in ordered:
                    part = workshop / "part.sqlite"
                    with Store(folder, write=False) as one:
                        one.check()
                        older = one.version < VERSION
                        if older:
                            one.copy(part, newest=True)
                    with _attached(store, part if older else folder / FILE), store.transaction() as db:
                        _refuse_other_numbers(db, folder)
                        _absorb(db)
                with store.transaction() as db:
                    _order_experiments(db, shown)
                store.check()
                found, unlike = tally(store), _unlike(store)
            # the old store's log goes into it now: were this process to end before the loop below, sqlite would apply
            # that log to the new store
            fold(out / FILE)
            (workshop / FILE).replace(out / FILE)
            for part in beside(out / FILE):
                part.unlink()
            weights.gather(out, (folder for folder in inputs.values() if folder.resolve() != out.resolve()))
    return Merged(found, unlike)


@contextmanager
def _cannot_be_written(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{out} cannot be written: {error.strerror}") from None


def _remove_old(out: Path) -> None:
    """Remove the folders in which merges that were killed had worked; a link of such a name is left alone."""
    for old in out.glob(f"{_WORKSHOP}*"):
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _attached(store: Store, path: Path) -> Iterator[None]:
    with store.explained():
        store.db.execute("ATTACH ? AS other", (f"{path.resolve().as_uri()}?mode=ro",))
    try:
        store.refuse_unlike(path, "other")  # what was checked is open no more
        yield
    finally:
        store.db.execute("DETACH other")


def _same_experiment(folders: Sequence[Path]) -> tuple[list[Path], str]:
    """Refuse folders whose experiments or plans differ, saying where.

    Of seeds until decided the most may differ, for it may be raised in one folder.

    Returns:
        The folders, that with the widest plan first, and the experiment that it shows, as it is stored.
    """
    first: tuple[Path, dict[str, Any], dict[tuple[Any, ...], str]] | None = None
    most: dict[Path, int] = {}
    texts: dict[Path, str] = {}
    for folder in folders:
        with Store(folder, write=False) as store:
            resolved, plan, texts[folder] = store.experiment()["resolved"], store.plan(), store.shown()
        most[folder] = (stages_of(resolved["seeds"]) or (0, 0))[1]
        if first is None:
            first = folder, resolved, plan
            continue
        here, other, other_plan = first
        raised = most[folder] != most[here] and _first_look(resolved) == _first_look(other)
        for name in sorted({*resolved, *other}):
            if resolved.get(name) != other.get(name) and not (raised and name == "seeds"):
                raise StoreError(
                    f"{here} and {folder} are not parts of one experiment: {name} is {short(other.get(name))} in the "
                    f"first, {short(resolved.get(name))} in the second. Parts are made by one experiment with --shard "
                    "or --only. Nothing was merged."
                )
        if raised:  # what both plan must be the same
            both = plan.keys() & other_plan.keys()
            plan, other_plan = ({at: one[at] for at in both} for one in (plan, other_plan))
        if plan != other_plan:
            where = next(x for x in {**plan, **other_plan} if plan.get(x) != other_plan.get(x))
            raise StoreError(
                f"{here} and {folder} plan different replicas for the same experiment, first at {_place(where)}: the "
                "text of a cell or task, its version, or cellbench differed between them (`cellbench status` shows "
                "versions). Train both with the same versions. Nothing was merged."
            )

    ordered = sorted(folders, key=lambda folder: -most[folder])
    return ordered, texts[ordered[0]]


def _first_look(resolved: dict[str, Any]) -> int | None:
    plan = stages_of(resolved["seeds"])
    return None if plan is None else plan[0]


def _refuse_other_numbers(db: sqlite3.Connection, folder: Path) -> None:
    """Refuse a folder whose numbers differ for a replica that both hold, done by one version of its engine."""
    db.execute("DROP TABLE IF EXISTS temp.shared")
    db.execute(
        "CREATE TEMP TABLE shared AS SELECT m.id AS mine, o.id AS theirs, m.key AS key FROM main.replica m "
        "JOIN other.replica o ON o.family = m.family AND o.key = m.key "
        f"WHERE m.id IN (SELECT id FROM main.replica WHERE {DONE}) AND {version_of('m')} = {version_of('o')} "
        f"AND o.id IN (SELECT id FROM other.replica WHERE {DONE})"
    )
    found: dict[str, str] = {}
    for name in NUMBERS:
        query = (
            f"SELECT s.key, m.{name}, o.{name} FROM temp.shared s JOIN main.replica m ON m.id = s.mine "
            f"JOIN other.replica o ON o.id = s.theirs WHERE m.{name} IS NOT o.{name} LIMIT {_SHOWN}"
        )
        for key, mine, theirs in db.execute(query):
            found.setdefault(key, f"{name} {mine!r} and {theirs!r}")
    for table, at, names in (
        ("curve", "step", ("loss", "bit_accuracy", "sequence_accuracy")),
        ("evaluation", "position", ("by", "value", "bit_accuracy", "sequence_accuracy")),
    ):
        compared, taken = ", ".join((at, *names)), ", ".join(f"t.{n}" for n in (at, *names))
        mine, theirs = (
            f"SELECT s.key, {taken} FROM temp.shared s JOIN {base}.{table} t ON t.replica = s.{side}"
            for base, side in (("main", "mine"), ("other", "theirs"))
        )
        query = f"SELECT key, {compared} FROM ({mine} EXCEPT {theirs}) ORDER BY 2 LIMIT {_SHOWN}"
        reverse = f"SELECT key, {compared} FROM ({theirs} EXCEPT {mine}) ORDER BY 2 LIMIT {_SHOWN}"
        for row in [*db.execute(query), *db.execute(reverse)]:
            found.setdefault(row[0], f"{table} at {at} {row[1]}: {', '.join(map(repr, row[2:]))} in one folder only")
    if found:
        lines = [f"{folder} holds different numbers from those before it for the same replicas; nothing was merged."]
        for key, text in list(found.items())[:_SHOWN]:
            what = db.execute(
                "SELECT p.label, p.parameters, p.batch_size, p.size, p.learning_rate, p.seed FROM other.plan p "
                "WHERE p.key = ?", (key,)
            ).fetchone()  # fmt: skip
            lines.append(f"  {_place(what) if what else key}: {text}")
        lines.append(
            "If engine, isa or compiler differ (see runs.csv), train that part on the same kind of processor; "
            "otherwise find out which folder is right with `cellbench verify`."
        )
        raise StoreError("\n".join(lines))


def _absorb(db: sqlite3.Connection) -> None:
    """Copy everything that the attached store has and this one lacks."""
    # replicas refer to their family, so families come first
    db.execute(_copied("family"))
    # what either knows of the numbers of an earlier version
    db.execute(
        "UPDATE main.replica SET wrong = coalesce(replica.wrong, o.wrong), "
        "right_as = coalesce(max(replica.right_as, o.right_as), replica.right_as, o.right_as) FROM other.replica o "
        f"WHERE o.family = replica.family AND o.key = replica.key AND {version_of('replica')} = {version_of('o')} "
        "AND (o.wrong IS NOT NULL OR o.right_as IS NOT NULL)"
    )
    # one that is not done is replaced by one that is, and that of an earlier version by that of a later one
    db.execute(
        f"DELETE FROM main.replica WHERE id IN (SELECT m.id FROM main.replica m JOIN (SELECT * FROM other.replica "
        f"WHERE {DONE}) o ON o.family = m.family AND o.key = m.key WHERE {version_of('m')} < {version_of('o')} "
        f"OR m.id NOT IN (SELECT id FROM main.replica WHERE {DONE}))"
    )
    # the replicas to copy are listed once: ids differ between stores, and their rows below are found by this list
    db.execute("DROP TABLE IF EXISTS temp.fresh")
    db.execute(
        "CREATE TEMP TABLE fresh AS SELECT id, family, key FROM other.replica "
        "WHERE key NOT IN (SELECT key FROM main.replica) ORDER BY id"
    )
    # without the id: this store gives its own
    names = ", ".join((*WHO, *OUTCOME, "checksum", "right_as", "wrong"))
    db.execute(
        f"INSERT INTO main.replica ({names}) SELECT {names} FROM other.replica "
        "WHERE id IN (SELECT id FROM temp.fresh) ORDER BY id"
    )
    # their curves and evaluations, under the new ids
    for table, shared in (
        ("curve", "step, loss, bit_accuracy, sequence_accuracy"),
        ("evaluation", "position, by, value, bit_accuracy, sequence_accuracy"),
    ):
        taken = ", ".join(f"t.{name}" for name in shared.split(", "))
        db.execute(
            f"INSERT INTO main.{table} (replica, {shared}) SELECT m.id, {taken} FROM temp.fresh f "
            f"JOIN other.{table} t ON t.replica = f.id JOIN main.replica m ON m.family = f.family AND m.key = f.key"
        )
    # tracebacks may differ in an address or a path: the lesser one is kept, whatever the order of folders
    db.execute(
        "UPDATE main.replica SET traceback = (SELECT min(main.replica.traceback, o.traceback) FROM other.replica o "
        "WHERE o.family = main.replica.family AND o.key = main.replica.key) "
        "WHERE status = 'failed' AND key IN (SELECT key FROM other.replica)"
    )
    db.execute(_copied("source"))
    # a place names a file, which may be elsewhere in another folder: the lesser text is kept, as for tracebacks
    named = columns("answer")
    db.execute(
        f"INSERT INTO main.answer ({named}) SELECT {named} FROM other.answer WHERE true ON CONFLICT DO UPDATE SET "
        "status = excluded.status, message = excluded.message, place = excluded.place "
        "WHERE (excluded.status, excluded.message, excluded.place) < (status, message, place)"
    )
    # one cell, one engine: numbers of two engines agree only to rounding
    for cell, mine, theirs in db.execute(
        "SELECT m.cell, m.engine, o.engine FROM main.engine m JOIN other.engine o ON o.cell = m.cell "
        "WHERE o.engine != m.engine"
    ):
        raise StoreError(
            f"a cell (digest {cell}) was trained by {mine} in one folder and by {theirs} in another. A cell's results "
            "must come from one engine: make the parts with --set engine=NAME. Nothing was merged."
        )
    db.execute(
        "INSERT INTO main.engine SELECT cell, engine, reason FROM other.engine WHERE true "
        "ON CONFLICT (cell) DO UPDATE SET reason = min(reason, excluded.reason)"
    )
    # every run's experiment for now; `_order_experiments` drops those that occur twice
    db.execute(
        "INSERT INTO main.experiment (resolved, facts, environment, command, started) "
        "SELECT resolved, facts, environment, command, started FROM other.experiment ORDER BY id"
    )
    # the plans are equal, or the first one is the widest, which was checked before
    if not db.execute("SELECT 1 FROM main.plan LIMIT 1").fetchone():
        db.execute(_copied("plan"))


def _copied(table: str) -> str:
    """Write the statement that copies the rows of the attached store that this one lacks."""
    named = columns(table)
    return f"INSERT OR IGNORE INTO main.{table} ({named}) SELECT {named} FROM other.{table}"


def _order_experiments(db: sqlite3.Connection, shown: str) -> None:
    """Keep each experiment once, sorted by time, with the one that the folders share last, where reports look.

    Args:
        db: the merged store.
        shown: the text of that experiment, resolved.
    """
    names = "resolved, facts, environment, command, started"
    rows = sorted(set(db.execute(f"SELECT {names} FROM main.experiment").fetchall()), key=lambda r: (r[4], r))
    rows.sort(key=lambda r: r[0] == shown)
    db.execute("DELETE FROM main.experiment")
    db.executemany(f"INSERT INTO main.experiment ({names}) VALUES (?, ?, ?, ?, ?)", rows)


def _unlike(store: Store) -> tuple[str, ...]:
    """List the cells whose replicas come from several engine versions, processors, compilers or cards, with those."""
    card = f"CASE {device_of('r')} WHEN '{CPU}' THEN '' ELSE ', ' || r.device END"
    kind = f"r.engine || ' ' || {version_of('r')} || ', ' || r.isa || ', ' || r.compiler || {card}"
    query = (
        f"SELECT p.label, group_concat(DISTINCT {kind}) FROM plan p JOIN replica r ON r.key = p.key "
        f"WHERE r.cause = '' GROUP BY p.label HAVING count(DISTINCT {kind}) > 1"
    )
    with store.explained():
        return tuple(f"{label}: {where}" for label, where in store.db.execute(query))


def _place(row: Sequence[Any]) -> str:
    label, parameters, batch_size, size, rate, seed = row[:6]
    return place(label, json.loads(parameters), batch_size, size, rate, seed)
