"""Replicas that other folders of an experiment hold already: found by their keys, checked, and copied.

A key names everything that a replica's numbers depend on but the engine's arithmetic, so a copy is what training again
would give if that is the same too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cellbench.errors import StoreError
from cellbench.records import TRAINED_BY, Planned, family_of
from cellbench.store import answers
from cellbench.store import checksum as checksums
from cellbench.store.folder import FILE
from cellbench.store.replica import place
from cellbench.store.schema import LATER, NUMBERS, OUTCOME, WHO, insert
from cellbench.store.store import Store

Arithmetic = tuple[str, int, str, str, str]
"""What a replica's last bits depend on beside its key: engine, its version, instruction set, compiler, device."""

_REPLICA = (*WHO, *OUTCOME, "checksum")
_NUMBERS = [_REPLICA.index(name) for name in NUMBERS]
_ARITHMETIC = [_REPLICA.index(name) for name in TRAINED_BY]
_CURVE = ("step", "loss", "bit_accuracy", "sequence_accuracy")
_EVALUATION = ("position", "by", "value", "bit_accuracy", "sequence_accuracy")
_Row = tuple[Any, ...]


def beside(folder: Path, name: str) -> list[Path]:
    """List the other results folders of an experiment that are in the same place: NAME first, then NAME+...

    Args:
        folder: the experiment's own; it is left out.
        name: the experiment's, as its file has it.
    """
    here = folder.absolute()
    found = []
    with suppress(OSError):
        for other in sorted(here.parent.iterdir()):
            of_it = other.name == name or other.name.startswith(f"{name}+")
            if of_it and other.name != here.name and (other / FILE).exists():
                found.append(folder.parent / other.name)
    return sorted(found, key=lambda other: other.name != name)


def offered(folder: Path, wanted: Iterable[Planned]) -> dict[str, Arithmetic]:
    """Find the wanted replicas that a folder holds, each with the arithmetic that it was trained by.

    Replicas that failed are not offered, whatever failed.

    Args:
        folder: with results; nothing is written.
        wanted: what is to be found.

    Raises:
        StoreError: the folder cannot be read, or a replica was changed after it was stored.
    """
    with Store(folder, write=False) as store:
        return {row[0]: _arithmetic(row) for planned in wanted for row, _, _ in _sound(store, planned)}


def take(store: Store, folder: Path, wanted: Sequence[Planned]) -> None:
    """Copy replicas into a store, as they are, with what their cells answered to laws; all of them or none.

    Args:
        store: opened for writing.
        folder: that holds all of them, as `offered` found; what the store has of them is replaced.
        wanted: what is to be copied.

    Raises:
        StoreError: the folder holds one of them no more, or it was changed; nothing was copied.
    """
    with Store(folder, write=False) as other:
        with store.transaction() as db:
            number = db.execute("SELECT coalesce(max(id), 0) FROM replica").fetchone()[0]
            for planned in wanted:
                text = planned.key.family_text()
                family = family_of(text)
                db.execute(insert("family", "OR IGNORE"), (family, text))
                # one that counts as not done makes room
                db.executemany(
                    "DELETE FROM replica WHERE family = ? AND key = ?",
                    [(family, r.key) for r in planned.replicas],
                )
                rows, curves, evaluations = [], [], []
                for row, curve, evaluation in _sound(other, planned):
                    number += 1
                    rows.append((number, *row))
                    curves += [(number, *point) for point in curve]
                    evaluations += [(number, *one) for one in evaluation]
                if len(rows) != len(planned.replicas):
                    raise StoreError(f"{folder} changed during the run; run the same command again")
                for table, names, held in (
                    ("replica", ("id", *_REPLICA), rows),
                    ("curve", ("replica", *_CURVE), curves),
                    ("evaluation", ("replica", *_EVALUATION), evaluations),
                ):
                    asked = ", ".join("?" * len(names))
                    db.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({asked})", held)
        known, theirs = answers.given(store), answers.given(other)
    cells = {cell.digest for cell in {planned.cell for planned in wanted}}
    answers.keep(store, {cell: given for cell, given in theirs.items() if cell in cells and cell not in known})


def _arithmetic(row: _Row) -> Arithmetic:
    engine, version, isa, compiler, device = (row[at] for at in _ARITHMETIC)
    return engine, version or LATER["engine_version"], isa, compiler, device or LATER["device"]


def _sound(store: Store, planned: Planned) -> Iterator[tuple[_Row, list[_Row], list[_Row]]]:
    """Yield the rows of each replica of `planned` that is stored and did not fail, compared with its checksum."""
    text = planned.key.family_text()
    family = family_of(text)
    wanted = {r.key: r for r in planned.replicas}
    curve_columns, evaluation_columns = ", ".join(_CURVE), ", ".join(_EVALUATION)
    of_family = "WHERE replica IN (SELECT id FROM replica WHERE family = ?) ORDER BY replica"
    with store.reading():
        if store.db.execute("SELECT key_text FROM family WHERE family = ?", (family,)).fetchone() != (text,):
            return
        curves = checksums.by_replica(
            store.db.execute(f"SELECT replica, {curve_columns} FROM curve {of_family}, step", (family,))
        )
        evaluations = checksums.by_replica(
            store.db.execute(f"SELECT replica, {evaluation_columns} FROM evaluation {of_family}, position", (family,))
        )
        sound = "cause = '' AND wrong IS NULL"
        query = f"SELECT id, {', '.join(_REPLICA)} FROM replica WHERE family = ? AND {sound} ORDER BY id"
        for number, *values in store.db.execute(query, (family,)).fetchall():
            row = tuple(values)
            # each key once, even if the store holds it twice
            replica = wanted.pop(row[0], None)
            if replica is None:
                continue
            curve, evaluation = curves(number), evaluations(number)
            numbers = [row[at] for at in _NUMBERS]
            right = checksums.of(row[: len(WHO)], numbers, curve, evaluation)
            if row[-1] != right or row[: len(WHO)] != (replica.key, family, replica.seed, replica.learning_rate):
                where = place(
                    planned.cell.label, planned.point.named, planned.point.batch_size, planned.point.size,
                    replica.learning_rate, replica.seed,
                )  # fmt: skip
                raise StoreError(f"{store.path}: the numbers of {where} were changed after they were stored")
            yield row, curve, evaluation
