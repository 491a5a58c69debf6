"""Lay out the paired differences of accuracies that were tested, with the seeds that they rest on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cellbench.summary.accuracies import ByCell
from cellbench.summary.comparisons import POINT, Scope, scopes
from cellbench.summary.fates import FATED
from cellbench.summary.selection import METRICS, Key, Selection

COLUMNS = (
    "kind", "cell", "scope", "metric", "by", "value", "difference", "low", "high", "corrected_low", "corrected_high",
    "seeds", "seed", "verdict",
)  # fmt: skip
"""Those of `differences`, beside the axes."""

_ENDS = {"difference_low": "low", "difference_high": "high"}


def differences(
    selection: Selection, compared: pd.DataFrame, at: Mapping[tuple[str, str], int] | None = None
) -> pd.DataFrame:
    """Return the differences from the baseline, in percentage points: of the mean (kind `mean`) and of each seed.

    Single points are left out. Seeds are at the rates picked on other seeds, as the mean is.

    Args:
        selection: all replicas.
        compared: comparisons.csv.
        at: of a comparison that was decided at a look, its seeds.
    """
    design = selection.design
    frame = compared[compared["metric"].isin(METRICS) & (compared["baseline"] == design.against)]
    frame = frame[(frame["scope"] != POINT) & ~frame["verdict"].isin([*FATED, "cannot tell"])]
    means = frame.rename(columns=_ENDS).assign(kind="mean", seed=math.nan)
    cells = [label for label in design.shown if label in set(means["cell"])]
    by_cell, rows = ByCell(selection), []
    wider = [scope for scope in scopes(selection) if scope.kind != POINT]
    for label in cells:
        for scope in wider:
            rows += _seeds(by_cell, label, scope, (at or {}).get((label, design.against)))
    columns = [*COLUMNS, *design.axes]
    seeds = pd.DataFrame(rows, columns=columns)
    filled = [part for part in (means.reindex(columns=columns), seeds) if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else seeds


def _seeds(by_cell: ByCell, label: str, scope: Scope, first: int | None) -> list[dict[str, Any]]:
    """Return one row per seed, metric and evaluation."""
    selection = by_cell.replicas
    design, rows = selection.design, []
    a, b = selection.cell(label), selection.cell(design.against)
    for which, keys in by_cell.groups([a, b], scope.points, first).items():
        each = [by_cell.at(a, g, which.seeds).values - by_cell.at(b, g, which.seeds).values for g in which.points]
        values = 100 * np.mean(each, axis=0)
        for k in keys:
            key: Key = selection.keys[k]
            for m, metric in enumerate(METRICS):
                head: dict[str, Any] = {
                    "kind": "seed",
                    "cell": label,
                    "scope": scope.text,
                    "metric": metric,
                    "by": key[0],
                }
                head |= {"value": key[1], **scope.fixed}
                rows += [
                    head | {"seed": design.seeds[i], "difference": float(x)}
                    for i, x in zip(which.seeds, values[:, m, k], strict=True)
                    if not math.isnan(x)
                ]
    return rows
