"""How the planned replicas of a store ended, counted: for `status`, `merge` and the results' own text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cellbench.store.schema import DONE
from cellbench.store.store import Store

_BY_MACHINE = "failed (machine)"
_TO_TRAIN = ("missing", "wrong", _BY_MACHINE)


@dataclass(frozen=True)
class Tally:
    """The planned replicas of a store, counted by how they ended.

    Attributes:
        by_status: a status as `Outcome` has it; `failed (machine)` if the machine was the cause, `missing` if there is
            no outcome, `wrong` if an engine's earlier version trained it wrongly.
    """

    by_status: Mapping[str, int]

    @property
    def planned(self) -> int:
        """The number of planned replicas."""
        return sum(self.by_status.values())

    @property
    def to_train(self) -> int:
        """The number of replicas that the next run trains: those that are not done (`schema.DONE`)."""
        return sum(self.by_status.get(status, 0) for status in _TO_TRAIN)

    @property
    def failed(self) -> int:
        """The number of replicas that failed, because of the cell or of the machine."""
        return self.by_status.get("failed", 0) + self.by_status.get(_BY_MACHINE, 0)


def tally(store: Store) -> Tally:
    """Count the planned replicas by how they ended.

    Raises:
        StoreError: the store is damaged, or holds a replica twice.
    """
    query = (
        f"SELECT CASE WHEN r.key IS NULL THEN 'missing' WHEN r.cause = 'machine' THEN '{_BY_MACHINE}' "
        "WHEN r.wrong IS NOT NULL THEN 'wrong' "
        "ELSE r.status END AS s, count(*) FROM plan p LEFT JOIN replica r ON r.key = p.key GROUP BY s"
    )
    store.refuse_twice()
    with store.reading():
        return Tally(dict(store.db.execute(query).fetchall()))


def unplanned(store: Store) -> int:
    """Count the outcomes that the last experiment does not plan.

    Raises:
        StoreError: the store is damaged.
    """
    with store.reading():
        query = "SELECT count(*) FROM replica WHERE key NOT IN (SELECT key FROM plan)"
        return int(store.db.execute(query).fetchone()[0])


def never_finite(store: Store) -> tuple[str, ...]:
    """List the labels of the cells all of whose planned replicas that ended had diverged, or failed by themselves.

    At least one of them diverged.

    Raises:
        StoreError: the store is damaged, or holds a replica twice.
    """
    query = (
        f"SELECT p.label FROM plan p JOIN replica r ON r.key = p.key WHERE {DONE} GROUP BY p.label "
        "HAVING sum(r.status = 'diverged') > 0 AND sum(r.status NOT IN ('diverged', 'failed')) = 0 "
        "ORDER BY min(p.position)"
    )
    store.refuse_twice()
    with store.reading():
        return tuple(label for (label,) in store.db.execute(query))
