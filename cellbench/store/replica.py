"""Single replicas as a store holds them, whole."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellbench.records import CurvePoint, Evaluation, Outcome, ReplicaKey
from cellbench.store.schema import DONE, LATER, OUTCOME

if TYPE_CHECKING:
    from cellbench.store.store import Store  # which imports `place` from here, to name a damaged replica


@dataclass(frozen=True)
class StoredReplica:
    """A planned replica that ended.

    Attributes:
        label, cell, parameters, batch_size, size, hidden_size, learning_rate, seed: as planned.
        family_text: the part of its key that all replicas of its cell at its point share.
        own_seed, own_rate: as stored with the outcome, not with the plan.
        outcome: what became of it.
    """

    label: str
    cell: str
    parameters: dict[str, Any]
    batch_size: int
    size: str
    hidden_size: int
    learning_rate: float
    seed: int
    family_text: str
    own_seed: int
    own_rate: float
    outcome: Outcome

    def key(self) -> ReplicaKey:
        """Return the key that it was trained with.

        Raises:
            ValueError: the stored text is not that of a key.
        """
        return ReplicaKey.parse(self.family_text).member(self.own_seed, self.own_rate)

    @property
    def place(self) -> str:
        """Its description in words: the cell, the point, the rate and the seed."""
        return place(self.label, self.parameters, self.batch_size, self.size, self.learning_rate, self.seed)


def place(
    label: str, parameters: Mapping[str, Any], batch_size: int, size: str, learning_rate: float, seed: int
) -> str:
    """Describe in words which replica it is."""
    point = [f"{k} {v}" for k, v in parameters.items()]  # a task may have no parameters
    return f"{label} at {', '.join([*point, f'batch {batch_size}', size, f'rate {learning_rate:g}', f'seed {seed}'])}"


def finished(store: Store) -> list[str]:
    """List the keys of the planned replicas that are done; see `schema.DONE`."""
    store.refuse_twice()
    query = f"SELECT DISTINCT p.key FROM plan p JOIN replica r ON r.key = p.key WHERE {DONE} ORDER BY 1"
    with store.reading():
        return [key for (key,) in store.db.execute(query)]


def families(store: Store) -> list[tuple[str, str]]:
    """List the label of each planned cell with the family text of its replicas that are done, one per grid point."""
    store.refuse_twice()
    query = (
        "SELECT DISTINCT p.label, f.key_text FROM plan p JOIN replica r ON r.key = p.key JOIN family f "
        f"ON f.family = r.family WHERE {DONE} ORDER BY p.position"
    )
    with store.reading():
        return [(str(label), str(text)) for label, text in store.db.execute(query)]


def outcome(store: Store, key: str) -> StoredReplica:
    """Read a planned replica that ended."""
    planned = "label, cell, parameters, batch_size, size, hidden_size, learning_rate, seed"
    with store.reading():
        label, cell, parameters, *rest = store.db.execute(
            f"SELECT {planned} FROM plan WHERE key = ? ORDER BY position", (key,)
        ).fetchone()
        number, text, own_seed, own_rate, *facts = store.db.execute(
            f"SELECT id, key_text, seed, learning_rate, {', '.join(OUTCOME)} FROM family CROSS JOIN replica "
            "USING (family) WHERE key = ?", (key,)  # CROSS: the index is by family, then key
        ).fetchone()  # fmt: skip
        curve = store.db.execute(
            "SELECT step, loss, bit_accuracy, sequence_accuracy FROM curve WHERE replica = ? ORDER BY step", (number,)
        )
        evaluations = store.db.execute(
            "SELECT by, value, bit_accuracy, sequence_accuracy FROM evaluation WHERE replica = ? ORDER BY position",
            (number,),
        )
        found = Outcome(
            key,
            curve=tuple(
                CurvePoint(int(t), math.nan if x is None else float(x), float(b), float(s)) for t, x, b, s in curve
            ),
            evaluations=tuple(Evaluation(str(by), value, float(b), float(s)) for by, value, b, s in evaluations),
            **{name: _number(name, value) for name, value in zip(OUTCOME, facts, strict=True)},
        )
        batch_size, size, hidden_size, rate, seed = rest
        return StoredReplica(
            label, cell, _mapping(parameters), batch_size, size, hidden_size, rate, seed,
            text, own_seed, own_rate, found,
        )  # fmt: skip


def _mapping(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"parameters are {text[:60]!r}")
    return found


def _number(name: str, value: Any) -> Any:
    """Convert a final loss or accuracy to a float, which fails in a store that was altered; fill in a later column."""
    if value is None and name in LATER:
        return LATER[name]
    return float(value) if name.startswith("final_") and name != "final_step" and value is not None else value
