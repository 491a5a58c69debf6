"""Single replicas out of a store, whole."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from cellbench.records import CurvePoint, Evaluation, Outcome
from cellbench.store import OUTCOME, Store


@dataclass(frozen=True)
class Stored:
    """A planned replica that ended.

    Attributes:
        label, cell, parameters, batch_size, size, hidden_size, learning_rate, seed: as planned.
        key_text: of its key.
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
    key_text: str
    outcome: Outcome

    @property
    def place(self) -> str:
        """Which one, in words."""
        point = ", ".join(f"{k} {v}" for k, v in self.parameters.items())
        at = f"{point}, batch {self.batch_size}, {self.size}, rate {self.learning_rate:g}, seed {self.seed}"
        return f"{self.label} at {at}"


def finished(store: Store) -> list[str]:
    """Keys of the planned replicas that ended, machines' faults aside."""
    query = "SELECT DISTINCT p.key FROM plan p JOIN replica r ON r.key = p.key WHERE r.cause != 'machine' ORDER BY 1"
    with store.reading():
        return [key for (key,) in store.db.execute(query)]


def outcome(store: Store, key: str) -> Stored:
    """A planned replica that ended."""
    planned = "label, cell, parameters, batch_size, size, hidden_size, learning_rate, seed"
    with store.reading():
        label, cell, parameters, *rest = store.db.execute(
            f"SELECT {planned} FROM plan WHERE key = ? ORDER BY position", (key,)
        ).fetchone()
        number, text, *facts = store.db.execute(
            f"SELECT id, key_text, {', '.join(OUTCOME)} FROM replica WHERE key = ?", (key,)
        ).fetchone()
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
        return Stored(label, cell, json.loads(parameters), batch_size, size, hidden_size, rate, seed, text, found)


def _number(name: str, value: Any) -> Any:
    """A final loss or accuracy; a store altered by hand may hold anything there."""
    return float(value) if name.startswith("final_") and name != "final_step" and value is not None else value
