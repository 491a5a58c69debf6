"""Define the chart of looks: each cell's interval as seeds were added, up to the look at which it was decided."""

from __future__ import annotations

import altair as alt

from cellbench.report import palette as look
from cellbench.report.figure import RATIOS, Encodings, Figure, base, layers, tips, title
from cellbench.summary import words
from cellbench.summary.figures import Figures


def figure(figures: Figures, e: Encodings) -> Figure:
    """Define the figure; it has no rows where seeds are fixed."""
    design, m = figures.design, figures.design.ratio_of_interest
    x = alt.X("seeds:O", title="seeds at the look", sort="ascending").axis(labelAngle=0)
    y = alt.Y("ratio:Q", scale=alt.Scale(type="log", nice=False, padding=12))
    y = y.title(f"ratio of steps to {design.against}").axis(
        format="~r", values=RATIOS, labelOverlap=True, grid=False, zindex=1
    )  # above the band
    shown = tips(("cell", "cell", ""), ("look", "look", "d"), ("seeds", "seeds", "d"), ("ratio", "ratio", ".3~r"),
                 ("low", "from", ".3~r"), ("high", "to", ".3~r"), ("standing", "then", ""))  # fmt: skip
    chart = layers(
        e,
        base().mark_rect(color=look.BAND).encode(y=alt.YDatum(1 / m), y2=alt.Y2Datum(m)),
        base().mark_rule(color=look.MUTED, strokeDash=[3, 3]).encode(y=alt.YDatum(1)),
        base().mark_rule(strokeWidth=2).encode(
            x=x, y=alt.Y("low:Q", title=title(y)), y2=alt.Y2("high:Q"), xOffset=e.x_offset, color=e.colour,
            opacity=e.faded(0.8), tooltip=shown),
        base().mark_point(filled=True, size=60, opacity=1).encode(
            x=x, y=y, xOffset=e.x_offset, color=e.colour, shape=e.shape, opacity=e.faded(1), tooltip=shown),
    )  # fmt: skip
    return Figure(
        "looks",
        "Ratio of steps at each look",
        f"Seeds were added until a comparison was decided. Marks: the ratio of typical steps to those of "
        f"{design.against}, over all points, at the seeds of each look. Bars: 95 % intervals over all looks: all bars "
        f"of a cell hold at once. A cell's last mark is its verdict's. The grey band: ratios of {words.ratio(1 / m)} "
        f"to {words.ratio(m)}.",
        chart, figures.looks,
    )  # fmt: skip
