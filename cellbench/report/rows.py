"""Turn the summary's numbers and tables into text, the same in every format."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cellbench.summary import Design, Finding, Summary, words
from cellbench.summary.design import PICKED_OPTIONS, Setting, Value, place_word, plain, point_name, setting

_BOUNDS = {"at least": "≥ ", "at most": "≤ "}


def known(x: Any) -> bool:
    """Tell whether an entry of a frame holds a value."""
    return not (x is None or x is pd.NA or (isinstance(x, float) and math.isnan(x)))


def steps(x: float, tau: int) -> str:
    """Write steps as a whole number, or as `> tau` where they reach the budget."""
    return f"> {tau}" if x >= tau * (1 - 1e-9) else f"{x:.0f}"


def span(low: Any, high: Any, form: Callable[[Any], str]) -> str:
    """Write an interval in brackets after a space; nothing where it is not known."""
    return f" [{form(low)}, {form(high)}]" if known(low) and known(high) else ""


def ratio(row: Any) -> str:
    """Write a ratio with its interval, marked where it is a bound."""
    if not known(row["ratio"]):
        return "–"
    limits = span(row["ratio_low"], row["ratio_high"], words.limit)
    return f"{bounded(row['ratio'], str(row['bound']))}{limits}"


def bounded(ratio: float, bound: str) -> str:
    """Write a ratio, marked where it is a bound: `at least` or `at most`."""
    return f"{_BOUNDS.get(bound, '')}{words.ratio(ratio)}"


def share(row: Any) -> str:
    """Write the solved share in percent."""
    return words.percent(row["solved"]) if known(row["solved"]) else "–"


def typical(row: Any, tau: int) -> str:
    """Write typical steps with their interval."""
    if not known(row["typical_steps"]):
        return "–"
    limits = span(row["typical_low"], row["typical_high"], lambda x: f"{x:.0f}")
    return f"{steps(row['typical_steps'], tau)}{limits}"


def p_value(x: Any) -> str:
    """Write a p-value without the letter p, for a column that has it in its head."""
    return words.p(x).removeprefix("p ") if known(x) else "–"


def number(x: Any, form: str = ".2f") -> str:
    """Write a number, or a dash where it is not known."""
    return format(x, form) if known(x) else "–"


def steps_rows(summary: Summary, at: str = "tuned") -> pd.DataFrame:
    """Select the comparisons of steps, `tuned` or `across`."""
    frame = summary.comparisons
    return frame[(frame["metric"] == "steps") & (frame["at"] == at)]


def exact(summary: Summary) -> dict[str, str]:
    """Write each cell's mean sequence accuracy at the trained length, over all points."""
    return _means(summary, "", None)


def at_longest(summary: Summary) -> dict[str, str]:
    """Write each cell's mean sequence accuracy at the longest length evaluated; empty if there is only one."""
    found = longest_length(summary)
    return _means(summary, *found) if found else {}


def longest_length(summary: Summary) -> tuple[str, Value] | None:
    """Find the parameter that models were evaluated by, and its largest value; texts have none."""
    frame = summary.accuracy
    for by in summary.design.axes:
        values = frame.loc[frame["by"] == by, "value"].dropna()
        if len(values) and all(isinstance(value, int | float) for value in values.tolist()):
            return by, plain(values.max())
    return None


def _means(summary: Summary, by: str, value: Value | None) -> dict[str, str]:
    frame = summary.accuracy
    rows = frame[
        (frame["metric"] == "sequence_accuracy")
        & (frame["scope"] == "all")
        & (frame["at"] == "tuned")
        & (frame["by"] == by)
    ]
    if value is not None:
        rows = rows[rows["value"] == value]
    return {cell: f"{mean:.3f}" for cell, mean in zip(rows["cell"], rows["mean"], strict=True)}


HEADS = ("cell", "solved", "typical steps", "ratio of steps", "verdict", "cost to solve", "exact", "longest",
         "one point left out", "tuning gain", "rate at an end")  # fmt: skip
"""The columns of `overview`."""

BRIEF = HEADS.index("longest") + 1
"""How many of them answer the questions; the others say how sure the answers are."""

TYPICAL = HEADS.index("typical steps")

WITH_VERDICTS = ("cost to solve", "exact", "longest")
"""The columns that hold a number and, after a semicolon, what was found of it."""


TUNING = ("settings tried", "picked")
"""The columns of `overview` more, where options are tuned, or cells have learning rates of their own."""


def heads(design: Design) -> tuple[str, ...]:
    """List the columns of `overview`."""
    return (*HEADS, *TUNING) if design.settings else HEADS


def overview(summary: Summary, design: Design) -> list[list[str]]:
    """Lay out one row per cell, the baseline and the user's own cells first, with the columns that `heads` lists."""
    main = steps_rows(summary)
    main = main[(main["scope"] == "all") & (main["baseline"] == design.against)].set_index("cell")
    trained, longest = exact(summary), at_longest(summary)
    verdicts = {v.cell: v for v in summary.verdicts if v.baseline == design.against}
    of_cell = {row["cell"]: row for row in summary.overview.to_dict("records")}
    rows = []
    for cell in design.shown:
        row = of_cell[cell]
        ends = (
            f"{row['ends']:.0f} of {row['points']} ({row['end_rates']})" if known(row["ends"]) and row["ends"] else ""
        )
        findings: Mapping[str, Finding] = {}
        if cell in main.index:
            pair: Any = main.loc[cell]
            left = (pair["without_one_point_low"], pair["without_one_point_high"])
            compared, verdict = ratio(pair), str(pair["verdict"])
            without = f"{words.ratio(float(left[0]))} to {words.ratio(float(left[1]))}" if known(left[0]) else ""
            findings = {finding.about: finding for finding in verdicts[cell].findings}
        else:
            compared, verdict, without = "1 (baseline)", "", ""
        rows.append(
            [
                cell,
                share(row),
                typical(row, design.max_steps),
                compared,
                verdict,
                _cost(findings.get("cost")),
                accuracy_of(trained.get(cell, "–"), findings.get("trained")),
                accuracy_of(longest.get(cell, "–"), findings.get("longest")),
                without,
                number(row["tuning_gain"]) if design.several else "",
                ends,
                *([str(row["settings"]), row["picked"] or "–"] if design.settings else []),
            ]
        )
    return rows


def _cost(finding: Finding | None) -> str:
    """Write the cost to solve with its interval and verdict."""
    if finding is None or finding.estimate is None:
        return "" if finding is None else finding.verdict
    numbers = f"{words.ratio(finding.estimate)}{span(finding.low, finding.high, words.limit)}"
    return f"{_BOUNDS.get(finding.bound, '')}{numbers}; {finding.verdict}"


def accuracy_of(mean: str, finding: Finding | None) -> str:
    """Write an accuracy with its verdict; a difference that is shown with its percentage points."""
    if finding is None:
        return mean
    if finding.estimate is not None and finding.verdict in ("higher", "lower"):
        return f"{mean}; {abs(finding.estimate):.1f} points {finding.verdict}"
    return f"{mean}; {finding.verdict}"


def answers(summary: Summary) -> Grid:
    """Lay out every verdict over all points, one row per cell and question."""
    rows = []
    main = steps_rows(summary)
    main = main[main["scope"] == "all"]
    speed = {(row["cell"], row["baseline"]): row for row in main.to_dict("records")}
    for verdict in summary.verdicts:
        row = speed[verdict.cell, verdict.baseline]
        pair = (verdict.cell, verdict.baseline)
        rows.append((*pair, "steps to solve", ratio(row), p_value(row["p_holm"]), str(row["verdict"])))
        for finding in verdict.findings:
            if finding.about == "cost":
                question, text = "multiply-adds to solve", _cost(finding).split("; ")[0]
            else:
                question = f"sequence accuracy {finding.question}"
                text = "–" if finding.estimate is None else f"{words.points(finding.estimate)} points"
                text += span(finding.low, finding.high, lambda x: f"{x:+.1f}")
            rows.append((*pair, question, text, p_value(finding.p), finding.verdict))
    titles = ("cell", "baseline", "question", "difference [95 %]", "p (Holm)", "verdict")
    return Grid("Every verdict, over all points at the tuned learning rate", titles, tuple(rows))


def legend(design: Design, summary: Summary) -> str:
    """Explain the columns of `overview`."""
    found = longest_length(summary)
    longest = f"; longest: the same at {setting(*found)}" if found else ""
    return (
        f"ratio of steps: below 1 the cell needs fewer steps than {design.against}, with its 95 % interval; cost to "
        f"solve: that ratio in multiply-adds; exact: mean sequence accuracy at the trained length{longest}"
    )


@dataclass(frozen=True)
class Grid:
    """A table as text.

    Attributes:
        title: the text above it.
        heads: the texts above its columns.
        rows: one text per column.
        foreign: the heads of columns with text from a plugin or a file, which each format must escape.
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    foreign: frozenset[str] = frozenset({"cell", "baseline", "where", "point", "notes", "verdict", "question"})


def by_axis(summary: Summary, design: Design) -> Grid:
    """Lay out the ratios at each value of each axis of the grid."""
    frame = steps_rows(summary)
    rows = []
    for row in frame[~frame["scope"].isin(["all", "point"])].to_dict("records"):
        axis = next(a for a in design.axes if known(row[a]))
        value: Value = row[axis]
        where = place_word(axis, value)
        counts = (str(row["seeds"]), str(row["points"]))
        numbers = (ratio(row), number(row["work_ratio"]), p_value(row["p_holm"]))
        rows.append((*_pair(row), where, *counts, *numbers, str(row["verdict"])))
    titles = ("cell", "baseline", "where", "seeds", "points", "ratio of steps", "work", "p (Holm)", "verdict")
    return Grid("By value of each axis", titles, tuple(rows))


def across(summary: Summary) -> Grid:
    """Lay out the ratios averaged over the learning rates, and the options that were tried."""
    design = summary.design
    frame = steps_rows(summary, "across")
    rows = tuple(
        (*_pair(row), str(row["seeds"]), str(row["points"]), ratio(row), p_value(row["p_holm"]), str(row["verdict"]))
        for row in frame[frame["scope"] == "all"].to_dict("records")
    )
    titles = ("cell", "baseline", "seeds", "points", "ratio of steps", "p (Holm)", "verdict")
    return Grid(f"Across the {'settings' if design.tunes_options else 'learning rates'}, nothing picked", titles, rows)


def points(summary: Summary, design: Design) -> Grid:
    """Lay out each cell at each point, at the tuned rate."""
    tau, rows = design.max_steps, []
    for row in summary.cells[summary.cells["at"] == "tuned"].to_dict("records"):
        picked = "–"
        if known(row["picked"]):
            tried = Setting(str(row.get(PICKED_OPTIONS) or ""), row["picked"])
            picked = f"{tried.text} ({words.percent(row['picked_share'])})"
        rows.append(
            (
                point_name(design.axes, tuple(row[a] for a in design.axes)),
                row["cell"],
                str(row["seeds"]),
                share(row) + span(row["solved_low"], row["solved_high"], words.percent),
                _median(row, tau),
                typical(row, tau),
                _mean(row, tau),
                picked,
                row["notes"],
            )
        )
    titles = ("point", "cell", "seeds", "solved", "median steps", "typical steps", "mean steps", "picked", "notes")
    return Grid("Each point", titles, tuple(rows))


def ratios(summary: Summary, design: Design) -> Grid:
    """Lay out the ratios at each point, which only describe."""
    frame = steps_rows(summary)
    rows = []
    for row in frame[frame["scope"] == "point"].to_dict("records"):
        where = point_name(design.axes, tuple(row[a] for a in design.axes))
        sooner = words.percent(row["sooner"]) if known(row["sooner"]) else "–"
        numbers = (str(row["seeds"]), ratio(row), p_value(row["p_holm"]), sooner, str(row["verdict"]))
        rows.append((where, *_pair(row), *numbers))
    titles = ("point", "cell", "baseline", "seeds", "ratio of steps", "p (Holm)", "sooner", "verdict")
    return Grid("Ratios at each point (description)", titles, tuple(rows))


def _pair(row: Any) -> tuple[str, str]:
    return row["cell"], row["baseline"]


def _median(row: Any, tau: int) -> str:
    if not known(row["solved"]):
        return "–"
    middle = f"{row['median_steps']:.0f}" if known(row["median_steps"]) else "not reached"
    if row["seeds"] < 6:
        return f"{middle} (interval needs 6 seeds)"
    low, high = (f"{row[k]:.0f}" if known(row[k]) else f"> {tau}" for k in ("median_low", "median_high"))
    return f"{middle} [{low}, {high}]"


def _mean(row: Any, tau: int) -> str:
    if not known(row["mean_steps"]):
        return "–"
    return steps(row["mean_steps"], tau) + span(row["mean_low"], row["mean_high"], lambda x: f"{x:.0f}")
