"""Define the charts of accuracies: by length and by difficulty, of each cell and as differences from the baseline."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt
import pandas as pd

from cellbench.report import palette as look
from cellbench.report.figure import CHOICE, Control, Encodings, Figure, base, layers, tips, title
from cellbench.summary.design import Design, place_word, value_order
from cellbench.summary.figures import Figures
from cellbench.summary.words import quantity


def metrics(design: Design) -> tuple[tuple[str, str], ...]:
    """List the accuracies to choose from: each one's column, and its name for this task."""
    return ("sequence_accuracy", "sequence accuracy"), ("bit_accuracy", design.right)


_CLUSTERS = alt.Scale(paddingInner=0.4, paddingOuter=0.2)
"""Puts cells side by side at one value, with a gap before the next value."""


def figures(found: Figures, e: Encodings) -> Iterator[Figure]:
    """Yield the figures of accuracy by each of the task's parameters, then by its difficulty."""
    design = found.design
    for by in dict.fromkeys(by for by in found.summary.accuracy["by"] if by):
        frame = found.accuracy(by)
        own = by in design.axes
        word = quantity(by)
        x = alt.X("value:O", title=word, sort="ascending", scale=_CLUSTERS).axis(labelAngle=0)
        y = alt.Y("mean:Q", title=CHOICE, scale=alt.Scale(domain=[0, 1])).axis(format="~%")
        shown = tips(("cell", "cell", ""), ("value", word, "d"), ("mean", "mean", ".4~f"), ("low", "from", ".3f"),
                     ("high", "to", ".3f"), ("least", "worst seed", ".4~f"), ("share_99", "seeds at 0.99", ".0%"),
                     ("seeds", "seeds", "d"))  # fmt: skip
        chart = layers(
            e,
            base().mark_rule(strokeWidth=1.5).encode(
                x=x, y=alt.Y("low:Q", title=CHOICE), y2=alt.Y2("high:Q"), xOffset=e.x_offset, color=e.colour,
                opacity=e.faded(0.45), tooltip=shown),
            base().mark_line(strokeWidth=1.5).encode(
                x=x, y=y, xOffset=e.x_offset, color=e.colour, opacity=e.faded(0.8)),
            base().mark_point(filled=True, size=60, opacity=1).encode(
                x=x, y=y, xOffset=e.x_offset, color=e.colour, shape=e.shape, opacity=e.faded(1), tooltip=shown),
        )  # fmt: skip
        where = "at the step where each solved" if design.stop_when_solved else "of the models trained to the end"
        points = _scopes(found, frame, own)
        kind = "length" if own else "chain"
        name = _name(kind, by, found)
        yield Figure(
            name,
            f"Accuracy by {word}",
            f"Marks: the mean accuracy over seeds, {where}, at the tuned rate, on {design.final_examples} new examples "
            f"each. Bars: 95 % intervals of the mean by Gaffke; with few seeds they are long even if every seed is "
            f"perfect. A model that diverged counts as accuracy 0.",
            chart, frame, (Control("metric", "shown", metrics(design)), Control("point", "points", points)),
        )  # fmt: skip
        yield _difference(found, e, by, name, points)


def _scopes(figures: Figures, frame: pd.DataFrame, own: bool) -> tuple[tuple[str, str], ...]:
    """List the points to choose from. A difficulty begins with the longest length, at which all its values occur."""
    names = [str(point) for point in dict.fromkeys(frame["point"])]
    axis = figures.design.axes[0]
    longest = max((point[0] for point in figures.summary.replicas.points), key=value_order, default=None)
    first = place_word(axis, longest) if longest is not None else ""
    if not own and first in names:
        names = [first, *(name for name in names if name != first)]
    return tuple((name, name) for name in names)


def _difference(figures: Figures, e: Encodings, by: str, name: str, points: tuple[tuple[str, str], ...]) -> Figure:
    """Define the figure of what was tested: paired differences from the baseline, with their seeds."""
    frame, against, word = figures.differences(by), figures.design.against, quantity(by)
    x = alt.X("value:O", title=word, sort="ascending", scale=_CLUSTERS).axis(labelAngle=0)
    y = alt.Y("difference:Q", title=f"{CHOICE}, points above {against}").axis(tickCount=6)
    shown = tips(("cell", "cell", ""), ("value", word, "d"), ("difference", "points above", "+.1f"),
                 ("low", "from", "+.1f"), ("high", "to", "+.1f"), ("seeds", "seeds", "d"),
                 ("verdict", "verdict", ""))  # fmt: skip
    seed = tips(("cell", "cell", ""), ("seed", "seed", "d"), ("difference", "points above", "+.1f"))
    one = base(kind="mean")
    chart = layers(
        e,
        base().mark_rule(color=look.MUTED, strokeDash=[3, 3]).encode(y=alt.YDatum(0)),
        one.mark_rule(strokeWidth=1).encode(
            x=x, y=alt.Y("corrected_low:Q", title=title(y)), y2=alt.Y2("corrected_high:Q"), xOffset=e.x_offset,
            color=e.colour, opacity=e.faded(1), tooltip=shown),
        one.mark_rule(strokeWidth=3).encode(
            x=x, y=alt.Y("low:Q", title=title(y)), y2=alt.Y2("high:Q"), xOffset=e.x_offset, color=e.colour,
            opacity=e.faded(1), tooltip=shown),
        base(kind="seed").mark_point(filled=True, size=16, stroke=look.GROUND, strokeWidth=0.6).encode(
            x=x, y=y, xOffset=e.x_offset, color=e.colour, opacity=e.faded(0.7, 0.02), tooltip=seed),
        one.mark_point(filled=True, size=60, opacity=1).encode(
            x=x, y=y, xOffset=e.x_offset, color=e.colour, shape=e.shape, opacity=e.faded(1), tooltip=shown),
    )  # fmt: skip
    kept = tuple(option for option in points if option[0] in set(frame["point"]))
    return Figure(
        f"{name}-difference",
        f"Difference of accuracy by {word}",
        f"Marks: the mean over seeds of the paired difference from {against}, in percentage points, at the tuned rate. "
        f"Dots: the seeds. Thick bars: 95 % intervals, Student's t over seeds. Thin bars: the interval at the level "
        f"at which Holm decides on the verdict, corrected for all lengths and cells; it excludes 0 exactly where the "
        f"verdict does. Where fewer than 6 seeds differ there is no interval.",
        chart, frame, (Control("metric", "shown", metrics(figures.design)), Control("point", "points", kept)),
    )  # fmt: skip


def _name(kind: str, by: str, figures: Figures) -> str:
    """Name the figures' files: `length` and `chain`, and beside others of that kind what tells them apart.

    A difficulty at the largest parameters has a longer name that begins with the difficulty's own.
    """
    own = by in figures.design.axes
    measured = dict.fromkeys(each for each in figures.summary.accuracy["by"] if each)
    alike = [each for each in measured if (each in figures.design.axes) == own]
    if own:
        return kind if len(alike) == 1 else f"{kind}-{by}"
    return kind + by.removeprefix(min(alike, key=len)).replace("_", "-")
