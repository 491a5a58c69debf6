"""Several results folders as one: all their cells in one report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from cellbench.errors import CellbenchError
from cellbench.records import Answer
from cellbench.report.report import Report
from cellbench.results.results import laid_out
from cellbench.store.frames import Frames, read

ALIKE = ("task", "learning_rate", "train", "evaluate", "solved")
"""The keys that must be the same in all experiments, or their numbers would answer different questions."""

_UNFINISHED = ("missing", "failed")


def name_of(folders: Sequence[Path]) -> str:
    """Join the folders' names to the name of the common report."""
    return "+".join(dict.fromkeys(folder.resolve().name for folder in folders))


def report(folders: Sequence[Path]) -> Report:
    """Compute every number of several folders as one; see `unite`."""
    found = laid_out(unite(folders))
    # the rates to try next are meant for an experiment file, and the folders have none in common
    return replace(found, summary=replace(found.summary, wider_rates=()))


def unite(folders: Sequence[Path]) -> Frames:
    """Read several folders as one.

    Cells with the same label are one cell if the keys of the replicas that both plan are equal; if not, the later one
    gets its folder's name as a suffix. A replica that several folders hold is taken once.

    Raises:
        CellbenchError: the experiments differ in a key that must be the same, or two folders have the same name.
        StoreError: a folder holds no results.
    """
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) != len(names):
        raise CellbenchError(
            f"{', '.join(map(str, folders))}: each folder needs a name of its own, to tell their cells apart"
        )
    parts = [read(folder) for folder in folders]
    for name, part in zip(names[1:], parts[1:], strict=True):
        _check(names[0], parts[0], name, part)
    renamed = [parts[0]]
    for name, part in zip(names[1:], parts[1:], strict=True):
        renamed.append(_renamed(part, _labels(renamed, part, name)))
    return _joined(renamed, name_of(folders))


def _check(name: str, part: Frames, other_name: str, other: Frames) -> None:
    first, second = part.experiment["resolved"], other.experiment["resolved"]
    faults = [
        f"  {key}: {a!r} in {name}, {b!r} in {other_name}"
        for key, a, b in _differences({k: first[k] for k in ALIKE}, {k: second[k] for k in ALIKE})
    ]
    if faults:
        raise CellbenchError(
            "\n".join([f"{name} and {other_name} cannot be shown in one report; these keys must be the same:", *faults])
        )


def _differences(a: Any, b: Any, key: str = "") -> list[tuple[str, Any, Any]]:
    """List the keys in which two nested mappings differ, each with both values."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        found = []
        for name in dict.fromkeys((*a, *b)):
            found += _differences(a.get(name), b.get(name), f"{key}.{name}" if key else str(name))
        return found
    if key == "learning_rate":
        a, b = sorted(a), sorted(b)
    return [] if a == b else [(key, a, b)]


def _place(part: Frames) -> list[str]:
    return [*part.experiment["facts"]["axes"], "batch_size", "size", "learning_rate", "seed"]


def _labels(before: Sequence[Frames], part: Frames, name: str) -> dict[str, str]:
    """Choose the label that each cell of a part gets, so that none is taken already by a different cell."""
    place = _place(part)
    known = pd.concat([earlier.runs[["label", *place, "key"]] for earlier in before])
    taken = set(known["label"])
    result = {}
    for label in dict.fromkeys(part.runs["label"]):
        result[label] = label
        if label not in taken:
            continue
        both = known[known["label"] == label].merge(part.runs[part.runs["label"] == label], on=place)
        same = (both["key_x"] == both["key_y"]).all() if len(both) else _described_alike(before, part, label)
        if not same:
            new = f"{label} ({name})"
            while new in taken:
                new += "'"
            result[label] = new
    return result


def _described_alike(before: Sequence[Frames], part: Frames, label: str) -> bool:
    """Tell whether cells that share no replica, and so no key, are described by the same facts."""
    own = part.experiment["facts"]["cells"].get(label)
    found = (earlier.experiment["facts"]["cells"].get(label) for earlier in before)
    return all(facts == own for facts in found if facts is not None)


def _renamed(part: Frames, labels: Mapping[str, str]) -> Frames:
    def rename(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(label=frame["label"].map(labels))

    facts = part.experiment["facts"]
    cells = {labels.get(label, label): found for label, found in facts["cells"].items()}
    experiment = {**part.experiment, "facts": {**facts, "cells": cells}}
    doubts = tuple((labels.get(label, label), said) for label, said in part.doubts)
    runs, evaluations, curves = map(rename, (part.runs, part.evaluations, part.curves))
    return Frames(experiment, runs, evaluations, curves, part.unplanned, part.answers, doubts)


def _joined(parts: Sequence[Frames], name: str) -> Frames:
    who = ["label", *_place(parts[0])]
    runs = pd.concat([part.runs.assign(part=i) for i, part in enumerate(parts)], ignore_index=True)
    # of a replica that several hold, the first that finished counts, else the first
    order = runs["status"].isin(_UNFINISHED).to_numpy()
    runs = runs.iloc[order.argsort(kind="stable")].drop_duplicates(who).sort_index()
    chosen = runs[[*who, "part"]]

    def only_chosen(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
        # frames without rows would change the columns' types
        filled = [frame.assign(part=i) for i, frame in enumerate(frames) if len(frame)]
        if not filled:
            return frames[0]
        both = pd.concat(filled, ignore_index=True)
        return both.merge(chosen, on=[*who, "part"]).drop(columns="part")

    return Frames(
        _experiment([part.experiment for part in parts], name),
        runs.drop(columns="part").reset_index(drop=True),
        only_chosen([part.evaluations for part in parts]),
        only_chosen([part.curves for part in parts]),
        sum(part.unplanned for part in parts),
        _answers(parts),
        tuple(dict.fromkeys(doubt for part in parts for doubt in part.doubts)),
    )


def _answers(parts: Sequence[Frames]) -> dict[str, list[Answer]]:
    """Unite what cells answered, by digest, each answer once."""
    found: dict[str, list[Answer]] = {}
    for part in parts:
        for digest, answers in part.answers.items():
            found[digest] = list(dict.fromkeys([*found.get(digest, []), *answers]))
    return found


def _experiment(found: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    """Describe the common experiment: the first one's keys, with the cells and seeds of all."""
    first = found[0]
    resolved = {
        **first["resolved"],
        "name": name,
        "cells": [cell for experiment in found for cell in experiment["resolved"]["cells"]],
        "seeds": sorted({seed for experiment in found for seed in experiment["resolved"]["seeds"]}),
    }
    facts = {
        **first["facts"],
        "cells": {k: v for experiment in found for k, v in experiment["facts"]["cells"].items()},
        "reference_accuracies": {
            k: v for experiment in found for k, v in experiment["facts"]["reference_accuracies"].items()
        },
    }
    plugins = {k: v for experiment in found for k, v in experiment["environment"]["plugins"].items()}
    environment = {**first["environment"], "plugins": plugins}
    others = [experiment["environment"] for experiment in found[1:]]
    if any(other != first["environment"] for other in others):
        environment["of_the_others"] = others
    commands = dict.fromkeys(experiment["command"] for experiment in found)
    return {**first, "resolved": resolved, "facts": facts, "environment": environment, "command": "; ".join(commands)}
