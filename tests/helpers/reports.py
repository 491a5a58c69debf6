"""Whole reports of invented experiments, for the tests of the charts and the page and for benchmarks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cellbench.report import csv
from cellbench.report.report import Report
from cellbench.summary import Design, summarise
from tests.helpers.frames import Steps, design, evaluations, lognormal, runs

GRID = ((8, 32), (16,), ("hidden 4", "hidden 20"))
REFERENCES = {"length=8": {"sees the last 2": 0.84, "sees the last 3": 0.93}, "length=32": {"sees the last 2": 0.77}}


def report(
    labels: Sequence[str] = ("rnn", "lstm", "gru"),
    steps: Steps | None = None,
    grid: Sequence[Sequence[Any]] = GRID,
    **changes: Any,
) -> Report:
    """An experiment of these cells in which the later ones are slower, unless `steps` says otherwise."""
    plan = design(**({"labels": tuple(labels), "learning_rates": (0.01, 0.03, 0.1)} | changes))
    place = {label: i for i, label in enumerate(plan.labels)}

    def middle(label: str, point: tuple[Any, ...], rate: float) -> float:
        return (150 + 60 * (place[label] % 7)) * (1 + abs(math.log(rate / 0.03))) * (1.5 if point[0] == 32 else 1)

    table = runs(plan, steps or lognormal(middle, sd=0.4), grid)
    table = _whole(plan, table)
    found = evaluations(plan, table, keys=[("", math.nan), *(("length", v) for v in (8, 64)), ("chain", 16)])
    return Report(table, curves(plan, table), plan, summarise(table, found, plan), experiment(plan), 0)


def _whole(plan: Design, table: pd.DataFrame) -> pd.DataFrame:
    """With the columns that only files show."""
    for i, name in enumerate(("seconds", "started", "finished", "host", "worker", "attempt", "traceback")):
        table[name] = 0.01 * (1 + plan.labels.index(table["label"].iloc[0])) if i == 0 else ""
    order = csv.columns(csv.RUNS, plan.axes[:-2])
    return table[[*order, "traceback"]]


def curves(plan: Design, table: pd.DataFrame) -> pd.DataFrame:
    """Learning curves that rise about the step at which a replica solved; others stay at 0.2."""
    ran = table[table["status"].isin(["solved", "censored"])]
    at = np.array(plan.evaluation_steps, dtype=float)
    reached = ran["steps_to_solved"].astype(float).to_numpy()[:, None]
    rise = 1 / (1 + (0.7 * reached / at) ** 6)
    share = np.where(np.isnan(reached), 0.2 * at / at[-1], rise)
    who = ran[["label", *plan.axes, "learning_rate", "seed"]]
    rows = who.loc[who.index.repeat(len(at))].reset_index(drop=True)
    rows["step"] = np.tile(at.astype(int), len(ran))
    rows["loss"], rows["bit_accuracy"] = (0.7 * (1 - share)).ravel(), (0.5 + share / 2).ravel()
    rows["sequence_accuracy"] = share.ravel()
    return rows


def experiment(plan: Design) -> dict[str, Any]:
    """What the store says of it."""
    cells = {
        label: {"cell": label, "provider": "invented 1.0", "description": "uniform weights", "reference": "Nobody 2020",
                "options": {}}
        for label in plan.labels
    }  # fmt: skip
    return {
        "resolved": {"name": plan.name, "cells": list(plan.labels), "seeds": list(plan.seeds)},
        "facts": {"axes": list(plan.axes[:-2]), "cells": cells, "reference_accuracies": REFERENCES},
        "environment": {"cellbench": "0.1.0", "packages": {}, "plugins": {}},
        "command": "cellbench run invented.yaml",
        "started": "2026-01-01T00:00:00+00:00",
    }
