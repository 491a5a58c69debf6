"""What the looks of a staged experiment say, from what is stored and planned: which cells are trained next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from cellbench.records import Answer, Planned, stages_of
from cellbench.results.history import against, alike, history
from cellbench.results.results import design_of
from cellbench.results.tuned import described, named
from cellbench.store import FILE, Store
from cellbench.store.answers import given
from cellbench.store.frames import ended
from cellbench.summary.selection import select
from cellbench.summary.staging import Standing, stand


@dataclass(frozen=True)
class Stood:
    """The standing of a staged experiment.

    Attributes:
        standing: what the looks say.
        first_was: the first look of an earlier plan of the same question, if that look was made and is another one;
            else None.
    """

    standing: Standing
    first_was: int | None


def standing(
    folder: Path,
    experiment: Mapping[str, Any],
    planned: Sequence[Planned],
    answers: Mapping[str, Sequence[Answer]],
    fresh: bool = False,
) -> Stood:
    """Replay the looks of an experiment that is about to be run, or is being run.

    Args:
        folder: its results folder, which may not be there yet.
        experiment: resolved, facts, environment and command, as the store takes them.
        planned: everything that it plans, up to the most seeds.
        answers: what cells answered to laws in this run, by the cell's digest.
        fresh: as if nothing were stored.

    Raises:
        StoreError: the folder cannot be read.
    """
    stored: pd.DataFrame | None = None
    earlier: Sequence[Mapping[str, Any]] = ()
    known: dict[str, Sequence[Answer]] = dict(answers)
    if not fresh and (folder / FILE).exists():
        with Store(folder, write=False) as store:
            stored, earlier = ended(store), store.history()
            known = {**given(store), **known}
    runs = named(_frame(planned, stored), experiment["facts"]["cells"])
    design = design_of(described(experiment), runs, known, earlier)
    assert design.stages is not None
    columns = ["label", *design.axes, "learning_rate", "seed", "by", "value", "bit_accuracy", "sequence_accuracy"]
    replicas = select(runs, pd.DataFrame(columns=columns), design)
    before = history(experiment, earlier)
    was = [first for one, until in before.other_plans if (first := _looked(one, until, experiment, runs)) is not None]
    return Stood(stand(replicas, design.stages, design.pairings()), was[0] if was else None)


def _frame(planned: Sequence[Planned], stored: pd.DataFrame | None) -> pd.DataFrame:
    """Lay out one row per planned replica, as `summarise` takes them."""
    rows = [
        {
            "label": p.cell.label, **p.point.named, "batch_size": p.point.batch_size, "size": p.point.size,
            "hidden_size": p.fit.hidden_size, "parameters": p.fit.parameters, "state": p.fit.state,
            "multiply_adds": p.fit.multiply_adds, "learning_rate": r.learning_rate, "seed": r.seed, "key": r.key,
        }
        for p in planned
        for r in p.replicas
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    names = ("status", "cause", "steps_to_solved", "final_sequence_accuracy", "diverged_at", "traceback", "finished")
    known = stored if stored is not None else pd.DataFrame(columns=list(names), index=pd.Index([], name="key"))
    frame = frame.join(known[~known.index.duplicated()], on="key")
    frame["status"] = frame["status"].fillna("missing").astype(str)
    for name in ("cause", "traceback", "finished"):
        frame[name] = frame[name].fillna("").astype(str)
    for name in ("steps_to_solved", "final_sequence_accuracy", "diverged_at"):
        frame[name] = pd.to_numeric(frame[name], errors="coerce")
    return frame


def _looked(one: Mapping[str, Any], until: str | None, now: Mapping[str, Any], runs: pd.DataFrame) -> int | None:
    """Return the first look of an earlier plan if it was made before the next experiment began; else None."""
    plan = stages_of(one["resolved"]["seeds"])
    assert plan is not None
    made = []
    for label in alike(now, one):
        mine = runs[(runs["label"] == label) & (runs["seed"] < plan[0])]
        stored = bool((mine["status"] != "missing").all())
        if stored and until is not None:
            stored = all(_before(finished, until) for finished in mine["finished"].unique())
        if stored:
            made.append(label)
    return plan[0] if against(now) in made and len(made) > 1 else None


def _before(finished: str, until: str) -> bool:
    try:
        return datetime.fromisoformat(finished) <= datetime.fromisoformat(until)
    except (ValueError, TypeError):
        return True
