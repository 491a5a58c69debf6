"""What a store knows of earlier experiments that asked the same question: their plans of seeds, and their looks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cellbench.records import seeds_of, stages_of
from cellbench.results.tuned import owners
from cellbench.statistics.looks import looks
from cellbench.summary.plans import Past, Stages

_APART = ("name", "cells", "seeds", "engine", "keep", "baseline")
"""Keys of an experiment that are no part of its question; the baseline is, as the label that it comes to."""

Experiment = Mapping[str, Any]
"""As the store has it: resolved, facts, started and more."""


def against(experiment: Experiment) -> str:
    """Return the baseline's label."""
    resolved = experiment["resolved"]
    of = owners(experiment)
    planned = [str(cell.get("label") or cell["name"]) for cell in resolved["cells"]]
    labels = [of[label][0] if label in of else label for label in planned]
    return str(resolved["baseline"] or ("lstm" if "lstm" in labels else labels[0]))


def question(experiment: Experiment) -> str:
    """Write what an experiment asks: everything but its cells, its seeds, and what trains them."""
    resolved = experiment["resolved"]
    asked = {name: value for name, value in resolved.items() if name not in _APART}
    asked["report"] = {name: value for name, value in resolved["report"].items() if name != "pairs"}
    return json.dumps([asked, against(experiment)], sort_keys=True)


def _cells(experiment: Experiment) -> dict[str, str]:
    """Return what defines each cell, by label: the keys of its choices, and the digests of their texts."""
    of = owners(experiment)
    found: dict[str, list[Any]] = {}
    for cell in experiment["resolved"]["cells"]:
        label = str(cell.get("label") or cell["name"])
        owner, digest = of.get(label, (label, ""))
        found.setdefault(owner, []).append([cell, digest])
    return {label: json.dumps(choices, sort_keys=True) for label, choices in found.items()}


def alike(experiment: Experiment, other: Experiment) -> frozenset[str]:
    """Return the labels of the cells that two experiments share."""
    mine, theirs = _cells(experiment), _cells(other)
    return frozenset(label for label, cell in mine.items() if theirs.get(label) == cell)


@dataclass(frozen=True)
class History:
    """The earlier experiments of a store, as one experiment sees them.

    Attributes:
        stages: its plan, with every cap that was set; None where its seeds are fixed.
        past: earlier experiments that asked the same.
        elsewhere: how many other questions were asked of the same seeds.
        other_plans: earlier plans of the same question with another first look, each with the time at which the next
            experiment was started, or None for the last.
    """

    stages: Stages | None
    past: tuple[Past, ...]
    elsewhere: int
    other_plans: tuple[tuple[Experiment, str | None], ...] = ()


def history(experiment: Experiment, earlier: Sequence[Experiment]) -> History:
    """Read the history of an experiment.

    Args:
        experiment: the one that is run or reported.
        earlier: all experiments of its store, in the order of time; it may be among them.
    """
    mine, seeds = question(experiment), experiment["resolved"]["seeds"]
    plan = stages_of(seeds)
    same = [one for one in earlier if question(one) == mine]
    past = [shared for one in same if (shared := _past(one, experiment))]
    if plan is None:
        return History(None, tuple(dict.fromkeys(past)), 0)
    caps = _caps([stages_of(one["resolved"]["seeds"]) for one in same], plan)
    others = {question(one) for one in earlier if set(seeds_of(one["resolved"]["seeds"])) & set(seeds_of(seeds))}
    unlike = tuple(
        (one, earlier[i + 1]["started"] if i + 1 < len(earlier) else None)
        for i, one in enumerate(earlier)
        if question(one) == mine and (found := stages_of(one["resolved"]["seeds"])) is not None and found[0] != plan[0]
    )
    fixed = tuple(dict.fromkeys(one for one in past if one.fixed))
    return History(Stages(*plan, caps), fixed, len(others - {mine}), unlike)


def _caps(plans: Sequence[tuple[int, int] | None], plan: tuple[int, int]) -> tuple[int, ...]:
    """List every cap that was set for a plan's first look, in order, that of the plan itself last."""
    found = [to for first, to in filter(None, plans) if first == plan[0]]
    return tuple(found if found and plans[-1] == plan else [*found, plan[1]])


def _past(one: Experiment, now: Experiment) -> Past | None:
    """Describe the looks of an earlier experiment; None if it shares no comparison with this one."""
    shared = alike(now, one)
    if against(now) not in shared or len(shared) < 2:
        return None
    plan = stages_of(one["resolved"]["seeds"])
    if plan is None:
        return Past(shared, (frozenset(one["resolved"]["seeds"]),), True)
    return Past(shared, tuple(frozenset(range(look.seeds)) for look in looks(plan[0], [plan[1]])), False)
