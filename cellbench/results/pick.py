"""Which replica is meant: from a label, a seed and perhaps a point to one row of the runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cellbench.errors import CellbenchError
from cellbench.report.report import Report
from cellbench.wording import did_you_mean, short

ALIASES = {"cell": "label"}
_SIZES = ("size", "hidden_size")


def keys(report: Report) -> list[str]:
    """List the keys that name a replica: label, the task's parameters, batch size, size, rate and seed."""
    return ["label", *report.parameters, "batch_size", *_SIZES, "learning_rate", "seed"]


def parse(texts: Sequence[str]) -> dict[str, str]:
    """Read `label=gru,seed=3`, in one text or several. A part without `=` belongs to the value before it.

    >>> parse(["label=a, b,seed=3"])
    {'label': 'a, b', 'seed': '3'}

    Raises:
        CellbenchError: a text begins with no assignment, or a key is given twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name = ""
        for part in text.split(","):
            key, equals, value = part.partition("=")
            if equals and key.strip():
                name = key.strip()
                if name in found:
                    raise CellbenchError(f"{name} is given twice")
                found[name] = value
            elif name:
                found[name] += f",{part}"
            else:
                raise CellbenchError(f"{part.strip() or 'an empty text'}: must be KEY=VALUE, such as label=gru,seed=3")
    return found


def pick(report: Report, wanted: Mapping[str, Any]) -> pd.Series[Any]:
    """Find the one replica that is meant.

    Args:
        report: of the folder.
        wanted: a value, or its text, per key. A key that all replicas share may be left out; without a learning rate,
            it is the one that was picked most often for its cell and point.

    Returns:
        Its row of the runs.

    Raises:
        CellbenchError: none or several are meant; the message lists the values to choose from.
    """
    known, runs = keys(report), report.runs
    for given, value in wanted.items():
        name = ALIASES.get(given, given)
        if name not in known:
            raise CellbenchError(f"{given}: no such key. {did_you_mean(given, known)}")
        chosen = runs[[_equal(cell, value) for cell in runs[name]]]
        if chosen.empty:
            others = ", ".join(f"{k}={v}" for k, v in wanted.items() if k != given)
            raise CellbenchError(
                f"{given}={_text(value)}: no replica{f' with {others}' if others and len(runs) else ''}. "
                f"There are {name} {_values(runs, name)}."
            )
        runs = chosen
    for name in known:
        if name != "learning_rate" and runs[name].nunique() > 1:
            example = _text(runs[name].iloc[0])
            raise CellbenchError(f"which {name}? Say for example {name}={example}; there are {_values(runs, name)}.")
    if len(runs) > 1:
        rate = _picked(report, runs.iloc[0])
        if rate is None:
            raise CellbenchError(
                "which learning_rate? None was picked, since replicas are missing; there are "
                f"{_values(runs, 'learning_rate')}."
            )
        runs = runs[runs["learning_rate"] == rate]
    return runs.iloc[0]


def _picked(report: Report, row: pd.Series[Any]) -> float | None:
    """Find the rate that was picked most often for the cell and the point of a row."""
    cells = report.summary.cells
    same = cells[(cells["cell"] == row["label"]) & (cells["at"] == "tuned")]
    for name in (*report.parameters, "batch_size", "size"):
        same = same[same[name] == row[name]]
    if same.empty or pd.isna(same["picked"].iloc[0]):
        return None
    return float(same["picked"].iloc[0])


def _equal(cell: Any, value: Any) -> bool:
    """Tell whether a cell of the runs is this value, or is written so: `0.10` is 0.1."""
    if str(cell) == str(value):
        return True
    try:
        return not isinstance(cell, str) and math.isclose(float(cell), float(value), rel_tol=1e-12)
    except (TypeError, ValueError):
        return False


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _values(runs: pd.DataFrame, name: str) -> str:
    """List the values of a column, the first ten."""
    values = [_text(value) for value in dict.fromkeys(runs[name])]
    return short(", ".join(values[:10])).strip("'\"") + (" ..." if len(values) > 10 else "")
