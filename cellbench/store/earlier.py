"""Replicas that earlier versions of the engines trained: which are there, and which are known to be right or wrong.

A wrong one stays in the store until it was trained again, and counts as not done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from cellbench.records import VERSIONS, failed_wrongly
from cellbench.store.schema import DONE, version_of
from cellbench.store.store import Store

_OWN = "cellbench.cells."
"""The cells of cellbench itself have none of the traits that an engine was ever wrong about."""


@dataclass(frozen=True)
class Earlier:
    """A replica of which it is not known whether today's version of its engine would give the same numbers.

    Attributes:
        engine, version: what trained it.
        failed: why its failure was the engine's fault; empty if it did not fail, or if that cannot be told.
    """

    engine: str
    version: int
    failed: str


def _older(replica: str) -> str:
    """Write the condition that a replica was trained by an earlier version, and is not known to be right."""
    version = f"max({version_of(replica)}, coalesce({replica}.right_as, 1))"
    return " OR ".join(f"({replica}.engine = '{engine}' AND {version} < {now})" for engine, now in VERSIONS.items())


def unjudged(store: Store) -> dict[str, Earlier]:
    """List the finished replicas that an earlier version trained and that nothing is known of yet, by key."""
    query = (
        f"SELECT r.key, r.engine, {version_of('r')}, CASE r.cause WHEN 'cell' THEN r.traceback ELSE '' END "
        f"FROM replica r WHERE {DONE} AND ({_older('r')})"
    )
    with store.reading():
        return {
            key: Earlier(engine, version, failed_wrongly(engine, version, traceback))
            for key, engine, version, traceback in store.db.execute(query)
        }


def wrong(store: Store) -> dict[str, str]:
    """List the replicas that are known to be wrong, each with the reason, by key."""
    with store.reading():
        return dict(store.db.execute("SELECT key, wrong FROM replica WHERE wrong IS NOT NULL").fetchall())


def judge(store: Store, right: Mapping[str, int], wrong: Mapping[str, str]) -> None:
    """Write down what is known of replicas; their numbers stay as they are.

    Args:
        store: open to be written.
        right: the version of its engine that would give the same numbers, by key.
        wrong: the reason, by key.
    """
    with store.transaction() as db:
        db.execute("CREATE TEMP TABLE judged (key TEXT PRIMARY KEY, right_as INTEGER, wrong TEXT)")
        db.executemany("INSERT INTO judged VALUES (?, ?, NULL)", right.items())
        db.executemany("INSERT INTO judged VALUES (?, NULL, ?)", wrong.items())
        db.execute(
            "UPDATE replica SET right_as = j.right_as, wrong = j.wrong FROM temp.judged j WHERE j.key = replica.key"
        )
        db.execute("DROP TABLE temp.judged")


def doubts(store: Store) -> list[tuple[str, str]]:
    """Say of each planned cell what is wrong, or may be wrong, with its stored replicas: label and sentence."""
    query = (
        f"SELECT p.label, f.key_text, r.engine, {version_of('r')}, coalesce(r.wrong, ''), count(*) "
        "FROM plan p JOIN replica r ON r.key = p.key JOIN family f ON f.family = r.family "
        f"WHERE r.cause != 'machine' AND (r.wrong IS NOT NULL OR {_older('r')}) "
        "GROUP BY p.label, r.family, r.engine, r.engine_version, r.wrong ORDER BY min(p.position)"
    )
    counts: dict[tuple[str, str], int] = {}
    with store.reading():
        for label, text, engine, version, why, count in store.db.execute(query):
            said = f"trained wrongly and left out: {why}; the next run trains them again"
            if not why:
                if str(json.loads(text)["factory"]).startswith(_OWN):
                    continue
                said = (
                    f"trained by an earlier version ({version}) of {engine}, which was wrong about some kinds of "
                    "cells; the next run finds out whether this is one"
                )
            counts[label, said] = counts.get((label, said), 0) + count
    return [
        (label, f"{count:,} {'replica was' if count == 1 else 'replicas were'} {said}")
        for (label, said), count in counts.items()
    ]
