"""What cells answered to laws before they were trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cellbench.records import Answer, Law, Source
from cellbench.store.schema import insert
from cellbench.store.store import Store


def keep(store: Store, answers: Mapping[str, Sequence[Answer]], laws: Iterable[Law] | None = None) -> None:
    """Store answers, with the texts of their laws. Where an answer is stored already, the new one takes its place.

    Args:
        store: opened for writing.
        answers: by the cell's digest.
        laws: all that are asked today. What these cells answered to others, or to other texts of these, with the
            versions of the new answers, no longer counts and goes. None: nothing goes.
    """
    rows = [
        (
            cell, a.law.name, a.law.text.sha256, a.hidden_size, a.torch, a.cellbench, a.law.shows, a.status,
            a.message, a.place,
        )
        for cell, given in answers.items()
        for a in given
    ]  # fmt: skip
    texts = {a.law.text for given in answers.values() for a in given}
    today = [f"{law.name} {law.text.sha256}" for law in laws or ()]
    by = {(cell, a.torch, a.cellbench) for cell, given in answers.items() for a in given}
    with store.transaction() as db:
        if today:
            others = f"law || ' ' || text NOT IN ({', '.join('?' * len(today))})"
            db.executemany(
                f"DELETE FROM answer WHERE cell = ? AND torch = ? AND cellbench = ? AND {others}",
                [(*each, *today) for each in by],
            )
        db.executemany(insert("source", "OR IGNORE"), ((s.sha256, s.module, s.text) for s in texts))
        db.executemany(insert("answer", "OR REPLACE"), rows)


def given(store: Store) -> dict[str, list[Answer]]:
    """Return every answer, by the cell's digest."""
    query = (
        "SELECT a.cell, a.law, a.shows, s.module, s.text, a.hidden_size, a.torch, a.cellbench, a.status, a.message, "
        "a.place FROM answer a JOIN source s ON s.sha256 = a.text "
        "ORDER BY a.cell, a.law, a.hidden_size, a.torch, a.cellbench, a.text"
    )
    found: dict[str, list[Answer]] = {}
    with store.reading():
        for cell, name, shows, module, text, size, *rest in store.db.execute(query):
            found.setdefault(cell, []).append(Answer(Law(name, shows, Source(module, text)), int(size), *rest))
    return found
