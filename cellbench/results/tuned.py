"""Put together the choices of a tuned cell's options, each of which was planned as a cell of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from cellbench.records import TUNED
from cellbench.store.frames import Frames
from cellbench.summary.design import OPTIONS

ENGINE_REASON = "engine_reason"


def together(part: Frames) -> Frames:
    """Give the replicas of every choice the label of their cell, and their options as a column, empty for other cells.

    Frames without a tuned cell come back as they are. In the facts of a tuned cell, `tuned` lists its choices: options
    in words, learning rates, and what was known of each as a planned cell.
    """
    cells = part.experiment["facts"]["cells"]
    if not _any(cells):
        return part
    return replace(
        part,
        experiment=described(part.experiment),
        runs=named(part.runs, cells),
        evaluations=named(part.evaluations, cells),
        curves=named(part.curves, cells),
        doubts=tuple((owner(cells, label), said) for label, said in part.doubts),
    )


def _any(cells: Mapping[str, Mapping[str, Any]]) -> bool:
    return any(TUNED in facts for facts in cells.values())


def owner(cells: Mapping[str, Mapping[str, Any]], label: str) -> str:
    """Return the label of the cell that a planned one is a choice of; its own, if nothing of it is tuned.

    Args:
        cells: the facts of the planned cells, by label.
        label: a planned one's.
    """
    return str(cells.get(label, {}).get(TUNED, {}).get("cell", label))


def named(frame: pd.DataFrame, cells: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Give rows the label of their cell, and their options as a column; as they are, if no cell is tuned.

    Args:
        frame: with the planned labels.
        cells: the facts of the planned cells, by label.
    """
    if not _any(cells):
        return frame
    planned = frame["label"]
    words = {label: facts.get(TUNED, {}).get("setting", "") for label, facts in cells.items()}
    return frame.assign(
        label=planned.map({label: owner(cells, label) for label in cells}), **{OPTIONS: planned.map(words).astype(str)}
    )


def described(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """Describe each tuned cell of an experiment once, in its facts, by what its choices share."""
    facts = experiment["facts"]
    return {**experiment, "facts": {**facts, "cells": _described(facts["cells"])}}


def _described(cells: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Describe each tuned cell once, by what its choices share."""
    found: dict[str, dict[str, Any]] = {}
    for label, facts in cells.items():
        if TUNED not in facts:
            found[label] = facts
            continue
        tuned = facts[TUNED]
        choice = {OPTIONS: tuned["setting"], "learning_rate": tuned["learning_rate"], "digest": facts.get("digest", "")}
        before = found.get(tuned["cell"])
        if before is None:
            fixed = {name: value for name, value in facts[OPTIONS].items() if name not in tuned["options"]}
            found[tuned["cell"]] = {**facts, OPTIONS: fixed, TUNED: [choice]}
            continue
        before[TUNED].append(choice)
        reasons = [before.get(ENGINE_REASON, ""), facts.get(ENGINE_REASON, "")]
        if any(reasons):
            before[ENGINE_REASON] = "; ".join(dict.fromkeys(filter(None, reasons)))
        changed = [*before.get("changed", []), *facts.get("changed", [])]
        if changed:
            before["changed"] = list(dict.fromkeys(changed))
    return found


def settings(cells: Mapping[str, dict[str, Any]]) -> dict[str, tuple[tuple[str, float], ...]]:
    """List the settings of each tuned cell, in the order of the file, rates ascending: options in words, rate."""
    return {
        label: tuple((choice[OPTIONS], rate) for choice in facts[TUNED] for rate in sorted(choice["learning_rate"]))
        for label, facts in cells.items()
        if TUNED in facts
    }
