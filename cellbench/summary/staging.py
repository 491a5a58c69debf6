"""Replay the looks of an experiment whose seeds are added until each comparison is decided.

Nothing is remembered: what each look said follows from the stored replicas and the plan, so the same replicas give the
same report, however they were made.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cellbench.statistics.looks import Look, finds, replay, settles_at
from cellbench.summary.comparisons import ALL, AxisRow, Row, Scope, axis_rows, corrected, corrected_axes, measure
from cellbench.summary.plans import Stages
from cellbench.summary.selection import MISSING, NOT_PLANNED, Selection
from cellbench.summary.verdicts import UNDECIDED, Context, plain_word

Pair = tuple[str, str]
"""A cell and its baseline."""


@dataclass(frozen=True)
class Reading:
    """What a look says of one comparison, over all points at the tuned rate, corrected for the others."""

    row: Row
    axes: tuple[AxisRow, ...]
    replicas: Selection
    """The replicas of the look's seeds."""

    @property
    def look(self) -> Look:
        assert self.row.look is not None
        return self.row.look

    @property
    def seeds(self) -> int:
        """The seeds that it was read at."""
        return 0 if self.row.behind else self.look.seeds

    @property
    def word(self) -> str:
        """The verdict, without regard to ends of the range."""
        return plain_word(self.row, Context(self.replicas, axes=self.axes))

    @property
    def closed(self) -> bool:
        """Whether no further seeds are asked for: it is decided, or cannot be."""
        return not self.row.behind and self.word not in (*UNDECIDED, "open")


@dataclass(frozen=True)
class Standing:
    """What the looks say so far, and what is trained next.

    Attributes:
        stages: the plan.
        readings: each comparison at the look where it was closed, else at its last complete one; one that has none
            yet is read at no seeds, and is open.
        trail: all readings of each comparison, in order.
        stage: the look that the next stage trains for; None if nothing is open below the cap.
        targets: the seeds that each cell is to have, by label.
        complete: the seeds that are complete for all cells of the stage.
        replicas: all that are planned.
    """

    stages: Stages
    readings: Mapping[Pair, Reading]
    trail: Mapping[Pair, tuple[Reading, ...]]
    stage: Look | None
    targets: Mapping[str, int]
    complete: int
    replicas: Selection

    @property
    def most(self) -> dict[str, int]:
        """The seeds that each cell has at most, by label, if nothing more is decided."""
        last, found = self.stages.looks[-1].seeds, dict(self.targets)
        for pair, reading in self.readings.items():
            if reading.row.open:
                found |= dict.fromkeys(pair, last)
        return found

    def stored(self, before: int) -> int:
        """Count the stored replicas of the stage, of the seeds from `before` on."""
        if self.stage is None:
            return 0
        cells = [self.replicas.cell(label) for label in self.in_stage]
        state = self.replicas.state[cells][:, :, before : self.stage.seeds]
        return int((~np.isin(state, (MISSING, NOT_PLANNED))).sum())

    @property
    def in_stage(self) -> list[str]:
        """The labels of the cells that the stage trains."""
        if self.stage is None:
            return []
        return [label for label, n in self.targets.items() if n == self.stage.seeds]

    @property
    def looked(self) -> int:
        """The number of the last look that some comparison is at; 0 before the first."""
        return max((r.look.number for r in self.readings.values() if not r.row.behind), default=0)

    @property
    def decided(self) -> Counter[str]:
        """How many comparisons are closed, by word, the most frequent first."""
        words = [reading.word for reading in self.readings.values() if reading.closed]
        return Counter(dict(Counter(words).most_common()))

    @property
    def open(self) -> list[Reading]:
        """The comparisons that are not closed."""
        return [reading for reading in self.readings.values() if not reading.closed]

    @property
    def spread(self) -> tuple[int, int]:
        """The fewest and the most seeds that a comparison was read at."""
        seeds = [reading.look.seeds for reading in self.readings.values() if not reading.row.behind]
        return min(seeds, default=0), max(seeds, default=0)


def first(replicas: Selection, seeds: int) -> Selection:
    """Select the replicas of the first so many seeds."""
    if seeds == len(replicas.design.seeds):
        return replicas
    return replace(
        replicas,
        design=replace(replicas.design, seeds=replicas.design.seeds[:seeds]),
        state=replicas.state[:, :, :seeds],
        steps=replicas.steps[:, :, :seeds],
        tie_break=replicas.tie_break[:, :, :seeds],
        scores={metric: table[:, :, :seeds] for metric, table in replicas.scores.items()},
        diverged_at=replicas.diverged_at[:, :, :seeds],
        fates={},
        _complete={},
        _tuned={},
        _values={},
    )


def stand(replicas: Selection, stages: Stages, pairings: Sequence[Pair]) -> Standing:
    """Make every look again.

    Args:
        replicas: all that are planned, up to the most seeds.
        stages: the plan.
        pairings: the comparisons.
    """
    everywhere = Scope(ALL, {}, tuple(range(len(replicas.points))))
    log_bound = math.log(replicas.design.ratio_of_interest)
    there = {label: _there(replicas, replicas.cell(label)) for label in replicas.design.labels}
    sliced = {look.seeds: first(replicas, look.seeds) for look in stages.looks}
    trail: dict[Pair, list[Reading]] = {pair: [] for pair in pairings}

    def read(pair: Pair, look: Look) -> Reading:
        behind = min(there[label] for label in pair) < look.seeds
        row = measure(sliced[look.seeds], *pair, "tuned", everywhere, look, behind)
        return Reading(row, tuple(axis_rows(sliced[look.seeds], row)), sliced[look.seeds])

    def judge(family: Sequence[Reading]) -> list[Reading]:
        rows = corrected([reading.row for reading in family], log_bound)
        axes = corrected_axes(axis for reading in family for axis in reading.axes)
        judged = []
        for reading, row in zip(family, rows, strict=True):
            mine = tuple(a for a in axes if (a.cell, a.baseline) == (row.cell, row.baseline))
            pair = row.cell, row.baseline
            before = trail[pair][-1] if trail[pair] else None
            if before is not None and before.look == reading.look:
                judged.append(before)  # closed: it keeps the numbers of its look
                continue
            found = replace(reading, row=row, axes=mine)
            if not row.behind:
                trail[pair].append(found)
            judged.append(found)
        _plan_seeds(judged, stages, trail)
        return judged

    found = replay(pairings, stages.looks, read, judge, lambda r: r.closed, lambda r: r.row.behind)
    readings = {}
    for pair in pairings:
        if pair not in found:
            nothing = first(replicas, 0)
            row = measure(nothing, *pair, "tuned", everywhere, stages.looks[0], behind=True)
            readings[pair] = Reading(replace(row, open=True), (), nothing)
            continue
        reading = trail[pair][-1]
        below = reading.look.number < len(stages.looks)
        is_open = not reading.closed and below
        readings[pair] = replace(reading, row=replace(reading.row, open=is_open)) if is_open else reading
    stage = _next(readings, stages)
    targets = _targets(readings, stage, dict.fromkeys(replicas.design.labels, stages.first))
    in_stage = [label for label, n in targets.items() if stage is not None and n == stage.seeds]
    complete = min((there[label] for label in in_stage), default=0)
    whole = {pair: tuple(each) for pair, each in trail.items()}
    return Standing(stages, readings, whole, stage, targets, complete, replicas)


def _there(replicas: Selection, cell: int) -> int:
    """Count the first seeds of which every replica of a cell is stored; what a machine lost counts as stored."""
    state = replicas.state[cell][:, :, : len(replicas.tried(cell))]  # other cells may be tried at more settings
    gone = np.flatnonzero(np.isin(state, (MISSING, NOT_PLANNED)).any(axis=(0, 2)))
    return int(gone[0]) if len(gone) else len(replicas.design.seeds)


def _plan_seeds(judged: list[Reading], stages: Stages, trail: dict[Pair, list[Reading]]) -> None:
    """Say of each comparison that was just read, and is not decided, how many seeds settle it."""
    differ = sum(not r.row.p_holm <= 0.05 for r in judged if not r.row.apart)
    near = sum(not r.row.p_equivalent_holm <= 0.05 for r in judged if not r.row.apart)
    log_bound = math.log(judged[0].replicas.design.ratio_of_interest) if judged else 0.0
    for i, reading in enumerate(judged):
        row, pair = reading.row, (reading.row.cell, reading.row.baseline)
        if row.behind or row.numbers is None or not math.isnan(row.settles_at) or reading.closed:
            continue
        share = stages.looks[reading.look.number].share if reading.look.number < len(stages.looks) else stages.after
        seeds = settles_at(row.numbers.sd, share, log_bound, max(1, differ), max(1, near))
        last = stages.looks[-1]
        at_cap = math.nan
        if row.numbers.sd > 0:
            at_cap = finds(row.numbers.sd, last.seeds, last.share, max(1, differ))
        judged[i] = replace(reading, row=replace(row, settles_at=seeds, found_at_cap=at_cap))
        trail[pair][-1] = judged[i]


def _next(readings: Mapping[Pair, Reading], stages: Stages) -> Look | None:
    """Choose the look of the next stage: the earliest that an open comparison has not reached."""
    waiting = [
        stages.looks[0 if reading.row.behind else reading.look.number]
        for reading in readings.values()
        if reading.row.open
    ]
    return min(waiting, key=lambda look: look.number) if waiting else None


def _targets(readings: Mapping[Pair, Reading], stage: Look | None, least: Mapping[str, int]) -> dict[str, int]:
    """Count the seeds that each cell is to have: the first look's, those of the looks it was read at, the stage's."""
    targets = dict(least)
    for pair, reading in readings.items():
        seeds = 0 if reading.row.behind else reading.look.seeds
        reached = 0 if reading.row.behind else reading.look.number
        if stage is not None and reading.row.open and reached < stage.number:
            seeds = stage.seeds
        for label in pair:
            targets[label] = max(targets[label], seeds)
    return targets
