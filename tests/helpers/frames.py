"""Frames of an invented experiment, as the store gives them, for the tests of the summary."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cellbench.summary import Design, Summary, summarise

EVALUATIONS = (5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 150, 200, 250, 300, 400, 500, 600, 700, 800, 900, 1000, 1200,
               1400, 1600, 1800, 2000)  # fmt: skip


def design(**changes: Any) -> Design:
    """Two cells, two axes with two values, ten seeds, one rate."""
    plan: dict[str, Any] = {
        "name": "invented",
        "task": "invented_task",
        "labels": ("lstm", "gru"),
        "baseline": None,
        "axes": ("length", "batch_size", "size"),
        "seeds": tuple(range(10)),
        "learning_rates": (0.01,),
        "max_steps": 2000,
        "evaluation_steps": EVALUATIONS,
        "metric": "sequence_accuracy",
        "threshold": 0.99,
        "hold": 2,
        "stop_when_solved": False,
        "final_examples": 1000,
        "versions": {"cellbench": "0.1.0"},
    }
    return Design(**(plan | changes))


Steps = Callable[[str, tuple[Any, ...], float, int], float]
"""(label, point, learning rate, seed) -> T; `inf` never, `nan` missing."""


def runs(
    plan: Design,
    steps: Steps,
    grid: Sequence[Sequence[Any]] = ((8, 32), (16,), ("hidden 4", "hidden 20")),
    multiply_adds: Mapping[str, int] | None = None,
) -> pd.DataFrame:
    """One row for each planned replica."""
    rows = []
    for label, point, rate, seed in itertools.product(
        plan.labels, itertools.product(*grid), plan.learning_rates, plan.seeds
    ):
        t = steps(label, point, rate, seed)
        status = "missing" if math.isnan(t) else "solved" if math.isfinite(t) else "censored"
        solved = t if math.isfinite(t) else math.nan
        rows.append(
            {
                "label": label,
                "cell": label,
                **dict(zip(plan.axes, point, strict=True)),
                "hidden_size": 20,
                "parameters": 2000,
                "state": 40,
                "multiply_adds": (multiply_adds or {}).get(label, 1000),
                "learning_rate": rate,
                "seed": seed,
                "status": status,
                "cause": "",
                "steps_to_solved": solved,
                "examples_to_solved": solved,
                "target_bits_to_solved": solved,
                "final_step": plan.max_steps,
                "final_loss": 0.1,
                "final_bit_accuracy": math.nan if status == "missing" else 1.0 if status == "solved" else 0.8,
                "final_sequence_accuracy": math.nan if status == "missing" else 1.0 if status == "solved" else 0.2,
                "diverged_at": math.nan,
                "engine": "lanes",
                "engine_version": 1,
                "isa": "avx2",
                "device": "cpu",
                "key": f"{label}-{point}-{rate}-{seed}",
            }
        )
    return pd.DataFrame(rows)


def evaluations(
    plan: Design,
    table: pd.DataFrame,
    keys: Sequence[tuple[str, float]] = (("", math.nan), ("length", 64), ("chain", 16)),
    accuracy: Callable[[Mapping[str, Any], str, float], float] | None = None,
) -> pd.DataFrame:
    """One row for each replica that ran and each key; accuracy 1 where solved, else 0.2, unless given."""
    rows = []
    for row in table[table["status"].isin(["solved", "censored"])].to_dict("records"):
        for by, value in keys:
            x = accuracy(row, by, value) if accuracy else (1.0 if row["status"] == "solved" else 0.2)
            rows.append(
                {name: row[name] for name in ("label", *plan.axes, "learning_rate", "seed")}
                | {"by": by, "value": value, "bit_accuracy": (1 + x) / 2, "sequence_accuracy": x}
            )
    columns = ["label", *plan.axes, "learning_rate", "seed", "by", "value", "bit_accuracy", "sequence_accuracy"]
    return pd.DataFrame(rows, columns=columns)


def lognormal(medians: Mapping[str, float] | Callable[[str, tuple[Any, ...], float], float], sd: float = 0.2) -> Steps:
    """Steps about a median on a grid of 10, seeded by name; 2000 and later is never."""

    def steps(label: str, point: tuple[Any, ...], rate: float, seed: int) -> float:
        name = f"{label}|{point}|{rate}|{seed}"
        rng = np.random.default_rng(list(name.encode()))
        middle = medians(label, point, rate) if callable(medians) else medians[label]
        t = math.ceil(middle * math.exp(sd * rng.standard_normal()) / 10) * 10
        return t if t < 2000 else math.inf

    return steps


def summary_of(
    labels: Sequence[str] = ("lstm", "gru", "rnn"), factors: Mapping[str, float] | None = None, **changes: Any
) -> Summary:
    """Summarise lognormal steps around a median for each cell: 500 unless `factors` has another."""
    plan = design(labels=tuple(labels), **changes)
    medians = {**dict.fromkeys(labels, 500.0), **(factors or {"gru": 350.0, "rnn": 700.0})}
    table = runs(plan, lognormal({label: medians[label] for label in labels}))
    return summarise(table, evaluations(plan, table), plan)
