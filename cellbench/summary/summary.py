"""Turn the store's frames into every number that is published. Report code lays these out and computes nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pandas as pd

from cellbench.summary import accuracies
from cellbench.summary import comparisons as pairs
from cellbench.summary import footnotes as reading
from cellbench.summary import profiles as charts
from cellbench.summary.cells import cells, overview
from cellbench.summary.comparisons import ALL, POINT, AxisRow, Row
from cellbench.summary.design import Design
from cellbench.summary.footnotes import Missing
from cellbench.summary.notes import notes
from cellbench.summary.ranking import ranked
from cellbench.summary.selection import Selection, select
from cellbench.summary.verdicts import Context, Finding, Verdict, cost, sentence, turning, word

__all__ = ["Design", "Missing", "Summary", "Verdict", "summarise"]

COMPARED = (
    "by", "value", "cell", "baseline", "at", "seeds", "points", "points_uninformative", "ratio", "ratio_low",
    "ratio_high", "bound", "work_ratio", "difference", "difference_low", "difference_high", "p", "p_holm",
    "p_equivalent_holm", "corrected_low", "corrected_high", "sooner", "sooner_low", "sooner_high",
    "without_one_point_low", "without_one_point_high", "sd", "detectable", "seeds_needed", "differ_axis",
    "differ_p_holm", "crossing_p", "ends", "ends_baseline", "verdict", "notes",
)  # fmt: skip
"""The columns of comparisons.csv after `metric`, `scope` and the axes."""

_WHOLE = ("value", "points_uninformative", "ends", "ends_baseline")


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
            engine, engine_version, isa and compiler, if they are there. Others are not read. Status is solved,
            censored, diverged, failed or missing. Failed with cause `cell` counts as never solved; failed for any
            other cause counts as missing, and is listed.
        evaluations: one row for each final evaluation: label, the axes, learning_rate, seed, by ("": at the trained
            length), value, bit_accuracy, sequence_accuracy.
        design: what was planned.

    Raises:
        ValueError: the frames hold something that the design does not plan, or one replica twice.
    """
    replicas = select(runs, evaluations, design)
    scopes = pairs.scopes(replicas)
    pairings = design.pairings()
    table = cells(replicas)
    rows, in_work = _measured(replicas, scopes, pairings)
    # whether the ratio depends on an axis is asked once per pair, over all points at the tuned rate
    axes = pairs.corrected_axes(
        axis for row in rows if row.scope.kind == ALL and row.at == "tuned" for axis in pairs.axis_rows(replicas, row)
    )
    scores = accuracies.ByCell(replicas)
    compared, verdicts = _compared(replicas, rows, axes)
    costs, found = _costs(replicas, in_work)
    of_accuracy = accuracies.comparisons(scores, scopes, pairings) if replicas.keys else []
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
        footnotes=reading.footnotes(replicas, table, rows),
        how_to_read=reading.how_to_read(replicas, rows),
        missing=reading.missing(replicas),
        outcomes=reading.outcomes(replicas),
        wider_rates=reading.wider_rates(design, rows),
        replicas=replicas,
    )


def _measured(
    replicas: Selection, scopes: Sequence[pairs.Scope], pairings: Sequence[tuple[str, str]]
) -> tuple[list[Row], list[Row]]:
    """Measure every comparison of steps, and over all points of multiply-adds; correct each within its family."""
    families: dict[tuple[str, str], list[Row]] = {}
    for cell, baseline in pairings:
        for scope in scopes:
            # three families per choice of rate: all points; the values of all axes together; single points
            kind = scope.kind if scope.kind in (ALL, POINT) else "axis"
            for at in ("tuned", "across"):
                families.setdefault((kind, at), []).append(pairs.measure(replicas, cell, baseline, at, scope))
    log_bound = math.log(replicas.design.ratio_of_interest)
    of_interest = replicas.design.ratio_of_interest
    work = [pairs.in_multiply_adds(row, of_interest) for row in families.get((ALL, "tuned"), ())]
    rows = [row for family in families.values() for row in pairs.corrected(family, log_bound)]
    return rows, pairs.corrected(work, log_bound)


def _costs(replicas: Selection, rows: Sequence[Row]) -> tuple[list[dict[str, Any]], dict[tuple[str, str], Finding]]:
    """Lay out the rows of comparisons.csv for the cost to solve, and give each pair its verdict on it."""
    axes = pairs.corrected_axes(axis for row in rows for axis in pairs.axis_rows(replicas, row))
    found, records = {}, []
    for row in rows:
        of_pair = tuple(axis for axis in axes if (axis.cell, axis.baseline) == (row.cell, row.baseline))
        context = Context(replicas, axes=of_pair)
        records.append(_record(row, context, ()))
        found[row.cell, row.baseline] = cost(row, context)
    return records, found


def _compared(
    replicas: Selection, rows: Sequence[Row], axes: Sequence[AxisRow]
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
                replicas,
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
            "seeds_needed": numbers.seeds_needed,
        }
        if row.at == "tuned":
            record |= {"ends": len(row.ends), "ends_baseline": len(row.ends_baseline)}
    if context.axes:
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
