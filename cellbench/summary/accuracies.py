"""Describe and compare accuracies (accuracy.csv): at the trained length, by length, by difficulty."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from cellbench.statistics.arrays import Flags, Floats
from cellbench.statistics.comparison import holm, holm_levels
from cellbench.statistics.intervals import LEAST_SEEDS, UNKNOWN, Estimate, Interval, gaffke, interval, wilson
from cellbench.statistics.looks import Look, corrected_by_share, share_of
from cellbench.summary import words
from cellbench.summary.comparisons import ALL, POINT, Scope
from cellbench.summary.design import OPTIONS, Design, Setting, setting
from cellbench.summary.fates import fate
from cellbench.summary.selection import METRICS, Common, Key, Seeds, Selection, common
from cellbench.summary.verdicts import FEWEST_POINTS, Finding

NUMBERS = (
    "cell", "at", "learning_rate", "by", "value", "seeds", "mean", "low", "high", "least", "share_99", "share_99_low",
    "share_99_high",
)  # fmt: skip
"""The columns after `metric`, `scope` and the axes."""

LEAST_DIFFERENT = 6
"""Fewer differing seeds than this get no interval: where both cells are near 1.0, most differences are exactly 0."""

AT_SOLVED = "at the step where each solved: models stop at different steps and at the threshold"

Groups: TypeAlias = dict[Common, list[int]]
"""Evaluations (positions in `Selection.keys`) that share their points and seeds."""


@dataclass(frozen=True)
class Scored:
    """The accuracies of one cell at one point on some seeds, at the tuned rate: all metrics and evaluations."""

    values: Floats
    """(seeds, metrics, keys)"""
    centres: Floats
    """(metrics, keys)"""
    psi: Floats
    """(seeds, metrics, keys): jackknife pseudo-values."""


class ByCell:
    """The accuracies of all replicas at the tuned rate, computed once for each cell, point and set of seeds."""

    def __init__(self, replicas: Selection) -> None:
        self.replicas = replicas
        self._stacked = np.stack([replicas.scores[metric] for metric in METRICS], axis=-2)
        unknown = np.isnan(replicas.scores[METRICS[0]])
        self._known: Flags = np.stack(
            [~unknown[c, :, :, : len(replicas.tried(c))].any(axis=2) for c in range(len(unknown))]
        )
        """(cells, points, seeds, keys)"""
        self._seeds: dict[tuple[int, int], list[Seeds]] = {}
        self._scored: dict[tuple[int, int, Seeds], Scored] = {}

    def seeds(self, cell: int, point: int) -> list[Seeds]:
        """List, for each evaluation, the seeds that are complete over all rates and whose accuracy is known."""
        if (cell, point) not in self._seeds:
            known = self._known[cell, point]
            complete = self.replicas.complete(cell, point)
            self._seeds[cell, point] = [
                complete if known[complete, k].all() else tuple(s for s in complete if known[s, k])
                for k in range(known.shape[1])
            ]
        return self._seeds[cell, point]

    def at(self, cell: int, point: int, seeds: Seeds) -> Scored:
        """Score a cell at a point on these seeds, at the learning rate picked by steps; computed once."""
        key = (cell, point, seeds)
        if key not in self._scored:
            metric = self._stacked[cell, point][list(seeds)][:, : len(self.replicas.tried(cell))]
            shape = (len(seeds), *metric.shape[2:])
            pick = self.replicas.tuned(cell, point, seeds)
            if pick is None:
                self._scored[key] = Scored(
                    np.full(shape, math.nan), np.full(shape[1:], math.nan), np.full(shape, math.nan)
                )
            else:
                centres, psi = pick.estimates(metric.reshape(*metric.shape[:2], -1))
                self._scored[key] = Scored(pick.values(metric), centres.reshape(shape[1:]), psi.reshape(shape))
        return self._scored[key]

    def groups(self, cells: Sequence[int], points: Sequence[int], first: int | None = None) -> Groups:
        """Group the evaluations by the points where all the cells have them and the seeds they share there.

        Args:
            cells, points: what is grouped.
            first: of so many seeds only, the first ones; None: of all.
        """
        alike: dict[tuple[tuple[Seeds, ...], ...], list[int]] = defaultdict(list)
        for k in range(len(self.replicas.keys)):
            alike[tuple(tuple(self.seeds(c, g)[k] for c in cells) for g in points)].append(k)
        # the same rule as for steps: points that can be used together, seeds complete at all of them
        found: Groups = defaultdict(list)
        for seeds_at, keys in alike.items():
            shared = [
                (g, of_each[0] if len(set(of_each)) == 1 else tuple(sorted(set.intersection(*map(set, of_each)))))
                for g, of_each in zip(points, seeds_at, strict=True)
            ]
            if first is not None:
                shared = [(g, tuple(s for s in seeds if s < first)) for g, seeds in shared]
            found[common(shared)] += keys
        return {which: keys for which, keys in found.items() if which.seeds}


def accuracies(scores: ByCell, scopes: Sequence[Scope]) -> pd.DataFrame:
    """Return the frame of accuracy.csv; empty (`nan`) means not known."""
    replicas = scores.replicas
    design = replicas.design
    heads: list[tuple[Any, ...]] = []
    samples: list[Floats] = []

    beside = (OPTIONS,) if design.tunes_options else ()

    def add(scope: Scope, label: str, at: str, tried: Setting, key: Key, metric: str, values: Floats) -> None:
        """Note one row: its head now, its numbers from `values`, (seeds,), when all are described together."""
        where = tried if beside else (tried.rate,)
        heads.append((metric, scope.text, *(scope.fixed.get(a) for a in design.axes), label, at, *where, *key))
        samples.append(values)

    picked = Setting("", math.nan)
    for c, label in enumerate(design.labels):
        for scope in scopes:
            for which, keys in scores.groups([c], scope.points).items():
                # averaged over points within each seed, as steps are
                pooled = np.mean([scores.at(c, g, which.seeds).values for g in which.points], axis=0)
                for k in keys:
                    for m, metric in enumerate(METRICS):
                        if not np.isnan(pooled[:, m, k]).any():
                            add(scope, label, "tuned", picked, replicas.keys[k], metric, pooled[:, m, k])
            # each rate by itself needs no complete seeds, and is given at single points alone
            if scope.kind == POINT:
                for r, tried in enumerate(replicas.tried(c)):
                    for k, key in enumerate(replicas.keys):
                        for metric in METRICS:
                            x = replicas.scores[metric][c, scope.points[0], :, r, k]
                            known = ~np.isnan(x)
                            if known.any():
                                add(scope, label, "rate", tried, key, metric, x[known])
    columns = ["metric", "scope", *design.axes]
    columns += [name for column in NUMBERS for name in (*(beside if column == "learning_rate" else ()), column)]
    numbers = _describe(samples)
    frame = pd.DataFrame([(*head, *row) for head, row in zip(heads, numbers, strict=True)], columns=columns)
    rank = {metric: m for m, metric in enumerate(METRICS)}
    return frame.sort_values("metric", key=lambda column: column.map(rank), kind="stable", ignore_index=True)


def _describe(samples: Sequence[Floats]) -> list[tuple[float, ...]]:
    """Describe each sample: seeds, mean, Gaffke's limits, least, share of seeds at 0.99 with Wilson's limits."""
    rows: list[tuple[float, ...]] = [()] * len(samples)
    by_size: dict[int, list[int]] = defaultdict(list)
    for i, x in enumerate(samples):
        by_size[len(x)].append(i)
    for n, places in by_size.items():
        # many samples are all 1.0 or all 0.0: each distinct one is described once
        distinct, which = np.unique(np.sort([samples[i] for i in places], axis=1), axis=0, return_inverse=True)
        # at 0.99 or above, up to rounding
        exact = (distinct >= 0.99 - 1e-12).mean(axis=1)
        limits, shares = np.full((2, len(distinct), 2), math.nan)
        if n >= LEAST_SEEDS:
            limits = gaffke(distinct)
            found = {share: wilson(share, n) for share in np.unique(exact).tolist()}
            shares = np.array([(found[share].low, found[share].high) for share in exact.tolist()])
        described = np.column_stack([distinct.mean(axis=1), limits, distinct[:, 0], exact, shares]).tolist()
        for i, j in zip(places, which.ravel().tolist(), strict=True):
            rows[i] = (n, *described[j])
    return rows


def comparisons(
    scores: ByCell,
    scopes: Sequence[Scope],
    pairings: Sequence[tuple[str, str]],
    looks: Mapping[tuple[str, str], Look] | None = None,
) -> list[dict[str, Any]]:
    """Compare accuracies: rows of comparisons.csv, in percentage points, corrected by Holm within each table.

    Args:
        scores: of all replicas.
        scopes, pairings: what is compared.
        looks: the look that a comparison was read at: its seeds are used, and p is divided by its share.
    """
    replicas, looks = scores.replicas, looks or {}
    rows: list[dict[str, Any]] = []
    estimates: list[Estimate] = []
    families: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for cell, baseline in pairings:
        a, b = replicas.cell(cell), replicas.cell(baseline)
        for scope in scopes:
            look = looks.get((cell, baseline))
            for which, keys in scores.groups([a, b], scope.points, look.seeds if look else None).items():
                one = [scores.at(a, g, which.seeds) for g in which.points]
                two = [scores.at(b, g, which.seeds) for g in which.points]
                centres = 100 * np.mean([x.centres - y.centres for x, y in zip(one, two, strict=True)], axis=0)
                psi = 100 * np.mean([x.psi - y.psi for x, y in zip(one, two, strict=True)], axis=0)
                values = np.mean([x.values - y.values for x, y in zip(one, two, strict=True)], axis=0)
                different = (np.abs(values) > 1e-9).sum(axis=0)
                # one row per evaluation and metric; a family is one metric, one quantity, one kind of scope
                for k in keys:
                    by, value = replicas.keys[k]
                    for m, metric in enumerate(METRICS):
                        if math.isnan(centres[m, k]):
                            continue
                        families[metric, by, _kind(scope)].append(len(rows))
                        estimate = Estimate(float(centres[m, k]), psi[:, m, k])
                        head = {
                            "metric": metric,
                            "scope": scope.text,
                            **scope.fixed,
                            "cell": cell,
                            "baseline": baseline,
                        }
                        head |= {"at": "tuned", "by": by, "value": value, "points": len(which.points)}
                        estimates.append(estimate)
                        rows.append(head | _difference(scope, which, estimate, int(different[m, k]), look))
    # a cell that could not learn, or breaks a law, belongs to no family
    for row in rows:
        fates = fate(replicas, row["cell"]), fate(replicas, row["baseline"])
        if any(fates):
            row["verdict"], row["p"] = fates[0] or "cannot tell", math.nan
    # a comparison without a complete look has no row yet, and counts with p = 1
    behind = sum(look.seeds == 0 for pair in pairings if (look := looks.get(pair)) is not None)
    kinds = Counter(_kind(scope) for scope in scopes)
    for (_, _, kind), places in families.items():
        shares = [share_of(looks.get(pair_of(rows[i]))) for i in places]
        family = [corrected_by_share(rows[i]["p"], share) for i, share in zip(places, shares, strict=True)]
        family += [1.0] * (behind * kinds[kind])
        for i, p, level, share in zip(places, holm(family), holm_levels(family), shares, strict=False):
            rows[i]["p_holm"] = float(p)
            if not math.isnan(level):
                limits = _possible(interval(estimates[i], 1 - (1 - float(level)) * share))
                rows[i] |= {"corrected_low": limits.low, "corrected_high": limits.high}
    # models that stop when they have solved are compared at unlike steps, which each row says
    note = AT_SOLVED if replicas.design.stop_when_solved else ""
    for row in rows:
        if row["verdict"] == "":
            surely = row["p_holm"] <= 0.05
            row["verdict"] = ("higher" if row["difference"] > 0 else "lower") if surely else "no difference shown"
        row["notes"] = "; ".join(text for text in (row["notes"], note) if text)
    return rows


def _kind(scope: Scope) -> str:
    """Name the family that a scope is in: all points, single points, or the values of all axes together."""
    return scope.kind if scope.kind in (ALL, POINT) else "axis"


def pair_of(row: dict[str, Any]) -> tuple[str, str]:
    """Return the cell and the baseline of a row."""
    return row["cell"], row["baseline"]


def _possible(limits: Interval) -> Interval:
    """Keep what an interval has of the differences that accuracies can have, which loses no coverage.

    >>> _possible(Interval(-117.2, -16.9, 0.02, 30.0)).low
    -100.0
    """
    low, high = np.clip([limits.low, limits.high], -100.0, 100.0)
    return replace(limits, low=float(low), high=float(high))


def _difference(
    scope: Scope, which: Common, estimate: Estimate, different: int, look: Look | None = None
) -> dict[str, Any]:
    """Lay out a difference; `different` counts the seeds at which it is not 0. Its verdict may wait for Holm: empty."""
    n = estimate.seeds
    limits, verdict, note = UNKNOWN, "", ""
    if n < LEAST_SEEDS:
        verdict = "too few seeds"
    elif different < LEAST_DIFFERENT:
        verdict, note = "no difference shown", f"no difference was shown: only {different} of {n} seeds differ"
    else:
        limits = _possible(interval(estimate, 1 - 0.05 * share_of(look)))
        if scope.kind != ALL and len(which.points) < FEWEST_POINTS:
            verdict = "description"
    return {
        "seeds": n,
        "difference": estimate.centre,
        "difference_low": limits.low,
        "difference_high": limits.high,
        "p": limits.p,
        "sd": limits.sd,
        "verdict": verdict,
        "notes": note,
    }


def main_rows(rows: Sequence[dict[str, Any]], axes: Sequence[str]) -> list[dict[str, Any]]:
    """Select the comparisons that verdicts on accuracy are of: sequence accuracy over all points, at two lengths.

    Args:
        rows: those of `comparisons`.
        axes: the parameters that can be a length; texts have no longest.

    Returns:
        The rows at the trained length, then those at the longest length evaluated.
    """
    whole = [row for row in rows if row["scope"] == ALL and row["metric"] == METRICS[0]]
    longest: dict[str, float] = {}
    for row in whole:
        by, value = row["by"], row["value"]
        if by in axes and isinstance(value, int | float):
            longest[by] = max(value, longest.get(by, value))
    kept = [row for row in whole if row["by"] == "" or longest.get(row["by"]) == row["value"]]
    return sorted(kept, key=lambda row: row["by"] != "")


def findings(rows: Sequence[dict[str, Any]], design: Design) -> dict[tuple[str, str], list[Finding]]:
    """Give each pair its verdicts on sequence accuracy: at the trained length, and at the longest length evaluated.

    Args:
        rows: those of `comparisons`.
        design: its axes name the parameters that can be a length.
    """
    found: dict[tuple[str, str], list[Finding]] = {}
    for row in main_rows(rows, design.axes):
        by = row["by"]
        question = f"at {setting(by, row['value'])}" if by else "at the trained length"
        found.setdefault((row["cell"], row["baseline"]), []).append(_finding(question, row))
    return found


def _finding(question: str, row: dict[str, Any]) -> Finding:
    points, low, high, word = row["difference"], row["difference_low"], row["difference_high"], row["verdict"]
    if word in ("higher", "lower"):
        # the limits, like the difference, are given as how much higher, or lower
        near, far = sorted((abs(low), abs(high)))
        limits = f" (95 % {near:.1f} to {far:.1f}; {words.p(row['p_holm'])})"
        clause = f"{question} {abs(points):.1f} points {word}{limits}"
    elif math.isnan(low) or word not in ("no difference shown", "description"):
        clause = f"{question}: {word}"
    else:
        side = "" if words.points(points) == "0.0" else " higher" if points > 0 else " lower"
        limits = f"95 % {words.points(low)} to {words.points(high)}"
        clause = f"{question}: {word}, {abs(points):.1f} points{side} ({limits})"
    about: Literal["trained", "longest"] = "trained" if row["by"] == "" else "longest"
    return Finding(about, question, word, clause, points, low, high, row.get("p_holm", math.nan))
