"""Mark the claims that hold for one look only, where seeds were added by hand and looked at before.

With j earlier looks, each p is also divided by 2^-(j + 1), the share that a plan of one look keeps for its j-th look
more. Words without the mark are then false in at most 7.5 % of experiments, instead of 14.6 % after four looks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from cellbench.statistics.looks import Look
from cellbench.summary import words
from cellbench.summary.comparisons import AxisRow, Row, corrected, corrected_axes
from cellbench.summary.selection import MISSING, Selection

ONCE = " if looked at once"

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_MOST = 30
"""The most earlier looks that are counted: a share of 2^-31 decides nothing any more."""


def looked_before(replicas: Selection, row: Row) -> tuple[int, ...]:
    """List the numbers of seeds at which a comparison was looked at before, smallest first."""
    design = replicas.design
    cells = [replicas.cell(row.cell), replicas.cell(row.baseline)]
    place = {seed: i for i, seed in enumerate(design.seeds)}
    found = set()
    for past in design.past:
        if not {row.cell, row.baseline} <= past.labels:
            continue
        for seeds in past.seeds:
            # a proper subset of these seeds, of which every replica is stored
            if seeds < place.keys() and not (replicas.state[cells][:, :, [place[s] for s in seeds]] == MISSING).any():
                found.add(seeds)
    return tuple(sorted(len(seeds) for seeds in found))


def marked(rows: Sequence[Row], axes: Sequence[AxisRow], replicas: Selection, log_bound: float) -> list[Row]:
    """Mark the rows of the primary family whose claim does not survive as one of several looks.

    Args:
        rows: each comparison over all points, corrected.
        axes: of all of them, corrected.
        replicas: all that are planned.
        log_bound: the log of the ratio of interest.
    """
    before = [looked_before(replicas, row) for row in rows]
    if not any(before):
        return list(rows)
    counts = {(row.cell, row.baseline): min(len(seeds), _MOST) for row, seeds in zip(rows, before, strict=True)}
    share = {pair: 2.0 ** -(count + 1) if count else 1.0 for pair, count in counts.items()}
    again = corrected([_at(row, share[row.cell, row.baseline]) for row in rows], log_bound)
    turned = corrected_axes(replace(a, share=share[a.cell, a.baseline]) for a in axes)
    found = []
    for row, strict, seeds in zip(rows, again, before, strict=True):
        pair = row.cell, row.baseline
        turns, still = (any(a.turns for a in of if (a.cell, a.baseline) == pair) for of in (axes, turned))
        claim = "depends" if turns else _claim(row)
        survives = still if turns else claim == _claim(strict)
        p = strict.p_equivalent_holm if claim == "equivalent" else strict.p_holm
        if turns:
            p = min((a.differ_holm for a in turned if (a.cell, a.baseline) == pair), default=math.nan)
        claims = claim in ("depends", "faster", "slower", "equivalent") and not row.apart and not row.identical
        once = bool(seeds) and claims and not survives
        found.append(replace(row, earlier=seeds if claims else (), counts_as=p, once=once))
    return found


def _at(row: Row, share: float) -> Row:
    return replace(row, look=Look(1, len(row.seeds), share)) if share < 1 else row


def _claim(row: Row) -> str:
    return row.word.removeprefix("slightly ")


def said(row: Row) -> str:
    """Say why a claim holds for one look only."""
    earlier = words.listing([str(n) for n in row.earlier])
    first = row.earlier[0]
    as_which = ordinal(len(row.earlier) + 1)
    were = "were" if len(row.earlier) > 1 or first > 1 else "was"
    return (
        f"{earlier} seeds {were} looked at before these {len(row.seeds)}; as a {as_which} look this p counts as "
        f"{words.p(row.counts_as).removeprefix('p ')}. `seeds: {{from: {max(first, 5)}, to: {8 * max(first, 5)}}}` "
        "keeps the 5 %."
    )


def noted(row: Row) -> list[str]:
    """Note that a claim survives as one of several looks."""
    return [f"also as look {len(row.earlier) + 1}"] if row.earlier and not row.once else []


def ordinal(n: int) -> str:
    """Write which one it is.

    >>> ordinal(3), ordinal(12)
    ('third', '12th')
    """
    return _ORDINALS[n - 1] if n <= len(_ORDINALS) else f"{n}th"
