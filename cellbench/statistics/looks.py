"""Seeds until decided: looks at doubling numbers of seeds, each with a fixed share of the 5 %.

A look's p-values are divided by its share. The least p / share over looks is a p-value, whatever the looks' dependence
(Bonferroni over looks), so Holm over comparisons may read them at each look, and what it decided stays decided: the
p / share of a decided comparison stays in its family (Glimm 2010; Maurer & Bretz 2013).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

import numpy as np
from scipy import special

from cellbench.statistics.arrays import Floats
from cellbench.statistics.comparison import direction, holm
from cellbench.statistics.intervals import ZERO, Estimate, interval, p_equivalent

DECISIONS = ("faster", "slower", "slightly faster", "slightly slower", "equivalent")
"""The words that close a comparison by its numbers."""

MOST_SEEDS = 1000
"""The largest number of seeds that `settles_at` considers; beyond it the answer is `inf`."""


@dataclass(frozen=True)
class Look:
    """One look: its number, from 1, the seeds that it is at, and its share of the 5 %."""

    number: int
    seeds: int
    share: float


def share_of(look: Look | None) -> float:
    """Return a look's share of the 5 %; of fixed seeds, which are looked at once, all of it.

    >>> share_of(None)
    1.0
    >>> share_of(looks(10, [80])[0])
    0.2
    """
    return 1.0 if look is None else look.share


def looks(first: int, caps: Sequence[int]) -> tuple[Look, ...]:
    """List the looks of a plan, with their shares of the 5 %.

    The K looks of the first plan have 1 / (K + 1) each; of what is kept, each look that a raised cap adds has half of
    what is left. All shares together stay below 1.

    Args:
        first: seeds of the first look.
        caps: every greatest number of seeds, in the order in which they were set; the first is the plan. One that is
            lower than those before it takes nothing away.

    >>> [(look.seeds, look.share) for look in looks(10, [80])]
    [(10, 0.2), (20, 0.2), (40, 0.2), (80, 0.2)]
    """
    seeds, planned = [first], 0
    for cap in caps:
        while seeds[-1] < cap:
            # a last step of less than three times is made at once: a look costs a share
            seeds.append(cap if cap < 3 * seeds[-1] else 2 * seeds[-1])
        planned = planned or len(seeds)
    shares = [2.0 ** min(0, planned - k) / (planned + 1) for k in range(1, len(seeds) + 1)]
    return tuple(Look(k, n, share) for k, (n, share) in enumerate(zip(seeds, shares, strict=True), 1))


def kept(of: Sequence[Look]) -> float:
    """Return the share of the look that a raised cap would add to these; `of` are all looks of a plan.

    >>> round(kept(looks(10, [80])), 3), round(kept(looks(10, [80, 160])), 3)
    (0.1, 0.05)
    """
    return (1 - math.fsum(look.share for look in of)) / 2


def critical(seeds: int, share: float, comparisons: int = 1) -> float:
    """Return the |t| at which "differs" is decided at a look, by the comparisons that are still in Holm's family.

    >>> round(critical(10, 0.2), 2), round(critical(80, 0.2, 9), 2)
    (3.25, 3.38)
    """
    return float(special.stdtrit(seeds - 1, 1 - 0.05 * share / comparisons / 2))


def critical_near(seeds: int, share: float, comparisons: int = 1) -> float:
    """Return the t at which each of the two one-sided tests of equivalence is decided at a look.

    >>> round(critical_near(10, 0.2), 2)
    2.82
    """
    return float(special.stdtrit(seeds - 1, 1 - 0.05 * share / comparisons))


@lru_cache(maxsize=256)
def _criticals(share: float, comparisons: int, near: int) -> Floats:
    """Sum both critical values for each number of seeds from 2 on, in units of sd / √N."""
    sizes = np.arange(2, MOST_SEEDS + 1)
    differ = special.stdtrit(sizes - 1, 1 - 0.05 * share / comparisons / 2)
    found: Floats = (differ + special.stdtrit(sizes - 1, 1 - 0.05 * share / near)) / np.sqrt(sizes)
    return found


def settles_at(sd: float, share: float, log_bound: float, comparisons: int = 1, near: int | None = None) -> float:
    """Return the least number of seeds at which some verdict follows, whatever the ratio; `inf` beyond 1000.

    The interval is then so short that it excludes either 1 or the bounds of equivalence.

    Args:
        sd: of the differences of log steps.
        share: of the look.
        log_bound: the log of the ratio of interest.
        comparisons: those not yet shown to differ, this one included.
        near: those not yet shown to be equivalent; default: the same number.

    >>> [settles_at(sd, 0.2, math.log(1.25)) for sd in (0.2, 0.35, 0.8)]
    [23.0, 63.0, 313.0]
    """
    if not sd >= ZERO:
        return math.nan
    enough = _criticals(share, comparisons, comparisons if near is None else near) * sd <= log_bound
    return float(enough.argmax() + 2) if enough.any() else math.inf


def finds(sd: float, seeds: int, share: float, comparisons: int = 1) -> float:
    """Return the ratio that a look at so many seeds finds 4 times in 5.

    >>> round(finds(0.35, 80, 0.2), 2)
    1.15
    """
    reach = critical(seeds, share, comparisons) + float(special.stdtrit(seeds - 1, 0.8))
    return math.exp(min(reach * sd / math.sqrt(seeds), 700.0))


C = TypeVar("C", bound=Hashable)
R = TypeVar("R")


def replay(
    comparisons: Sequence[C],
    at: Iterable[Look],
    read: Callable[[C, Look], R],
    judge: Callable[[Sequence[R]], Sequence[R]],
    closes: Callable[[R], bool],
    behind: Callable[[R], bool],
) -> dict[C, R]:
    """Make every look again: each comparison as it was when it was closed, else at its last complete look.

    A closed comparison stays in its family as it was at its look. One that is behind (its seeds are not all there) must
    be read with p = 1, and counts so; a later look then decides all that was decided without it.

    Args:
        comparisons: all of them.
        at: the looks, in order.
        read: reads one comparison at a look.
        judge: corrects a family of readings for each other.
        closes: whether a judged reading is decided, or cannot be.
        behind: whether a reading is of a comparison that is behind.

    Returns:
        The judged readings; a comparison that has no complete look yet is left out.

    >>> numbers = {"a": [0.01, 0.5], "b": [0.3, 0.02]}
    >>> def read(c: str, look: Look) -> tuple[int, float]:
    ...     return look.seeds, numbers[c][look.number - 1]
    >>> replay(["a", "b"], looks(10, [20]), read, list, closes=lambda r: r[1] < 0.05, behind=lambda r: False)
    {'a': (10, 0.01), 'b': (20, 0.02)}
    """
    found: dict[C, R] = {}
    closed: set[C] = set()
    for look in at:
        family = [found[c] if c in closed else read(c, look) for c in comparisons]
        for c, reading in zip(comparisons, judge(family), strict=True):
            if c in closed or behind(reading):
                continue
            found[c] = reading
            if closes(reading):
                closed.add(c)
    return found


@dataclass(frozen=True)
class Reading:
    """What one look says of one comparison; `p` and `near` are divided by the look's share."""

    look: Look
    estimate: Estimate | None
    """`None`: the comparison is behind."""
    p: float = 1.0
    near: float = 1.0
    p_holm: float = 1.0
    near_holm: float = 1.0
    word: str = ""


def corrected_by_share(p: float, share: float) -> float:
    """Divide a p-value by its look's share, at most 1; one that is not known stays so.

    >>> corrected_by_share(0.125, 0.5), corrected_by_share(0.75, 0.5)
    (0.25, 1.0)
    """
    return min(1.0, p / share) if p == p else p


def decide(
    estimate: Callable[[C, int], Estimate | None], comparisons: Sequence[C], at: Iterable[Look], log_bound: float
) -> dict[C, Reading]:
    """Replay the looks over plain estimates: what decides a staged experiment, without axes, fates and points.

    Args:
        estimate: the difference of log steps of a comparison at its first so many seeds; `None` while it is behind.
        comparisons: all of them.
        at: the looks.
        log_bound: the log of the ratio of interest.

    >>> rng = np.random.default_rng(0)
    >>> luck = rng.normal(-0.4, 0.35, 80)
    >>> found = decide(lambda _, n: Estimate(luck[:n].mean(), luck[:n]), ["gru"], looks(10, [80]), math.log(1.25))
    >>> found["gru"].word, found["gru"].look.seeds
    ('faster', 10)
    """

    def read(c: C, look: Look) -> Reading:
        found = estimate(c, look.seeds)
        if found is None:
            return Reading(look, None)
        p, near = (
            corrected_by_share(x, look.share) if x == x else 1.0
            for x in (interval(found).p, p_equivalent(found, log_bound))
        )
        return Reading(look, found, p, near)

    def judge(family: Sequence[Reading]) -> list[Reading]:
        p_holm, near_holm = holm([r.p for r in family]), holm([r.near for r in family])
        return [
            r
            if r.estimate is None
            else replace(
                r,
                p_holm=float(p),
                near_holm=float(near),
                word=direction(float(p), float(near), math.exp(min(r.estimate.centre, 700.0))),
            )
            for r, p, near in zip(family, p_holm, near_holm, strict=True)
        ]

    return replay(comparisons, at, read, judge, lambda r: r.word in DECISIONS, lambda r: r.estimate is None)
