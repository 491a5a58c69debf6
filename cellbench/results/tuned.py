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
    if not any(TUNED in facts for facts in cells.values()):
        return part
    labels = {label: facts.get(TUNED, {}).get("cell", label) for label, facts in cells.items()}
    return replace(
        part,
        experiment=described(part.experiment),
        runs=named(part.runs, cells),
        evaluations=named(part.evaluations, cells),
        curves=named(part.curves, cells),
        doubts=tuple((labels.get(label, label), said) for label, said in part.doubts),
    )


def named(frame: pd.DataFrame, cells: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Give rows of planned cells the label of the cell that they are a choice of, and their options.

    Args:
        frame: with a column `label`.
        cells: the facts of the planned cells.
    """
    if not any(TUNED in facts for facts in cells.values()):
        return frame
    labels = {label: facts.get(TUNED, {}).get("cell", label) for label, facts in cells.items()}
    words = {label: facts.get(TUNED, {}).get("setting", "") for label, facts in cells.items()}
    planned = frame["label"]
    return frame.assign(label=planned.map(labels), **{OPTIONS: planned.map(words).astype(str)})


def described(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """Describe an experiment with each tuned cell once: in its facts, `tuned` lists the choices."""
    facts = experiment["facts"]
    return {**experiment, "facts": {**facts, "cells": _described(facts["cells"])}}


def owners(experiment: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the cell that each planned label belongs to, and what defines the choice: its digest.

    Args:
        experiment: as the store has it, or as `together` describes it.
    """
    found: dict[str, tuple[str, str]] = {}
    for label, facts in experiment["facts"]["cells"].items():
        tuned = facts.get(TUNED)
        if isinstance(tuned, list):
            for choice in tuned:
                found[" ".join(filter(None, (label, choice[OPTIONS])))] = label, choice["digest"]
        else:
            found[label] = (label if tuned is None else tuned["cell"]), facts.get("digest", "")
    return found


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
