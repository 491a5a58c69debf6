"""Read everything else of a comparison at its look, and say what a report adds where seeds were staged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from cellbench.statistics.looks import Look
from cellbench.summary import words
from cellbench.summary.comparisons import AxisRow, Row, axis_rows
from cellbench.summary.plans import Past, chance
from cellbench.summary.selection import MISSING, NOT_PLANNED, Selection
from cellbench.summary.staging import Pair, Standing


def within(replicas: Selection, targets: Mapping[str, int]) -> Selection:
    """Take what is not stored beyond the seeds that each cell is to have out of the plan: it is not missing."""
    state = replicas.state.copy()
    for label, seeds in targets.items():
        beyond = state[replicas.cell(label), :, seeds:]
        beyond[beyond == MISSING] = NOT_PLANNED
    return replace(replicas, state=state, fates={}, _complete={}, _tuned={}, _values={})


class Seen:
    """The replicas and the look that each comparison is read at: all of them, and none, where seeds are fixed.

    Args:
        replicas: all that are planned.
        standing: what the looks said; None where seeds are fixed.
    """

    def __init__(self, replicas: Selection, standing: Standing | None) -> None:
        self.replicas, self.standing = replicas, standing
        self.looks: dict[Pair, Look] = {}
        if standing is not None:
            # between looks nothing is compared: one without a complete look is read at no seeds
            self.looks = {
                pair: replace(reading.look, seeds=0) if reading.row.behind else reading.look
                for pair, reading in standing.readings.items()
            }

    def at(self, pair: Pair) -> Selection:
        """Return the replicas that a comparison is read on."""
        return self.replicas if self.standing is None else self.standing.readings[pair].replicas

    def behind(self, pair: Pair) -> bool:
        """Tell whether a comparison has no complete look yet."""
        return self.standing is not None and self.standing.readings[pair].row.behind

    def main(self, pair: Pair) -> Row | None:
        """Return a comparison over all points at the tuned rate as its look read it; None where seeds are fixed."""
        return None if self.standing is None else self.standing.readings[pair].row

    def axes(self, row: Row) -> list[AxisRow]:
        """Return the axes of a comparison: as its look read them, or measured now."""
        pair = row.cell, row.baseline
        return axis_rows(self.replicas, row) if self.standing is None else list(self.standing.readings[pair].axes)


def seeds(replicas: Selection, standing: Standing | None) -> str:
    """Say how many seeds cells have: `10 seeds`, or `10 to 80 seeds`."""
    if standing is None:
        return words.count(len(replicas.design.seeds), "seeds")
    there = [int((~np.isnan(steps)).any(axis=(0, 2)).sum()) for steps in replicas.steps]
    few, many = min(there), max(there)
    return words.count(many, "seeds") if few == many else f"{few} to {many} seeds"


def warnings(replicas: Selection, standing: Standing | None) -> list[str]:
    """Say what looks at fixed seeds before the plan make of its 5 %, and how far a stage is that is under way."""
    if standing is None:
        return []
    found = []
    if standing.stage is not None:
        before = max((look.seeds for look in standing.stages.looks if look.number < standing.stage.number), default=0)
        size, there = standing.stage.seeds - before, standing.complete - before
        if 0 < there < size:
            found.append(f"stage {standing.stage.number}: {there} of {size} seeds in, not looked at")
    fixed = sorted(
        {
            len(seeds)
            for past in replicas.design.past
            if past.fixed and replicas.design.against in past.labels and len(past.labels) > 1
            for seeds in past.seeds
            if _stored(replicas, past, seeds)
        }
    )
    if fixed:
        at_most = words.percent(chance(standing.stages, fixed))
        had = words.listing([str(n) for n in fixed])
        found.append(
            f"{had} seeds had been looked at before the plan was made: the chance of a false verdict is at most "
            f"{at_most}, not 5 %"
        )
    return found


def _stored(replicas: Selection, past: Past, seeds: frozenset[int]) -> bool:
    """Tell whether every replica of an earlier look is stored, at the seeds of the plan."""
    if not seeds <= set(replicas.design.seeds):
        return False
    cells = [replicas.cell(label) for label in replicas.design.labels if label in past.labels]
    return not bool(np.isin(replicas.state[cells][:, :, sorted(seeds)], (MISSING, NOT_PLANNED)).any())


LOOKED = ("cell", "baseline", "look", "seeds", "ratio", "low", "high", "share", "standing")
"""The columns of `intervals`."""


def intervals(standing: Standing | None) -> pd.DataFrame:
    """Return each comparison's ratio with its interval over all looks, at each of its looks: for the chart.

    `standing` is the word that the look gave; that of a look before the last is `open`.
    """
    rows = []
    for (cell, baseline), trail in (standing.trail if standing is not None else {}).items():
        for reading in trail:
            row, look = reading.row, reading.look
            if row.numbers is not None:
                word = reading.word if reading is trail[-1] else "open"
                limits = row.numbers.ratio, row.numbers.low, row.numbers.high
                rows.append((cell, baseline, look.number, look.seeds, *limits, look.share, word))
    return pd.DataFrame(rows, columns=list(LOOKED))
