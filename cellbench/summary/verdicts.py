"""Give each comparison its verdict, in fixed words, and its sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cellbench.statistics.intervals import LEAST_SEEDS, interval
from cellbench.summary import words
from cellbench.summary.comparisons import ALL, AxisRow, Row
from cellbench.summary.design import Design, axis_word, point_name, value_word
from cellbench.summary.fates import DESPITE, FATED, breaks, fate, partly, why
from cellbench.summary.selection import Replicas

FEWEST_POINTS = 3
"""Rows over fewer points only describe: at one point intervals cover 84 % in the worst case, from three on 95 %."""

WITHIN = " within the rates tried"

NO_CLAIM = (*FATED, "cannot tell", "too few seeds", "identical", "description")
"""Verdicts that say nothing about speed, so that no doubt about it is added to them."""


@dataclass(frozen=True)
class Verdict:
    """The verdict on one cell against one baseline, over all points at the tuned rate, as published."""

    cell: str
    baseline: str
    verdict: str
    sentence: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Context:
    """What the words about one row depend on, beside the row itself."""

    replicas: Replicas
    axes: tuple[AxisRow, ...] = ()
    """The axes of its pair, for the row over all points at the tuned rate; else empty."""
    across: Row | None = None
    """The same comparison across the rates, for a tuned row."""
    singles: tuple[Row, ...] = ()
    """The same comparison at each single point, for the row over all points."""

    @property
    def design(self) -> Design:
        return self.replicas.design

    def name(self, point: int) -> str:
        """Name a grid point in words."""
        return point_name(self.design.axes, self.replicas.points[point])


def turning(context: Context) -> list[AxisRow]:
    """List the axes along which the order of the cells is reversed, the surest first."""
    return sorted((a for a in context.axes if a.turns), key=lambda a: a.test.crossing)


def word(row: Row, context: Context) -> str:
    """Choose the verdict's exact words."""
    plain = plain_word(row, context)
    if plain in NO_CLAIM:
        return plain
    within = WITHIN if row.ends_matter else ""
    broken = any(breaks(context.replicas, label) for label in (row.cell, row.baseline))
    return f"{plain}{within}{DESPITE if broken else ''}"


def plain_word(row: Row, context: Context) -> str:
    """Choose the verdict without regard to ends of the range; the first case that applies counts."""
    # a cell, or its baseline, that could not learn has no speed
    if found := fate(context.replicas, row.cell):
        return found
    if fate(context.replicas, row.baseline):
        return "cannot tell"
    # nothing to compare, then too little to compare with
    if row.uninformative and not row.points:
        return "cannot tell"
    if row.numbers is None or len(row.seeds) < LEAST_SEEDS:
        return "too few seeds"
    if row.identical:
        return "identical"
    # one ratio over all points would hide that the order is reversed along an axis
    if row.scope.kind == ALL and row.at == "tuned" and turning(context):
        first = turning(context)[0]
        return f"depends on {axis_word(first.axis, first.values)}"
    # intervals over so few points cover too little for a claim, unless they are all the points there are
    if row.scope.kind != ALL and len(row.points) < FEWEST_POINTS:
        return "description"
    return row.word


def sentence(row: Row, context: Context) -> str:
    """Write the verdict in sentences: what it says, what failed or diverged, and rates at the end of the range."""
    parts = [_sentence(row, context)]
    if not row.apart:
        parts += [partly(context.replicas, label) for label in (row.cell, row.baseline)]
        parts += [_edge(row, context)] if WITHIN in word(row, context) else []
        parts += [_despite(context.replicas, label) for label in (row.cell, row.baseline)]
    return " ".join(filter(None, parts))


def _sentence(row: Row, context: Context) -> str:
    design, verdict = context.design, plain_word(row, context)
    cell, base = row.cell, row.baseline
    if verdict in FATED:
        return f"{why(context.replicas, cell)}{_described(row, verdict)}"
    if row.apart:
        return f"{why(context.replicas, base)} Nothing can be compared with it."
    if verdict == "cannot tell":
        within = f"within {design.max_steps} steps"
        return f"Neither {cell} nor {base} solved the task {within}; their speeds cannot be compared."
    if verdict == "too few seeds":
        return f"With {words.count(len(row.seeds), 'seeds')} no uncertainty can be given."
    if verdict == "identical":
        return (
            f"{cell} and {base} gave the same steps for every seed. (Same cell, same key? Or all solved at the first "
            f"evaluation: evaluate more often.)"
        )
    numbers = row.numbers
    assert numbers is not None  # the verdict would be too few seeds
    if verdict.startswith("depends on"):
        return _depends(row, context)
    if verdict == "equivalent":
        m = design.ratio_of_interest
        return (
            f"{cell} and {base} need the same steps to within {_span(1 / m, m)} (ratio {words.ratio(numbers.ratio)}, "
            f"90 % interval {_span(numbers.low_90, numbers.high_90)})."
        )
    if verdict == "no difference shown":
        told = ""
        if numbers.sd > 0:
            told = (
                f" {_seeds(numbers.seeds_needed)} would tell a ratio of {words.number(design.ratio_of_interest)} "
                f"apart; these {len(row.seeds)} tell {words.ratio(numbers.detectable)}."
            )
        between = _span(numbers.low, numbers.high).replace(" to ", " and ")
        return (
            f"No difference was shown: the ratio lies between {between} (95 %).{told} "
            f"This is not evidence that they are equal."
        )
    small = ""
    if verdict.startswith("slightly"):
        small = f", a difference smaller than the {words.number(design.ratio_of_interest)} set as of interest"
    return f"{_needs(row)}{small}."


def _despite(replicas: Replicas, label: str) -> str:
    return why(replicas, label) if breaks(replicas, label) else ""


def _described(row: Row, verdict: str) -> str:
    """Give the ratio of a cell that breaks a law as a description, and say how to get a verdict."""
    if verdict != "broken law" or row.numbers is None:
        return ""
    numbers = row.numbers
    limits = "" if math.isnan(numbers.low) else f" (95 % {_span(numbers.low, numbers.high)})"
    return (
        f" As a description: {row.bound}{' ' if row.bound else ''}{words.ratio(numbers.ratio)} times the steps of "
        f"{row.baseline}{limits}; `--trust` makes it a verdict."
    )


def _span(low: float, high: float) -> str:
    return f"{words.limit(low)} to {words.limit(high)}"


def _needs(row: Row) -> str:
    numbers = row.numbers
    assert numbers is not None
    bound = f"{row.bound} " if row.bound else ""
    after = f" after correction for {row.comparisons} comparisons" if row.comparisons > 1 else ""
    return (
        f"{row.cell} needs {bound}{words.ratio(numbers.ratio)} times the steps of {row.baseline} (95 % interval "
        f"{_span(numbers.low, numbers.high)}; {words.count(len(row.seeds), 'seeds')}, "
        f"{words.count(len(row.points), 'points')}; {words.p(row.p_holm)}{after})"
    )


def _seeds(needed: float) -> str:
    return "Over 1000 seeds" if math.isinf(needed) else words.count(int(needed), "seeds")


def _depends(row: Row, context: Context) -> str:
    first = turning(context)[0]
    numbers = row.numbers
    assert numbers is not None
    parts = []
    for i, (value, estimate) in enumerate(zip(first.values, first.estimates, strict=True)):
        limits = interval(estimate)
        span = _span(math.exp(limits.low), math.exp(limits.high))
        ratio = words.ratio(math.exp(estimate.centre))
        at = f"at {value_word(first.axis, value)}"
        if i == 0:
            parts.append(f"{row.cell} needs {ratio} times the steps of {row.baseline} {at} (95 % interval {span})")
        else:
            parts.append(f"{ratio} times {at} ({span})")
    return (
        f"The order turns round with {axis_word(first.axis, first.values)}: {', '.join(parts)}. "
        f"One ratio over all points would hide this ({words.ratio(numbers.ratio)})."
    )


def at_ends(ends: Sequence[float], design: Design) -> list[str]:
    """Say where one cell's rates were picked, for example `largest rate tried (0.3) at 3`."""
    rates = {"largest": max(design.rates), "smallest": min(design.rates)}
    return [
        f"{name} rate tried ({words.number(rate)}) at {list(ends).count(rate)}"
        for name, rate in rates.items()
        if rate in ends
    ]


def _edge(row: Row, context: Context) -> str:
    total = words.count(len(row.points), "points")
    said = {row.cell: at_ends(row.ends, context.design), row.baseline: at_ends(row.ends_baseline, context.design)}
    said = {label: ends for label, ends in said.items() if ends}
    if len(said) == 2 and said[row.cell] == said[row.baseline]:
        said = {"Both": said[row.cell]}
    parts = [
        f"{who} {'were' if who == 'Both' else 'was'} fastest at the {words.listing(ends)} of {total}"
        for who, ends in said.items()
    ]
    return f"{', '.join(parts)}; a wider range may change this."
