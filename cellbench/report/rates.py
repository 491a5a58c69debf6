"""Define the chart of learning rates: typical steps at each, and the share of replicas that solved."""

from __future__ import annotations

import math

import altair as alt
import numpy as np
import pandas as pd

from cellbench.report import palette as look
from cellbench.report.figure import (
    CLOSE_STEPS,
    IN_FILE,
    PANEL_WIDTH,
    STEPS,
    Encodings,
    Figure,
    base,
    layers,
    points,
    tips,
    title,
)
from cellbench.summary.figures import Figures

SIDE = 16
"""Pixels between a panel's edges and its first and last rates."""

SHARE_WIDTH = 18
"""Pixels that a percentage takes, with a gap to the next."""


def figure(figures: Figures, e: Encodings) -> Figure:
    """Define the figure: in a file each cell has a panel of its own."""
    frame, design = figures.rates, figures.design
    frame = frame.assign(written=_with_room(frame))
    scale = alt.Scale(type="log", nice=False, padding=SIDE)
    x = alt.X("learning_rate:Q", title="learning rate (log scale)", scale=scale).axis(
        format="~g", values=list(design.rates), labelOverlap=True, grid=False
    )
    drawn = frame[["steps", "low", "high"]].to_numpy(dtype=float)
    wide = not len(frame) or bool(np.nanmax(drawn) > 5 * np.nanmin(drawn))
    y = alt.Y("steps:Q", scale=alt.Scale(type="log", nice=False, padding=12), title="steps to solved (log scale)")
    y = y.axis(format="~s", values=STEPS if wide else CLOSE_STEPS, labelOverlap=True)
    shown = tips(("cell", "cell", ""), ("learning_rate", "learning rate", "~g"), ("steps", "typical steps", ".0f"),
                 ("low", "from", ".0f"), ("high", "to", ".0f"), ("share", "solved", ".0%"),
                 ("seeds", "seeds", "d"))  # fmt: skip
    seed = tips(("cell", "cell", ""), ("seed", "seed", "d"), ("steps", "steps", "d"), ("kind", "", ""))
    rate, unsure = base(kind="rate"), base(kind="rate", sure="no")
    chart = layers(
        e,
        base(kind="solved").mark_point(filled=True, size=14).encode(
            x=x, y=y, color=e.colour, opacity=e.faded(0.35, 0.02), tooltip=seed),
        base(kind="never").mark_point(shape="M-1,-1L1,1M-1,1L1,-1", size=26, strokeWidth=1.5).encode(
            x=x, y=y, color=e.colour, opacity=e.faded(0.6, 0.02), tooltip=seed),
        rate.mark_line(strokeWidth=1.5).encode(x=x, y=y, color=e.colour, opacity=e.faded(0.7)),
        rate.mark_rule(strokeWidth=2).encode(
            x=x, y=alt.Y("low:Q", title=title(y)), y2=alt.Y2("high:Q"), color=e.colour, opacity=e.faded(1),
            tooltip=shown),
        base(kind="rate", sure="yes").mark_point(filled=True, size=60, opacity=1).encode(
            x=x, y=y, color=e.colour, shape=e.shape, opacity=e.faded(1), tooltip=shown),
        unsure.mark_point(size=50, strokeWidth=2, fill=look.GROUND).encode(
            x=x, y=y, color=e.colour, shape=e.shape, opacity=e.faded(1), tooltip=shown),
        # in a row between a panel and its head, where no mark and no grid line comes
        base(kind="rate", written="yes").mark_text(align="center", fontSize=8).encode(
            x=x, y=alt.YValue(-6), text=alt.Text("share:Q", format=".0%"), color=e.colour  # type: ignore[no-untyped-call]
        ).properties(name=f"{IN_FILE}_share"),
        main=2,
    )  # fmt: skip
    return Figure(
        "rates",
        "Learning rates",
        f"Large marks: typical steps of each learning rate; one that never solves counts as {design.max_steps}; "
        f"bars: 95 % intervals, Student's t over seeds. A hollow mark is a rate at which not all solved: perhaps fast, "
        f"but not reliable; the percentage above is the share that did, where it has room (on the page, hover over "
        f"the mark). At a single point, small dots are seeds, and small crosses seeds that never solved."
        f"{' Tuned options: those that are picked.' if design.tunes_options else ''}",
        chart, frame, (points(figures, pooled=True),), panels="cell",
    )  # fmt: skip


def _with_room(frame: pd.DataFrame) -> list[str]:
    """Choose the shares below 100 % that are written, from the lowest rate on: none touches the one before it."""
    rates, places = frame["learning_rate"], {}
    apart = math.log(rates.max() / rates.min()) * SHARE_WIDTH / (PANEL_WIDTH - 2 * SIDE) if len(frame) else 0.0
    unsure = frame[(frame["kind"] == "rate") & (frame["sure"] == "no")].sort_values("learning_rate")
    for _, panel in unsure.groupby(["point", "cell"], sort=False):
        last = -math.inf
        for row, at in zip(panel.index, np.log(panel["learning_rate"]), strict=True):
            if at - last >= apart:
                places[row], last = "yes", at
    return [places.get(row, "") for row in frame.index]
