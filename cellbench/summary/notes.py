"""Write what must be said beside a verdict, most important first."""

from __future__ import annotations

import math

from cellbench.statistics.intervals import LEAST_SEEDS
from cellbench.summary import by_hand, looked, words
from cellbench.summary.comparisons import ALL, TOO_SHORT, AxisRow, Row
from cellbench.summary.design import axis_word, value_word
from cellbench.summary.verdicts import (
    FEWEST_POINTS,
    NO_CLAIM,
    WITHIN,
    Context,
    plain_word,
    rests_on_t,
    says_few,
    turning,
    word,
)


def notes(row: Row, context: Context) -> tuple[str, ...]:
    """Write the notes of one comparison, for below its verdict and for comparisons.csv."""
    verdict = plain_word(row, context)
    found: list[str] = []
    if row.numbers is not None:
        found += _work(row, context)
        found += _bounds(row)
        found += _axes(row, context)
        # doubts are about a claim, and these make none
        if verdict not in NO_CLAIM:
            found += _doubts(row, context, verdict)
            found += by_hand.noted(row)
            found += looked.stopped(row, context.design) if row.scope.kind == ALL and row.at == "tuned" else []
        found += _ends(row, context)
        found += footnotes(row)
    found += _left_out(row, context)
    return tuple(found)


def _work(row: Row, context: Context) -> list[str]:
    if math.isnan(row.work):
        return []  # a cell that could never be made has no size
    turn = turning(context)
    if turn and row.scope.kind == ALL:
        return [f"in multiply-adds {words.ratio(row.work)} times over all points"]
    return [f"in multiply-adds {words.ratio(row.work)} times"]


def _bounds(row: Row) -> list[str]:
    of = words.count(len(row.points), "points")
    found = []
    for label, never, which in (
        (row.cell, row.never, "at least"),
        (row.baseline, row.never_baseline, "at most"),
    ):
        if never:
            bound = f"; the ratio is {which} what is shown" if row.bound else ""
            found.append(
                f"{label} solved in no replica at {never} of {of}, and counts as the whole budget there{bound}"
            )
    return found


def _by_value(axis: AxisRow) -> str:
    return ", ".join(
        f"{words.ratio(math.exp(e.centre))} at {value_word(axis.axis, v)}"
        for v, e in zip(axis.values, axis.estimates, strict=True)
    )


def _axes(row: Row, context: Context) -> list[str]:
    turn = turning(context)
    found = [
        f"the order turns round with {axis_word(axis.axis, axis.values)} too: {_by_value(axis)}" for axis in turn[1:]
    ]
    found += [
        f"the ratio differs with {axis_word(axis.axis, axis.values)}: {_by_value(axis)}"
        for axis in context.axes
        if axis.differs and not axis.turns
    ]
    return found


def _sign(row: Row) -> int:
    return {"faster": -1, "slower": 1}.get(row.word.removeprefix("slightly "), 0)


def _said(row: Row) -> str:
    """Say a comparison's word in a clause."""
    if row.word == TOO_SHORT:
        return "the budget is too short to tell"
    if row.word == "no difference shown":
        return f"no difference of {row.cell} and {row.baseline} is shown"
    return f"{row.cell} and {row.baseline} are equivalent" if row.word == "equivalent" else f"{row.cell} is {row.word}"


def _doubts(row: Row, context: Context, verdict: str) -> list[str]:
    numbers = row.numbers
    assert numbers is not None
    found = []
    claimed = not verdict.startswith("depends on")
    if numbers.p / row.look_share <= 0.05 < row.p_holm and claimed:
        found.append(f"its own interval excludes 1, but not after correction for {row.comparisons} comparisons")
    if row.rests_on and claimed:
        if len(row.rests_on) == 1:
            without = "" if _sign(row) else f"; without it: {row.otherwise}"
            found.append(f"rests on {context.name(row.rests_on[0])} alone{without}")
        else:
            found.append(
                f"leaving out any one of {len(row.rests_on)} points changes the verdict "
                f"(ratio {words.ratio(row.without_low)} to {words.ratio(row.without_high)})"
            )
    if context.singles:
        clear = [s.numbers.ratio for s in context.singles if s.p_holm <= 0.05 and s.numbers is not None]
        below, total = sum(x < 1 for x in clear), sum(s.numbers is not None for s in context.singles)
        found.append(
            f"setting by setting (corrected): faster at {below} of {total}, slower at {len(clear) - below}, "
            f"undecided at {total - len(clear)}"
        )
    if context.across is not None and claimed and context.across.numbers is not None:
        other = context.across
        if _sign(row) != _sign(other):
            at, tried = ("setting", "settings") if context.design.tunes_options else ("rate", "rates")
            counts = {len(context.design.tried(label)) for label in (row.cell, row.baseline)}
            all_of = f"all {words.spelled(counts.pop())}" if len(counts) == 1 else "all its"
            found.append(f"this holds at the tuned {at}; averaged over {all_of} {tried}, {_said(other)}")
    if claimed and (numbers.ratio - 1) * (row.mean_steps - 1) < 0 and abs(row.mean_steps - 1) > 1e-9:
        quick, sure, quick_share, sure_share = (
            (row.cell, row.baseline, row.share, row.share_baseline)
            if numbers.ratio < 1
            else (row.baseline, row.cell, row.share_baseline, row.share)
        )
        if quick_share < sure_share:
            found.append(f"by mean steps the order is reversed: {quick} fails more often, but is faster when it solves")
        else:
            found.append(
                f"by mean steps the order is reversed: {quick} is faster mostly, but at times much later than {sure}"
            )
    return found


def _left_out(row: Row, context: Context) -> list[str]:
    total = len(row.scope.points)
    found = []
    if row.uninformative and row.points:
        found.append(f"{len(row.uninformative)} of {words.count(total, 'points')}: neither solved")
    if row.absent:
        names = [context.name(g) for g in row.absent]
        shown = words.listing(names[:3] if len(names) <= 3 else [*names[:3], f"{len(names) - 3} more"])
        found.append(f"{len(row.absent)} of {words.count(total, 'points')} left out, not complete for both: {shown}")
    planned = len(context.design.seeds)
    if row.dropped:
        found.append(f"{words.count(row.dropped, 'seeds')} left out, not complete at all points")
    elif row.points and len(row.seeds) < planned:
        found.append(f"{len(row.seeds)} of {words.count(planned, 'seeds')} complete for both")
    return found


def _ends(row: Row, context: Context) -> list[str]:
    if WITHIN in word(row, context):
        return []  # the sentence says it
    total = words.count(len(row.points), "points")
    return [
        f"{label} at the end of the range at {len(ends)} of {total} "
        f"({words.listing([words.number(rate) for rate in sorted(set(ends))])})"
        for label, ends in ((row.cell, row.ends), (row.baseline, row.ends_baseline))
        if ends
    ]


def footnotes(row: Row) -> list[str]:
    """Write what limits the intervals of one comparison; printed once below a table, and kept in each row's notes."""
    n = len(row.seeds)
    if row.numbers is None or n < LEAST_SEEDS:
        return []
    found = []
    if row.scope.kind == ALL and len(row.points) < FEWEST_POINTS:
        name, cover = ("one setting", 80) if len(row.points) == 1 else ("two settings", 90)
        found.append(
            f"{name}: a learning rate that is late for 1 seed in 8 goes unseen in {words.percent(0.875**n)} of "
            f"experiments with {n} seeds; intervals at {name} then cover about {cover} %, not 95 %"
        )
    # such a row makes no claim that could rest on the t distribution
    described = row.scope.kind != ALL and len(row.points) < FEWEST_POINTS
    least = 2.0 ** (1 - n)  # the smallest p of any assumption-free paired test of n seeds
    if row.word.endswith(("faster", "slower")) and row.numbers.p < least and not described and not says_few(row):
        found.append(rests_on_t(n))
    return found
