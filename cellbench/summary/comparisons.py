"""Compare steps between two cells: over all points, at each value of each axis, at each point."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cellbench.statistics.arrays import Floats
from cellbench.statistics.comparison import (
    LEAST_SOLVED,
    AxisTest,
    HolmBeside,
    Ratio,
    axis,
    direction,
    holm,
    holm_levels,
    ratio,
    sooner,
    without_one,
)
from cellbench.statistics.intervals import LEAST_SEEDS, Estimate, Share, interval, p_equivalent, pool
from cellbench.statistics.looks import Look, corrected_by_share, share_of
from cellbench.statistics.survival import longer_budget
from cellbench.summary.design import Value, value_order
from cellbench.summary.fates import fate
from cellbench.summary.selection import Seeds, Selection, common

ALL, POINT = "all", "point"

STEPS, MULTIPLY_ADDS = "steps", "multiply_adds"
"""What a comparison of speed is in: `Row.metric`."""

_ROUNDING = 1e-9  # of an average of shares

TOO_SHORT = "cannot tell: the budget is too short"


@dataclass(frozen=True)
class Scope:
    """Which points a row is about."""

    kind: str
    """`all`, `point`, or the axis whose value is held."""
    fixed: dict[str, Value]
    """The coordinates that all its points share, by name of the axis."""
    points: tuple[int, ...]

    @property
    def text(self) -> str:
        """The scope as in the CSV files: `all`, `point`, or `<axis>=<value>`."""
        return self.kind if self.kind in (ALL, POINT) else f"{self.kind}={self.fixed[self.kind]}"


def scopes(replicas: Selection) -> list[Scope]:
    """List the scopes: all points; each value of each axis that has two or more; each point."""
    points, axes = replicas.points, replicas.design.axes
    found = [Scope(ALL, {}, tuple(range(len(points))))]
    for a, name in enumerate(axes):
        values = sorted({point[a] for point in points}, key=value_order)
        if len(values) > 1:
            found += [
                Scope(name, {name: v}, tuple(g for g, point in enumerate(points) if point[a] == v)) for v in values
            ]
    found += [Scope(POINT, dict(zip(axes, point, strict=True)), (g,)) for g, point in enumerate(points)]
    return found


@dataclass(frozen=True)
class Row:
    """One comparison of steps. `corrected` fills in what depends on the other comparisons of its family."""

    cell: str
    baseline: str
    at: str
    scope: Scope
    points: tuple[int, ...]
    """The points averaged: both cells present, at least one of the two solved."""
    uninformative: tuple[int, ...]
    """Points where neither cell solved in any replica: counted, not averaged."""
    absent: tuple[int, ...]
    """Points left out because they are not complete for both cells."""
    seeds: Seeds
    dropped: int
    """Seeds complete at some of the points, not at all."""
    each: tuple[Estimate, ...]
    """One difference of log steps for each of `points`."""
    numbers: Ratio | None
    """`None` where no point or no seed is left, or where no rate can be picked."""
    work: float
    """The ratio in multiply-adds."""
    sooner: Share
    mean_steps: float
    """The ratio of restricted mean steps, as a geometric mean over points."""
    share: float
    share_baseline: float
    """The solved shares, averaged over points."""
    budget: float = math.nan
    """The budget at which enough replicas of both cells may solve."""
    ends: tuple[float, ...] = ()
    ends_baseline: tuple[float, ...] = ()
    """The rates picked at an end of the range, one for each point where one was."""
    never: int = 0
    never_baseline: int = 0
    """Points where the cell, or the baseline, solved in no replica at all."""
    p_holm: float = math.nan
    p_equivalent_holm: float = math.nan
    comparisons: int = 0
    """The size of its family."""
    corrected_low: float = math.nan
    corrected_high: float = math.nan
    """The interval at the level at which Holm decides on this row: it excludes 1 exactly where `p_holm` is 0.05 or
    less."""
    rests_on: tuple[int, ...] = ()
    """Points without any one of which the verdict changes."""
    otherwise: str = ""
    """The verdict without the first of these."""
    without_low: float = math.nan
    """The least ratio with one point left out; `without_high` is the greatest."""
    without_high: float = math.nan
    metric: str = STEPS
    """`steps`, or `multiply_adds`: the steps times what one costs."""
    costs: tuple[Estimate, ...] = ()
    """The log of the ratio of multiply-adds per step, for each of `points`: of the settings that are picked."""
    apart: bool = False
    """Whether the cell or the baseline failed, diverged or broke a law: such a row belongs to no family."""
    look: Look | None = None
    """The look at which it was measured; `None`: seeds are fixed, and looked at once."""
    behind: bool = False
    """Whether its seeds are not all there at this look: it counts in its family with p = 1."""
    open: bool = False
    """Whether it was not decided yet, and the next stage trains more seeds of it."""
    settles_at: float = math.nan
    """The seeds at which some verdict follows, whatever the ratio."""
    found_at_cap: float = math.nan
    """The ratio that the last look would find 4 times in 5."""
    earlier: tuple[int, ...] = ()
    """The numbers of seeds at which the same question was looked at before these, where seeds were added by hand."""
    counts_as: float = math.nan
    """p after Holm as one of so many looks."""
    once: bool = False
    """Whether its claim holds for one look only."""

    @property
    def look_share(self) -> float:
        """The share of the 5 % that its look has."""
        return share_of(self.look)

    @property
    def pooled(self) -> Estimate | None:
        """The difference of log steps, averaged over points within each seed."""
        return pool(self.each) if self.each and self.numbers is not None else None

    @property
    def bound(self) -> str:
        """`at least` or `at most` where one cell never solved at some point, and counts as the whole budget there."""
        if self.never and not self.never_baseline:
            return "at least"
        return "at most" if self.never_baseline and not self.never else ""

    @property
    def identical(self) -> bool:
        """Whether both cells gave the same numbers for every seed at every point."""
        return bool(self.each) and all(estimate.is_zero for estimate in self.each)

    @property
    def can_show_likeness(self) -> bool:
        """Whether so many replicas of both cells solved that a ratio near 1 is no work of the budget."""
        least = min(self.share, self.share_baseline)
        return not self.never and not self.never_baseline and least >= LEAST_SOLVED - _ROUNDING

    @property
    def word(self) -> str:
        """The verdict from the p-values and the solved shares alone."""
        if self.numbers is None:
            return "no difference shown"
        near = self.p_equivalent_holm if self.can_show_likeness else 1.0
        found = direction(self.p_holm, near, self.numbers.ratio)
        if self.metric == MULTIPLY_ADDS and self.bound == ("at least" if self.numbers.ratio < 1 else "at most"):
            # a cell that never solved, of cheap steps: its whole budget is cheap, and what solving costs is not known
            return TOO_SHORT
        if found != "no difference shown" or self.can_show_likeness:
            return found
        # a budget that hides a likeness, or a difference, of two cells that both fail often
        both = max(self.share, self.share_baseline) < LEAST_SOLVED - _ROUNDING
        return TOO_SHORT if self.p_equivalent_holm <= 0.05 or both else found

    @property
    def ends_matter(self) -> bool:
        """Whether either cell's rate was picked at an end of the range at more than a quarter of the points."""
        return 4 * max(len(self.ends), len(self.ends_baseline)) > len(self.points)


@dataclass(frozen=True)
class Shared:
    """The points and seeds at which two cells can be compared; see `Row` for the words."""

    points: tuple[int, ...]
    seeds: Seeds
    uninformative: tuple[int, ...]
    dropped: int


def shared(replicas: Selection, a: int, b: int, points: Sequence[int]) -> Shared:
    """Find the points, among some, and the seeds at which two cells can be compared."""
    # a pair uses the seeds that are complete for both cells
    seeds_at = {g: tuple(sorted(set(replicas.complete(a, g)) & set(replicas.complete(b, g)))) for g in points}
    # where neither solves, both count as the budget: averaging such points in would draw the ratio towards 1
    uninformative = tuple(g for g in points if seeds_at[g] and not replicas.solves(a, g) and not replicas.solves(b, g))
    found = common([(g, seeds_at[g]) for g in points if g not in uninformative])
    return Shared(found.points, found.seeds, uninformative, found.dropped)


def measure(
    replicas: Selection, cell: str, baseline: str, at: str, scope: Scope, look: Look | None = None, behind: bool = False
) -> Row:
    """Compare two cells in one scope, before any correction.

    Args:
        at: `tuned` or `across`.
        look: the look that the replicas are at; None: seeds are fixed.
        behind: whether seeds of it are still missing.
    """
    design = replicas.design
    a, b = replicas.cell(cell), replicas.cell(baseline)
    found = shared(replicas, a, b, scope.points)
    points, seeds, uninformative = found.points, found.seeds, found.uninformative
    absent = tuple(g for g in scope.points if g not in points and g not in uninformative)
    # paired by seed: one difference of log steps per point
    each = tuple(replicas.speed(a, g, seeds, at) - replicas.speed(b, g, seeds, at) for g in points) if seeds else ()
    known = bool(each) and not math.isnan(each[0].centre)

    def each_seed(of: int) -> Floats:
        """Return (points, 3, seeds): log steps, restricted steps, solved."""
        return np.stack([replicas.values(of, g, seeds, at) for g in points])

    def ends(of: int) -> tuple[float, ...]:
        """List the rates that a cell picked at an end of the range."""
        if at != "tuned":
            return ()
        at_end = [replicas.at_end(of, g, seeds) for g in points]
        return tuple(rate for rate in at_end if not math.isnan(rate))

    row = Row(
        cell, baseline, at, scope, points, uninformative, absent, seeds, found.dropped, each, None,
        math.nan, Share(math.nan, math.nan, math.nan), math.nan, math.nan, math.nan, look=look, behind=behind,
    )  # fmt: skip
    fates = {fate(replicas, cell), fate(replicas, baseline)}
    row = replace(row, apart=fates != {""})
    # a cell that raised or was not finite throughout has no speed, and one that breaks a law has none to compare
    if not known or fates & {"failed", "diverged"}:
        return row
    # the ratio and its uncertainty; then what only describes: work, seeds sooner, restricted means, solved shares
    numbers = ratio(pool(each), design.ratio_of_interest, row.look_share)
    costs = tuple(replicas.log_cost(a, b, g, seeds, at) for g in points)
    one, two = each_seed(a), each_seed(b)
    won = sooner(one[:, 0].mean(0), two[:, 0].mean(0))
    restricted = one[:, 1].mean(1) / two[:, 1].mean(1)
    return replace(
        row,
        numbers=numbers,
        work=numbers.ratio * math.exp(float(np.mean([cost.centre for cost in costs]))),
        costs=costs,
        sooner=won if len(seeds) >= LEAST_SEEDS else Share(won.share, math.nan, math.nan),
        mean_steps=math.exp(float(np.log(restricted).mean())),
        share=float(one[:, 2].mean()),
        share_baseline=float(two[:, 2].mean()),
        budget=max(longer_budget(y[0], math.log(design.max_steps), LEAST_SOLVED) for y in (*one, *two)),
        ends=ends(a),
        ends_baseline=ends(b),
        never=sum(not replicas.solves(a, g) for g in points),
        never_baseline=sum(not replicas.solves(b, g) for g in points),
    )


def in_multiply_adds(row: Row, of_interest: float) -> Row:
    """Turn a comparison of steps into one of the multiply-adds until solved, per example.

    What a step costs is known exactly, so each point's difference is shifted by a constant; their spread over seeds
    stays, if cells cost the same at all points. Where options that change the cost are tuned, the cost is that of the
    setting picked for each seed.
    """
    if row.numbers is None:
        return replace(row, metric=MULTIPLY_ADDS)
    each = tuple(Estimate(e.centre + c.centre, e.psi + c.psi) for e, c in zip(row.each, row.costs, strict=True))
    return replace(row, metric=MULTIPLY_ADDS, each=each, numbers=ratio(pool(each), of_interest, row.look_share))


def _read(row: Row, p: float | None) -> float:
    """Read a p-value of a row as its family does: by its look's share; `nan` for a row of no family.

    With looks, a comparison that has no p yet counts with p = 1: it is a hypothesis of the family all the same.
    """
    if row.apart:
        return math.nan
    if row.look is not None and (row.behind or p is None or math.isnan(p)):
        return 1.0
    return math.nan if p is None else corrected_by_share(p, row.look_share)


def corrected(rows: Sequence[Row], log_bound: float) -> list[Row]:
    """Correct one family by Holm, and find the points that each row's verdict rests on."""
    p = np.array([_read(row, row.numbers.p if row.numbers else None) for row in rows])
    p_near = np.array([_read(row, row.numbers.p_equivalent if row.numbers else None) for row in rows])
    p_holm, near_holm, levels = holm(p), holm(p_near), holm_levels(p)
    size = int((~np.isnan(p)).sum())
    found = []
    for i, row in enumerate(rows):
        row = replace(row, p_holm=float(p_holm[i]), p_equivalent_holm=float(near_holm[i]), comparisons=size)
        if row.numbers is not None and not row.apart and not math.isnan(levels[i]):
            limits = interval(pool(row.each), 1 - (1 - float(levels[i])) * row.look_share)
            row = replace(row, corrected_low=math.exp(limits.low), corrected_high=math.exp(limits.high))
        # the ratio with each point left out in turn
        left_out = without_one(row.each) if row.numbers else []
        if left_out:
            ratios = [math.exp(estimate.centre) for estimate in left_out]
            row = replace(row, without_low=min(ratios), without_high=max(ratios))
        rests, otherwise = [], ""
        if left_out and not row.apart:
            # the verdict with each point left out: the same family, with this row's p changed
            rest, rest_near = HolmBeside(np.delete(p, i)), HolmBeside(np.delete(p_near, i))
            for g, estimate in zip(row.points, left_out, strict=True):
                one = rest(corrected_by_share(interval(estimate).p, row.look_share))
                near = rest_near(corrected_by_share(p_equivalent(estimate, log_bound), row.look_share))
                near = near if row.can_show_likeness else 1.0
                word = direction(one, near, math.exp(estimate.centre))
                # from faster to slightly faster is no change: it is the same claim
                known = "no difference shown" if row.word == TOO_SHORT else row.word
                if word.removeprefix("slightly ") != known.removeprefix("slightly "):
                    rests.append(g)
                    otherwise = otherwise or word
        found.append(replace(row, rests_on=tuple(rests), otherwise=otherwise))
    return found


@dataclass(frozen=True)
class AxisRow:
    """Whether one comparison's ratio depends on one axis."""

    cell: str
    baseline: str
    axis: str
    values: tuple[Value, ...]
    estimates: tuple[Estimate, ...]
    """One per value, over the settings of the other axes that are present at all values."""
    settings: int
    """How many settings of the other axes those are."""
    test: AxisTest
    differ_holm: float = math.nan
    share: float = 1.0
    """The share of the 5 % that its look has."""

    @property
    def differs(self) -> bool:
        """Whether the ratio differs between values, after Holm."""
        return self.differ_holm <= 0.05

    @property
    def turns(self) -> bool:
        """Whether the order of the cells is reversed between values; asked only where the ratio differs after Holm."""
        return self.differs and self.test.crossing / self.share <= 0.05


def axis_rows(replicas: Selection, row: Row) -> list[AxisRow]:
    """Test each axis of a comparison over all points; an axis is left out where no setting has all its values."""
    found: list[AxisRow] = []
    if row.apart:
        return found
    if row.behind or row.numbers is None or len(row.seeds) < LEAST_SEEDS:
        return _unread(replicas, row) if row.look is not None else found
    for a, name in enumerate(replicas.design.axes):
        # by setting of the other axes, the estimate at each value of this one
        at: dict[tuple[Value, ...], dict[Value, Estimate]] = {}
        for g, estimate in zip(row.points, row.each, strict=True):
            point = replicas.points[g]
            at.setdefault((*point[:a], *point[a + 1 :]), {})[point[a]] = estimate
        values = tuple(sorted({v for by_value in at.values() for v in by_value}, key=value_order))
        # only settings present at all values, so that each value is averaged over the same settings
        whole = [by_value for by_value in at.values() if len(by_value) == len(values)]
        if len(values) < 2 or not whole:
            continue
        estimates = tuple(pool([by_value[v] for by_value in whole]) for v in values)
        found.append(
            AxisRow(row.cell, row.baseline, name, values, estimates, len(whole), axis(estimates), share=row.look_share)
        )
    return found


def _unread(replicas: Selection, row: Row) -> list[AxisRow]:
    """Return the axes of a comparison that cannot be read at its look: in their family they count with p = 1."""
    found = []
    for a, name in enumerate(replicas.design.axes):
        values = tuple(sorted({point[a] for point in replicas.points}, key=value_order))
        if len(values) > 1:
            found.append(AxisRow(row.cell, row.baseline, name, values, (), 0, AxisTest(1.0, 1.0)))
    return found


def corrected_axes(rows: Iterable[AxisRow]) -> list[AxisRow]:
    """Correct `differ` by Holm over the family of all cells and axes."""
    rows = list(rows)
    p = holm([corrected_by_share(row.test.differ, row.share) for row in rows])
    return [replace(row, differ_holm=float(x)) for row, x in zip(rows, p, strict=True)]
