"""The main tables as rows of text, without any format's escapes. Layout only: every number comes from the summary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cellbench.report.rows import known, number, p_value, ratio, share, span, steps, steps_rows, typical
from cellbench.summary import words
from cellbench.summary.design import Value, axis_word, point_name, value_word
from cellbench.summary.summary import Design, Summary


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        title: what it shows.
        heads: of the columns.
        rows: texts, as long as `heads`.
        foreign: the heads of columns that hold what a plugin or a file wrote, which each format must escape.
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    foreign: frozenset[str] = frozenset({"cell", "baseline", "where", "point", "notes"})


def by_axis(summary: Summary, design: Design) -> Grid:
    """The ratios for each value of each axis of the grid."""
    frame = steps_rows(summary)
    rows = []
    for row in frame[~frame["scope"].isin(["all", "point"])].to_dict("records"):
        axis = next(a for a in design.axes if known(row[a]))
        value: Value = row[axis]
        where = f"{axis_word(axis, [value])}={value_word(axis, value)}"
        counts = (str(row["seeds"]), str(row["points"]))
        numbers = (ratio(row), number(row["work_ratio"]), p_value(row["p_holm"]))
        rows.append((*_pair(row), where, *counts, *numbers, str(row["verdict"])))
    heads = ("cell", "baseline", "where", "seeds", "points", "ratio of steps", "work", "p (Holm)", "verdict")
    return Grid("By value of each axis", heads, tuple(rows))


def across(summary: Summary) -> Grid:
    """The ratios averaged over the learning rates."""
    frame = steps_rows(summary, "across")
    rows = tuple(
        (*_pair(row), str(row["seeds"]), str(row["points"]), ratio(row), p_value(row["p_holm"]), str(row["verdict"]))
        for row in frame[frame["scope"] == "all"].to_dict("records")
    )
    heads = ("cell", "baseline", "seeds", "points", "ratio of steps", "p (Holm)", "verdict")
    return Grid("Across the learning rates, nothing picked", heads, rows)


def points(summary: Summary, design: Design) -> Grid:
    """Each cell at each point: the tuned row."""
    tau, rows = design.max_steps, []
    for row in summary.cells[summary.cells["at"] == "tuned"].to_dict("records"):
        picked = (
            f"{words.number(row['picked'])} ({words.percent(row['picked_share'])})" if known(row["picked"]) else "–"
        )
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
    heads = ("point", "cell", "seeds", "solved", "median steps", "typical steps", "mean steps", "picked", "notes")
    return Grid("Each point", heads, tuple(rows))


def ratios(summary: Summary, design: Design) -> Grid:
    """The ratios at each point: description."""
    frame = steps_rows(summary)
    rows = []
    for row in frame[frame["scope"] == "point"].to_dict("records"):
        where = point_name(design.axes, tuple(row[a] for a in design.axes))
        sooner = words.percent(row["sooner"]) if known(row["sooner"]) else "–"
        numbers = (str(row["seeds"]), ratio(row), p_value(row["p_holm"]), sooner, str(row["verdict"]))
        rows.append((where, *_pair(row), *numbers))
    heads = ("point", "cell", "baseline", "seeds", "ratio of steps", "p (Holm)", "sooner", "verdict")
    return Grid("Ratios at each point (description)", heads, tuple(rows))


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
