"""Give each comparison its verdict, in fixed words, and its sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cellbench.statistics.comparison import LEAST_SOLVED
from cellbench.statistics.intervals import LEAST_SEEDS, interval
from cellbench.summary import by_hand, looked, words
from cellbench.summary.comparisons import ALL, MULTIPLY_ADDS, TOO_SHORT, AxisRow, Row
from cellbench.summary.design import Design, axis_word, point_name, value_word
from cellbench.summary.fates import DESPITE, FATED, breaks, fate, partly, why
from cellbench.summary.selection import Selection

FEWEST_POINTS = 3
"""Rows over fewer points only describe: at one point intervals cover 84 % in the worst case, from three on 95 %."""

WITHIN = " within the rates tried"

UNDECIDED = ("no difference shown", "too few seeds", TOO_SHORT)
"""Verdicts that more seeds may change: `open` where the next stage trains them."""

NO_CLAIM = (*FATED, "cannot tell", TOO_SHORT, "too few seeds", "identical", "description", "open")
"""Verdicts that say nothing about speed, so that no doubt about it is added to them."""


@dataclass(frozen=True)
class Finding:
    """The verdict on one question beside speed: an accuracy, or the cost to solve.

    Attributes:
        about: `trained` or `longest` (the accuracy at that length), or `cost` (multiply-adds to solve).
        question: the same in words: `at the trained length`, `at <parameter>=<longest>` or `cost to solve`.
        verdict: its exact words.
        clause: the verdict with its numbers, to go on a sentence with.
        estimate, low, high, p: percentage points, or a ratio, with its 95 % interval and the p after Holm; `None`: not
            known.
        bound: `at least` or `at most` where the estimate is a bound, because a cell often did not solve the task.
    """

    about: Literal["trained", "longest", "cost"]
    question: str
    verdict: str
    clause: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    bound: str = ""

    def __post_init__(self) -> None:
        for name in ("estimate", "low", "high", "p"):
            x = getattr(self, name)
            if x is not None and math.isnan(x):
                object.__setattr__(self, name, None)  # unlike nan, equal to itself

    @property
    def claims(self) -> bool:
        """Whether a difference is shown."""
        return self.verdict.removeprefix("slightly ").startswith(("higher", "lower", "cheaper", "costlier"))


@dataclass(frozen=True)
class Verdict:
    """The verdict on one cell against one baseline, over all points at the tuned rate, as published."""

    cell: str
    baseline: str
    verdict: str
    sentence: str
    notes: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    """Accuracy at the trained length, at the longest length, and the cost to solve, as far as they were measured."""

    @property
    def headline(self) -> str:
        """The verdict on speed, then each other difference that is shown."""
        shown = [finding.clause for finding in self.findings if finding.claims]
        of_speed = f"{self.verdict} in steps" if shown and not self.verdict.startswith(NO_CLAIM) else self.verdict
        return "; ".join([of_speed, *shown])

    @property
    def others(self) -> list[str]:
        """The findings that the headline lacks, in words; of a cell without a speed, the verdict has said them."""
        return [finding.clause for finding in self.findings if not finding.claims and finding.verdict != self.verdict]


@dataclass(frozen=True)
class Context:
    """What the words about one row depend on, beside the row itself."""

    replicas: Selection
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


def cost(row: Row, context: Context) -> Finding:
    """Give a comparison in multiply-adds its verdict, with the ratio and its interval."""
    found, question = word(row, context), "cost to solve"
    if row.numbers is None or found.startswith((*FATED, "cannot tell")):
        return Finding("cost", question, found, f"{question}: {found}")
    numbers, bound = row.numbers, f"{row.bound} " if row.bound else ""
    limits = ""
    if not math.isnan(numbers.low):
        limits = f" (95 % {_span(numbers.low, numbers.high)}; {words.p(row.p_holm)})"
    clause = f"{question}: {found}, {bound}{words.ratio(numbers.ratio)} times the multiply-adds{limits}"
    return Finding("cost", question, found, clause, numbers.ratio, numbers.low, numbers.high, row.p_holm, row.bound)


def turning(context: Context) -> list[AxisRow]:
    """List the axes along which the order of the cells is reversed, the surest first."""
    return sorted((a for a in context.axes if a.turns), key=lambda a: a.test.crossing)


COST = {"faster": "cheaper", "slower": "costlier"}
"""What the words for speed are for cost."""


def word(row: Row, context: Context) -> str:
    """Choose the verdict's exact words."""
    plain = plain_word(row, context)
    if row.metric == MULTIPLY_ADDS:
        plain = " ".join(COST.get(each, each) for each in plain.split(" "))
    if plain in NO_CLAIM:
        return plain
    within = WITHIN if row.ends_matter else ""
    broken = any(breaks(context.replicas, label) for label in (row.cell, row.baseline))
    return f"{plain}{within}{DESPITE if broken else ''}{by_hand.ONCE if row.once else ''}"


def plain_word(row: Row, context: Context) -> str:
    """Choose the verdict without regard to ends of the range and to earlier looks."""
    found = _plain_word(row, context)
    return "open" if row.open and found in UNDECIDED else found


def _plain_word(row: Row, context: Context) -> str:
    """Choose the verdict as if no seeds were added; the first case that applies counts."""
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
        parts += [_few_seeds(row, context)]
        parts += [partly(context.replicas, label) for label in (row.cell, row.baseline)]
        parts += [_edge(row, context)] if WITHIN in word(row, context) else []
        parts += [_despite(context.replicas, label) for label in (row.cell, row.baseline)]
        parts += [by_hand.said(row)] if row.once else []
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
    if verdict == "open":
        return looked.open_sentence(row, design)
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
    if verdict == TOO_SHORT:
        budget = _nice_above(row.budget)
        return (
            f"{cell} solved {words.percent(row.share)} and {base} {words.percent(row.share_baseline)} within "
            f"{design.max_steps} steps, which draws their ratio ({words.ratio(numbers.ratio)}) towards 1. From "
            f"{words.percent(LEAST_SOLVED)} on it can show that cells are alike: try `--set train.max_steps={budget}`."
        )
    if verdict == "equivalent":
        m = design.ratio_of_interest
        return (
            f"{cell} and {base} need the same steps to within {_span(1 / m, m)} (ratio {words.ratio(numbers.ratio)}, "
            f"90 % {looked.interval_word(row)} {_span(numbers.low_90, numbers.high_90)}{looked.decided(row, design)})."
        )
    if verdict == "no difference shown" and row.look is not None:
        return looked.at_cap(row, design)
    if verdict == "no difference shown":
        told = ""
        if numbers.sd > 0:
            needed = "over 1000" if math.isinf(numbers.seeds_needed) else f"{numbers.seeds_needed:.0f}"
            told = (
                f" {words.count(len(row.seeds), 'seeds')} can detect a factor of {words.ratio(numbers.detectable)}; "
                f"for {words.number(design.ratio_of_interest)} take {needed}."
            )
        bound = f"{row.bound.capitalize()} " if row.bound else ""
        return (
            f"{bound}{words.ratio(numbers.ratio)} times {words.owned(base)} steps; {_span(numbers.low, numbers.high)} "
            f"fit the data (95 %).{told} This does not show that they are equal."
        )
    small = ""
    if verdict.startswith("slightly"):
        small = f", a difference smaller than the {words.number(design.ratio_of_interest)} set as of interest"
    return f"{_needs(row, design)}{small}."


FEW_SEEDS = 5
"""Up to so many seeds a claim says itself that it rests on the t distribution."""


def _few_seeds(row: Row, context: Context) -> str:
    n = len(row.seeds)
    claims = plain_word(row, context).startswith(("faster", "slower", "slightly", "equivalent", "depends"))
    return f"This {rests_on_t(n)}." if claims and says_few(row) else ""


def says_few(row: Row) -> bool:
    """Tell whether a verdict must say itself that it rests on the t distribution."""
    return row.scope.kind == ALL and row.at == "tuned" and len(row.seeds) <= FEW_SEEDS


def rests_on_t(n: int) -> str:
    """Say what the t distribution makes possible: a p that no other paired test of n seeds can reach."""
    least = 2.0 ** (1 - n)
    limit = "reach p = 0.05" if least > 0.05 else f"go below p = {least:.2g}"
    return f"rests on the t distribution; no assumption-free test of {n} seeds can {limit}"


def _despite(replicas: Selection, label: str) -> str:
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


def _nice_above(steps: float) -> int:
    """Round steps up to 1, 2, 3 or 5 times a power of ten.

    >>> _nice_above(372), _nice_above(2000.0), _nice_above(5001)
    (500, 2000, 10000)
    """
    power: int = 10 ** int(math.log10(steps))
    return next(digit * power for digit in (1, 2, 3, 5, 10) if digit * power >= steps * (1 - 1e-9))


_span = words.span


def _needs(row: Row, design: Design) -> str:
    numbers = row.numbers
    assert numbers is not None
    bound = f"{row.bound} " if row.bound else ""
    said = [f"{row.comparisons} comparisons"] if row.comparisons > 1 else []
    said = ["looks", *said] if row.look is not None else said
    after = f" after correction for {words.listing(said)}" if said else ""
    seeds = looked.decided(row, design) or f"; {words.count(len(row.seeds), 'seeds')}"
    points = f"{';' if row.look is not None else ','} {words.count(len(row.points), 'points')}"
    return (
        f"{row.cell} needs {bound}{words.ratio(numbers.ratio)} times the steps of {row.baseline} (95 % "
        f"{looked.interval_word(row)} {_span(numbers.low, numbers.high)}{seeds}{points}; {words.p(row.p_holm)}{after})"
    )


def _depends(row: Row, context: Context) -> str:
    first = turning(context)[0]
    numbers = row.numbers
    assert numbers is not None
    parts = []
    for i, (value, estimate) in enumerate(zip(first.values, first.estimates, strict=True)):
        limits = interval(estimate, 1 - 0.05 * first.share)
        span = _span(math.exp(limits.low), math.exp(limits.high))
        ratio = words.ratio(math.exp(estimate.centre))
        at = f"at {value_word(first.axis, value)}"
        if i == 0:
            known = f"95 % {looked.interval_word(row)} {span}{looked.decided(row, context.design)}"
            parts.append(f"{row.cell} needs {ratio} times the steps of {row.baseline} {at} ({known})")
        else:
            parts.append(f"{ratio} times {at} ({span})")
    return (
        f"The order turns round with {axis_word(first.axis, first.values)}: {', '.join(parts)}. "
        f"One ratio over all points would hide this ({words.ratio(numbers.ratio)})."
    )


def at_ends(ends: Sequence[float], tried: Sequence[float]) -> list[str]:
    """Say where one cell's rates were picked, for example `largest rate tried (0.3) at 3`."""
    rates = {"largest": max(tried), "smallest": min(tried)}
    return [
        f"{name} rate tried ({words.number(rate)}) at {list(ends).count(rate)}"
        for name, rate in rates.items()
        if rate in ends
    ]


def _edge(row: Row, context: Context) -> str:
    total = words.count(len(row.points), "points")
    both = ((row.cell, row.ends), (row.baseline, row.ends_baseline))
    said = {label: at_ends(ends, context.design.rates_of(label)) for label, ends in both}
    said = {label: ends for label, ends in said.items() if ends}
    if len(said) == 2 and said[row.cell] == said[row.baseline]:
        said = {"Both": said[row.cell]}
    parts = [
        f"{who} {'were' if who == 'Both' else 'was'} fastest at the {words.listing(ends)} of {total}"
        for who, ends in said.items()
    ]
    return f"{', '.join(parts)}; a wider range may change this."
