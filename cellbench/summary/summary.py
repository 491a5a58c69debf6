"""Turn the store's frames into every number that is published. Report code lays these out and computes nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pandas as pd

from cellbench.summary import accuracies, by_hand, looked, staging
from cellbench.summary import comparisons as pairs
from cellbench.summary import footnotes as reading
from cellbench.summary import profiles as charts
from cellbench.summary import seen as seen_at
from cellbench.summary.cells import cells, overview
from cellbench.summary.comparisons import ALL, POINT, AxisRow, Row
from cellbench.summary.design import Design
from cellbench.summary.footnotes import Missing
from cellbench.summary.notes import notes
from cellbench.summary.ranking import ranked
from cellbench.summary.seen import Seen
from cellbench.summary.selection import Selection, select
from cellbench.summary.staging import Standing
from cellbench.summary.verdicts import UNDECIDED, Context, Finding, Verdict, cost, sentence, turning, word

__all__ = ["Design", "Missing", "Summary", "Verdict", "summarise"]

COMPARED = (
    "by", "value", "cell", "baseline", "at", "seeds", "points", "points_uninformative", "ratio", "ratio_low",
    "ratio_high", "bound", "work_ratio", "difference", "difference_low", "difference_high", "p", "p_holm",
    "p_equivalent_holm", "corrected_low", "corrected_high", "sooner", "sooner_low", "sooner_high",
    "without_one_point_low", "without_one_point_high", "sd", "detectable", "seeds_needed", "look", "looks", "share",
    "settles_at", "differ_axis", "differ_p_holm", "crossing_p", "ends", "ends_baseline", "verdict", "notes",
)  # fmt: skip
"""The columns of comparisons.csv after `metric`, `scope` and the axes."""

_WHOLE = ("value", "points_uninformative", "ends", "ends_baseline", "look", "looks")


@dataclass(frozen=True)
class Summary:
    """Everything that is published about one experiment."""

    design: Design
    overview: pd.DataFrame
    """Each cell over all its points at the tuned rate, for the first table."""
    cells: pd.DataFrame
    """summary.csv"""
    comparisons: pd.DataFrame
    """comparisons.csv; differences of accuracies are in percentage points."""
    accuracy: pd.DataFrame
    """accuracy.csv"""
    verdicts: tuple[Verdict, ...]
    """One for each comparison, over all points at the tuned rate."""
    footnotes: tuple[str, ...]
    how_to_read: str
    missing: tuple[Missing, ...]
    outcomes: pd.DataFrame
    """For each cell, how many of its replicas ended in each state."""
    wider_rates: tuple[float, ...]
    """The learning rates to try next; empty where no verdict is limited by the rates tried."""
    replicas: Selection = field(repr=False)
    standing: Standing | None = field(default=None, repr=False)
    """What the looks said, where seeds are added until decided."""

    @property
    def seeds(self) -> str:
        """How many seeds cells have, in words: `10 seeds`, or `10 to 80 seeds` where they have unlike numbers."""
        return seen_at.seeds(self.replicas, self.standing)

    @property
    def undecided(self) -> list[str]:
        """The labels of the cells whose comparison more seeds may decide."""
        return [verdict.cell for verdict in self.verdicts if verdict.verdict.startswith(UNDECIDED)]

    @property
    def heading(self) -> str:
        """How many comparisons are decided, and at how many seeds; empty where seeds are fixed."""
        if self.standing is None or not self.standing.readings:
            return ""
        one = self.standing
        closed = sum(one.decided.values())
        return looked.heading(closed, len(one.readings), one.spread, one.looked, one.stages)

    @property
    def targets(self) -> dict[str, int] | None:
        """The seeds that each cell is to have, by label; None where seeds are fixed."""
        return dict(self.standing.targets) if self.standing is not None else None

    @cached_property
    def ranking(self) -> pd.DataFrame:
        """All cells, the fastest first: cell, rank and its limits, and what `overview` and `comparisons` say of it."""
        return ranked(self.replicas, self.overview, self.comparisons)

    @cached_property
    def solved_over_steps(self) -> pd.DataFrame:
        """For the chart: cell, the axes, at, learning_rate, step, share."""
        return charts.solved_over_steps(self.replicas)

    @cached_property
    def performance_profile(self) -> pd.DataFrame:
        """For the chart: cell, factor (of the baseline's typical steps), share, points."""
        return charts.performance_profile(self.replicas)

    @cached_property
    def tuning_curve(self) -> pd.DataFrame:
        """For the chart: cell, the axes (empty: all points), tried, typical_steps."""
        return charts.tuning_curves(self.replicas)

    @cached_property
    def rate_profile(self) -> pd.DataFrame:
        """For the chart: cell, the axes, learning_rate, typical_steps and its limits, solved, seeds."""
        return charts.rate_profile(self.replicas, self.cells)


def summarise(runs: pd.DataFrame, evaluations: pd.DataFrame, design: Design) -> Summary:
    """Compute every published number of one experiment.

    Args:
        runs: one row for each planned replica: label, the axes, parameters, state, multiply_adds, hidden_size,
            learning_rate, seed, status, cause, steps_to_solved, final_sequence_accuracy, diverged_at; and
            engine, engine_version, isa, compiler and device, if they are there. Others are not read. Status is solved,
            censored, diverged, failed or missing. Failed with cause `cell` counts as never solved; failed for any
            other cause counts as missing, and is listed.
        evaluations: one row for each final evaluation: label, the axes, learning_rate, seed, by ("": at the trained
            length), value, bit_accuracy, sequence_accuracy.
        design: what was planned.

    Raises:
        ValueError: the frames hold something that the design does not plan, or one replica twice.
    """
    replicas = select(runs, evaluations, design)
    pairings = design.pairings()
    standing = None
    if design.stages is not None:
        standing = staging.stand(replicas, design.stages, pairings)
        replicas = seen_at.within(replicas, standing.targets)
    scopes = pairs.scopes(replicas)
    table = cells(replicas)
    seen = Seen(replicas, standing)
    rows, in_work, axes = _measured(seen, scopes, pairings)
    compared, verdicts = _compared(seen, rows, axes)
    costs, found = _costs(seen, in_work)
    scores = accuracies.ByCell(replicas)
    of_accuracy = accuracies.comparisons(scores, scopes, pairings, seen.looks) if replicas.keys else []
    findings = accuracies.findings(of_accuracy, design)
    verdicts = tuple(
        replace(v, findings=(*findings.get((v.cell, v.baseline), ()), found[v.cell, v.baseline])) for v in verdicts
    )
    compared += [*costs, *of_accuracy]
    frame = pd.DataFrame(compared, columns=["metric", "scope", *design.axes, *COMPARED])
    return Summary(
        design=design,
        overview=overview(replicas),
        cells=table,
        comparisons=_whole(frame, [*design.axes, *_WHOLE]),
        accuracy=_whole(accuracies.accuracies(scores, scopes), [*design.axes, "value"]),
        verdicts=verdicts,
        footnotes=(*seen_at.warnings(replicas, standing), *reading.footnotes(replicas, table, rows)),
        how_to_read=reading.how_to_read(replicas, rows, seen_at.seeds(replicas, standing)),
        missing=reading.missing(replicas),
        outcomes=reading.outcomes(replicas),
        wider_rates=reading.wider_rates(design, rows),
        replicas=replicas,
        standing=standing,
    )


def _measured(
    seen: Seen, scopes: Sequence[pairs.Scope], pairings: Sequence[tuple[str, str]]
) -> tuple[list[Row], list[Row], list[AxisRow]]:
    """Measure every comparison of steps, and over all points of multiply-adds; correct each within its family.

    Whether the ratio depends on an axis is asked once per pair, over all points at the tuned rate.
    """
    families: dict[tuple[str, str], list[Row]] = {}
    for pair in pairings:
        replicas, look = seen.at(pair), seen.looks.get(pair)
        behind = seen.behind(pair)
        for scope in scopes:
            # three families per choice of rate: all points; the values of all axes together; single points
            kind = scope.kind if scope.kind in (ALL, POINT) else "axis"
            for at in ("tuned", "across"):
                row = seen.main(pair) if (kind, at) == (ALL, "tuned") else None
                row = row or pairs.measure(replicas, *pair, at, scope, look, behind)
                families.setdefault((kind, at), []).append(row)
    of_interest = seen.replicas.design.ratio_of_interest
    log_bound, main = math.log(of_interest), families.get((ALL, "tuned"), [])
    work = [pairs.in_multiply_adds(row, of_interest) for row in main]
    axes = [axis for row in main for axis in seen.axes(row)]
    if seen.standing is None:
        families[ALL, "tuned"] = main = pairs.corrected(main, log_bound)
        axes = pairs.corrected_axes(axes)
        families[ALL, "tuned"] = by_hand.marked(main, axes, seen.replicas, log_bound)
    rows = [
        row
        for which, family in families.items()
        for row in (family if which == (ALL, "tuned") else pairs.corrected(family, log_bound))
    ]
    return rows, pairs.corrected(work, log_bound), axes


def _costs(seen: Seen, rows: Sequence[Row]) -> tuple[list[dict[str, Any]], dict[tuple[str, str], Finding]]:
    """Lay out the rows of comparisons.csv for the cost to solve, and give each pair its verdict on it."""
    axes = pairs.corrected_axes(
        axis for row in rows for axis in pairs.axis_rows(seen.at((row.cell, row.baseline)), row)
    )
    found, records = {}, []
    for row in rows:
        of_pair = tuple(axis for axis in axes if (axis.cell, axis.baseline) == (row.cell, row.baseline))
        context = Context(seen.at((row.cell, row.baseline)), axes=of_pair)
        records.append(_record(row, context, ()))
        found[row.cell, row.baseline] = cost(row, context)
    return records, found


def _compared(
    seen: Seen, rows: Sequence[Row], axes: Sequence[AxisRow]
) -> tuple[list[dict[str, Any]], tuple[Verdict, ...]]:
    """Lay out the rows of comparisons.csv for steps, pair by pair, and the verdicts."""
    by_place = {(row.cell, row.baseline, row.at, row.scope.text, row.scope.points): row for row in rows}
    found: list[dict[str, Any]] = []
    verdicts = []
    for pairing in dict.fromkeys((row.cell, row.baseline) for row in rows):
        of_pair = [row for row in rows if (row.cell, row.baseline) == pairing]
        singles = tuple(row for row in of_pair if row.scope.kind == POINT and row.at == "tuned")
        of_axes = tuple(axis for axis in axes if (axis.cell, axis.baseline) == pairing)
        for row in of_pair:
            main = row.scope.kind == ALL and row.at == "tuned"  # the one row per pair that gets a verdict
            across = by_place[(*pairing, "across", row.scope.text, row.scope.points)] if row.at == "tuned" else None
            context = Context(
                seen.at(pairing),
                axes=of_axes if main else (),
                across=across if row.scope.kind != POINT else None,
                singles=singles if main and len(singles) > 1 else (),
            )
            said = notes(row, context)
            if main:
                verdicts.append(Verdict(*pairing, word(row, context), sentence(row, context), said))
            found.append(_record(row, context, said))
    return found, tuple(verdicts)


def _record(row: Row, context: Context, said: Sequence[str]) -> dict[str, Any]:
    """Turn a comparison into a row of comparisons.csv; what could not be computed is left out, and reads as empty."""
    numbers = row.numbers
    record: dict[str, Any] = {
        "metric": row.metric,
        "scope": row.scope.text,
        **row.scope.fixed,
        "by": "",
        "value": math.nan,
    }
    record |= {"cell": row.cell, "baseline": row.baseline, "at": row.at, "seeds": len(row.seeds)}
    record |= {"points": len(row.points), "points_uninformative": len(row.uninformative)}
    if numbers is not None:
        record |= {
            "ratio": numbers.ratio,
            "ratio_low": numbers.low,
            "ratio_high": numbers.high,
            "work_ratio": row.work,
            "corrected_low": row.corrected_low,
            "corrected_high": row.corrected_high,
            "p": numbers.p,
            "p_holm": row.p_holm,
            "p_equivalent_holm": row.p_equivalent_holm,
            "sooner": row.sooner.share,
            "sooner_low": row.sooner.low,
            "sooner_high": row.sooner.high,
            "without_one_point_low": row.without_low,
            "without_one_point_high": row.without_high,
            "sd": numbers.sd,
            "detectable": numbers.detectable,
            "seeds_needed": numbers.seeds_needed if row.look is None else math.nan,
            "settles_at": row.settles_at,
        }
        if row.at == "tuned":
            record |= {"ends": len(row.ends), "ends_baseline": len(row.ends_baseline)}
    if row.look is not None and not row.behind and context.design.stages is not None:
        plan = context.design.stages.looks
        record |= {"look": row.look.number, "looks": len(plan), "share": row.look.share}
    if any(axis.estimates for axis in context.axes):
        # the axis along which the order is reversed, else the one along which the ratio differs most surely
        shown = (turning(context) or sorted(context.axes, key=lambda axis: axis.differ_holm))[0]
        record |= {"differ_axis": shown.axis, "differ_p_holm": shown.differ_holm, "crossing_p": shown.test.crossing}
    return record | {"bound": row.bound, "verdict": word(row, context), "notes": "; ".join(said)}


def _whole(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Keep whole numbers whole beside empty cells, so that CSV files say 8 and not 8.0."""
    for column in columns:
        numbers = pd.to_numeric(frame[column], errors="coerce")
        known = numbers.dropna()
        if len(known) == frame[column].notna().sum() and ((known % 1 == 0) & (known.abs() < 2**53)).all():
            frame[column] = numbers.astype("Int64")
    return frame
