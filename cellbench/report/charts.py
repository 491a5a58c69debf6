"""Define every chart once: the page embeds the definition, and the files in charts/ are drawn from it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
from altair.utils.schemapi import debug_mode

from cellbench.report import accuracies, looks, rates
from cellbench.report import palette as look
from cellbench.report.drawing import Pictures
from cellbench.report.figure import (
    CHOICE,
    CLOSE_STEPS,
    RATIOS,
    STEPS,
    Control,
    Encodings,
    Figure,
    base,
    first_shown,
    layers,
    points,
    stacked,
    tips,
    title,
)  # fmt: skip
from cellbench.report.files import remove
from cellbench.summary import words
from cellbench.summary.figures import ALL_POINTS, COSTS, PICKED, TUNED, Figures

MOST_OFFSETS = 6
"""The most comparisons that share one row of the forest."""

_NAME = re.compile(r"forest|looks|curves|solved|rates|heat|cost|size|profile|tuning|(length|chain)(-.+)?", re.DOTALL)
"""The names of figures; those of accuracies may end with what they are by."""

_INTERVAL = (("low", "from", ".3~r"), ("high", "to", ".3~r"))


def all_figures(figures: Figures, defined: Callable[[Figure], object] = lambda figure: None) -> list[Figure]:
    """Define every figure that has rows, in the page's order.

    Args:
        figures: the numbers.
        defined: called with each figure when it is defined; first with the learning curves, which take longest to draw.
    """
    found: dict[str, Figure] = {}

    def add(figure: Figure) -> None:
        if len(figure.frame):
            found[figure.name] = figure
            defined(figure)

    with debug_mode(False):  # else altair spends seconds on validating each part; the tests validate them
        e = Encodings(figures)
        for define in (_curves, _forest, looks.figure, _solved, rates.figure):
            add(define(figures, e))
        for figure in accuracies.figures(figures, e):
            add(figure)
        add(_heat(figures))
        for define in (_cost, _size, _profile, _tuning):
            add(define(figures, e))
    order = [name for name in ("forest", "looks", "curves") if name in found]
    return [found[name] for name in dict.fromkeys((*order, *found))]


def forest(figures: Figures) -> Figure | None:
    """Define the figure of all ratios with their intervals; None if nothing is compared."""
    with debug_mode(False):
        found = _forest(figures, Encodings(figures))
    return found if len(found.frame) else None


def _band(figures: Figures) -> float:
    """Choose how strong a band is: many on top of each other would hide the lines."""
    return 0.14 if len(first_shown(figures)) <= 4 else 0.06


def _comparison_controls(frame: pd.DataFrame, row: bool = False) -> tuple[Control, ...]:
    at = [("tuned", "at the tuned learning rate"), ("across", "across the learning rates")]
    found = [Control("at", "learning rate", tuple(o for o in at if o[0] in set(frame["at"])))]
    baselines = tuple((str(name), str(name)) for name in dict.fromkeys(frame["baseline"]))
    if len(baselines) > 1:
        found.append(Control("baseline", "compared with", baselines))
    if row:
        found.insert(0, Control("row", "points", tuple((str(r), str(r)) for r in dict.fromkeys(frame["row"]))))
    return tuple(found)


def _forest(figures: Figures, e: Encodings) -> Figure:
    frame, design = figures.forest, figures.design
    rows = list(dict.fromkeys(frame["row"]))
    beside = frame["cell"].nunique() <= MOST_OFFSETS
    y = alt.Y("row:N", sort=rows, title=None) if beside else alt.Y("cell:N", sort=list(figures.order), title=None)
    y = y.axis(labelLimit=220)
    offset: dict[str, Any] = {"yOffset": e.y_offset} if beside else {}
    x = alt.X("ratio:Q", scale=alt.Scale(type="log", nice=False, padding=12))
    against = design.against if frame["baseline"].nunique() < 2 and len(design.against) <= 20 else "the baseline"
    x = x.title(f"ratio to {against} (below 1: fewer steps)").axis(format="~r", values=RATIOS, labelOverlap=True)
    shown = tips(("cell", "cell", ""), ("row", "points", ""), ("ratio", "ratio", ".3~r"), *_INTERVAL,
                 ("work_ratio", "in multiply-adds", ".3~r"), ("p_holm", "p (Holm)", ".2~g"), ("seeds", "seeds", "d"),
                 ("averaged", "points averaged", "d"), ("bound", "the ratio is", ""),
                 ("verdict", "verdict", ""))  # fmt: skip
    one, m = alt.XDatum(1), design.ratio_of_interest
    colour, shape = (e.colour, e.shape) if beside else (e.plain, e.plain_shape)
    strong = e.faded(1) if beside else alt.OpacityValue(1)
    parts = [
        base().mark_rect(color=look.BAND).encode(x=alt.XDatum(1 / m), x2=alt.X2Datum(m)),
        base().mark_rule(color=look.MUTED, strokeDash=[3, 3]).encode(x=one),
        base().mark_rule(strokeWidth=1).encode(
            x=alt.X("corrected_low:Q", title=title(x)), x2=alt.X2("corrected_high:Q"), y=y, color=colour,
            opacity=strong, tooltip=shown, **offset),
        base().mark_rule(strokeWidth=3).encode(
            x=alt.X("low:Q", title=title(x)), x2=alt.X2("high:Q"), y=y, color=colour, opacity=strong,
            tooltip=shown, **offset),
        base().mark_point(filled=True, size=70, opacity=1).encode(
            x=x, y=y, color=colour, shape=shape, opacity=strong, tooltip=shown, **offset),
        base(bounded="yes").mark_text(dy=-9, fontSize=12).encode(
            x=x, y=y, text=alt.Text("sign:N"), opacity=strong, **offset),
    ]  # fmt: skip
    chart = layers(e, *parts, main=4) if beside else stacked(*parts)
    per_row = max(1, frame["cell"].nunique()) if beside else 1
    over = "" if design.stages is None else " over all looks, at the seeds of each comparison's last look"
    height = 16 + (len(rows) * (10 + 14 * per_row) if beside else 18 * frame["cell"].nunique())
    return Figure(
        "forest",
        "Ratio of steps, with 95 % intervals",
        f"Points: the ratio of typical steps (geometric means of steps to solved) to those of {design.against}; left "
        f"of 1 the cell needs fewer. Thick bars: 95 % intervals{over}, Student's t over seeds, each averaged over the "
        f"points first. Thin bars: the interval at the level at which Holm decides on the verdict, corrected for the "
        f"number of comparisons; it excludes 1 exactly where the verdict does. The grey band: ratios of "
        f"{words.ratio(1 / m)} to {words.ratio(m)}, which the experiment calls too near 1 to be of interest. ≥ and ≤ "
        f"mark bounds: a cell that never solved counts as the whole budget.",
        chart, frame, _comparison_controls(frame, row=not beside), height, rows=True, every_cell=not beside,
    )  # fmt: skip


def _curves(figures: Figures, e: Encodings) -> Figure:
    frame, design = figures.curves, figures.design
    x = alt.X("step:Q", scale=alt.Scale(type="log", nice=False), title="training steps (log scale)").axis(
        format="~s", values=STEPS, labelOverlap=True, grid=False, labelSeparation=6
    )
    y = alt.Y("middle:Q", title=CHOICE, scale=alt.Scale(zero=False))
    shown = tips(("cell", "cell", ""), ("step", "step", "d"), ("middle", "median", ".4~f"), ("low", "quartile", ".4~f"),
                 ("high", "quartile", ".4~f"), ("learning_rate", "learning rate", "~g"),
                 ("seeds", "seeds", "d"))  # fmt: skip
    curve = base(kind="curve")
    reference = base(kind="reference")
    chart = layers(
        e,
        curve.mark_area().encode(x=x, y=alt.Y("low:Q", title=CHOICE), y2=alt.Y2("high:Q"), color=e.line,
                                 opacity=e.faded(_band(figures), 0.01)),
        base(kind="seed").mark_line(strokeWidth=0.6).encode(
            x=x, y=y, color=e.line, detail=alt.Detail("seed:N"), opacity=e.faded(0.3, 0.01)),
        reference.mark_rule(color=look.MUTED, strokeDash=[2, 3]).encode(y=y, tooltip=tips(
            ("name", "a predictor that", ""), ("middle", design.right, ".4~f"))),
        reference.mark_text(align="left", dx=3, dy=-4, fontSize=9, color=look.MUTED).encode(
            x=alt.XValue(0), y=y, text=alt.Text("name:N")),  # type: ignore[no-untyped-call]
        curve.mark_line(strokeWidth=2).encode(x=x, y=y, color=e.line, strokeDash=e.dash, opacity=e.faded(1)),
        curve.mark_point(filled=True, size=70, opacity=0).encode(x=x, y=y, color=e.line, tooltip=shown),
    )  # fmt: skip
    picked = ((PICKED, "the rate picked at this point"),) if (frame["rate"] == PICKED).any() else ()
    choices = (*picked, *((words.number(r), words.number(r)) for r in design.rates))
    metrics = Control("metric", "shown", (*accuracies.metrics(design), ("loss", design.loss)))
    return Figure(
        "curves",
        "Learning curves",
        "Thick lines: the median over seeds, measured on fresh examples during training. Bands: quartiles over seeds "
        "(half of the seeds are inside); they are no interval of the median. Thin lines, at the picked rate: single "
        "seeds. A model that diverged counts as accuracy 0; one "
        "that stopped when it had solved keeps its last values. The rate picked at a point is picked on all seeds. "
        f"Dotted lines on {design.right}: simple predictors that the task names, such as those that see only the last "
        "few inputs. They show how high it can be without solving the task.",
        chart, frame, (metrics, points(figures, pooled=False), Control("rate", "learning rate", choices)),
        panels="point",
    )  # fmt: skip


def _solved(figures: Figures, e: Encodings) -> Figure:
    frame, design = figures.solved, figures.design
    x = alt.X("step:Q", scale=alt.Scale(type="log", nice=False), title="training steps (log scale)").axis(
        format="~s", values=STEPS, labelOverlap=True, grid=False
    )
    y = alt.Y("share:Q", title="share of replicas that have solved", scale=alt.Scale(domain=[0, 1])).axis(format="%")
    shown = tips(("cell", "cell", ""), ("step", "by step", "d"), ("share", "solved", ".1%"), ("low", "from", ".1%"),
                 ("high", "to", ".1%"), ("seeds", "seeds", "d"), ("points", "points", "d"))  # fmt: skip
    curve = base(kind="curve")
    chart = layers(
        e,
        curve.mark_area(interpolate="step-after").encode(
            x=x, y=alt.Y("low:Q", title=title(y)), y2=alt.Y2("high:Q"), color=e.line,
            opacity=e.faded(_band(figures), 0.01)),
        curve.mark_line(interpolate="step-after", strokeWidth=2).encode(
            x=x, y=y, color=e.line, strokeDash=e.dash, opacity=e.faded(1)),
        base(kind="censored").mark_point(shape="stroke", angle=90, size=160, strokeWidth=2).encode(
            x=x, y=y, color=e.line, opacity=e.faded(1), tooltip=tips(
                ("cell", "cell", ""), ("share", "solved when the budget ended", ".1%"), ("seeds", "seeds", "d"))),
        curve.mark_point(filled=True, size=70, opacity=0).encode(x=x, y=y, color=e.line, tooltip=shown),
    )  # fmt: skip
    tuned = ((TUNED, "tuned: picked on other seeds"),) if (frame["rate"] == TUNED).any() else ()
    choices = (*tuned, *((words.number(r), words.number(r)) for r in design.rates))
    return Figure(
        "solved",
        "Share solved over steps",
        f"Lines: the share of replicas that have solved ({design.solved_by} of {words.number(design.threshold)} held "
        f"for {words.count(design.hold, 'evaluations')}), at the tuned rate weighted by how often it was picked; over "
        f"all points, the mean of the points. Bands, at a single point: 95 % intervals by Wilson. A tick at the end "
        f"marks censoring: not all had solved when the budget of {design.max_steps} steps ended.",
        chart, frame, (points(figures, pooled=True), Control("rate", "learning rate", choices)),
    )  # fmt: skip


def _heat(figures: Figures) -> Figure:
    frame, design = figures.heat, figures.design
    cells = [label for label in figures.design.shown if label in set(frame["cell"])]
    names = [name for name in figures.points if name in set(frame["point"])]
    wide = len(cells) > len(names)
    point, cell = ("x", "y") if wide else ("y", "x")
    axes: dict[str, Any] = {
        point: alt.X("point:N", sort=names) if wide else alt.Y("point:N", sort=names),
        cell: alt.Y("cell:N", sort=cells) if wide else alt.X("cell:N", sort=cells),
    }
    axes["x"] = axes["x"].title(None).axis(labelAngle=-35 if wide else 0, labelLimit=160)
    axes["y"] = axes["y"].title(None).axis(labelLimit=200)
    shown = tips(("cell", "cell", ""), ("point", "point", ""), ("ratio", "ratio", ".3~r"), *_INTERVAL,
                 ("work_ratio", "in multiply-adds", ".3~r"), ("seeds", "seeds", "d"),
                 ("verdict", "verdict", ""))  # fmt: skip
    colour = alt.Color(
        "ratio:Q",
        scale=alt.Scale(
            type="log", domain=[0.25, 1, 4], range=[look.FEWER, look.SAME, look.MORE], clamp=True, interpolate="rgb"
        ),
        legend=alt.Legend(title=f"ratio to {design.against}", format="~r", values=[0.25, 0.5, 1, 2, 4]),
    )
    strong = "datum.ratio < 0.36 || datum.ratio > 2.8"
    ink = alt.ColorValue(look.INK, condition={"test": strong, "value": look.INVERSE})
    parts = [base().mark_rect(stroke=look.GROUND).encode(**axes, color=colour, tooltip=shown)]
    if not wide or len(names) <= 12:
        parts.append(base().mark_text(fontSize=10).encode(**axes, text=alt.Text("ratio:Q", format=".2f"), color=ink))
    return Figure(
        "heat",
        "Ratio at each grid point",
        f"The ratio of typical steps to those of {design.against} at each point: blue, fewer steps; orange, more. "
        f"Single points are description, not verdicts: the intervals shown on hovering are Student's t over seeds at "
        f"one point.",
        stacked(*parts), frame, _comparison_controls(frame),
        22 * (len(cells) if wide else len(names)), rows=True, every_cell=True,
    )  # fmt: skip


def _cost(figures: Figures, e: Encodings) -> Figure:
    frame = figures.cost
    options = tuple((measure, text) for measure, text in COSTS.items() if measure in set(frame["measure"]))
    x = alt.X("value:Q", scale=alt.Scale(type="log", nice=False, padding=24), title=f"{CHOICE} (log scale)")
    x = x.axis(format="~s", values=STEPS, labelOverlap=True)
    return Figure(
        "cost",
        "What a step costs, against speed",
        "Marks: typical steps at the tuned rate, against the size of the cell or the cost of a step, one mark per size "
        "of the experiment; over all points, steps and measured times are geometric means of the points of that size. "
        "Bars: 95 % intervals, Student's t over seeds. Down and to the left is better. Multiply-adds are of the "
        "forward pass of one example at one time step, readout included. Microseconds per step were measured while "
        "replicas trained side by side on the machine named below, and depend on the engine as much as on the cell.",
        _against_steps(e, x), frame, (Control("measure", "cost", options), points(figures, pooled=True)),
    )  # fmt: skip


def _size(figures: Figures, e: Encodings) -> Figure:
    """Define the figure of speed by hidden size; it has no rows where cells have one size each."""
    frame = figures.cost
    frame = frame[(frame["measure"] == "hidden_size") & (frame["point"] == ALL_POINTS)]
    sizes = sorted(set(frame["value"]))
    several = frame.groupby("cell")["value"].nunique().max() if len(frame) else 0
    x = alt.X("value:Q", scale=alt.Scale(type="log", nice=False, padding=24), title="hidden size (log scale)")
    x = x.axis(format="~s", values=sizes, labelOverlap=True)
    return Figure(
        "size",
        "Speed by hidden size",
        "Marks: typical steps at the tuned rate at each hidden size, averaged over the other axes (geometric means); "
        "bars: 95 % intervals, Student's t over seeds.",
        _against_steps(e, x), frame if several > 1 else frame.iloc[:0],
    )  # fmt: skip


def _against_steps(e: Encodings, x: alt.X) -> alt.LayerChart:
    """Draw typical steps against `value`, the sizes of a cell joined by a line."""
    y = alt.Y("typical_steps:Q", scale=alt.Scale(type="log", nice=False, padding=16), title="typical steps (log scale)")
    y = y.axis(format="~s", values=STEPS, labelOverlap=True)
    shown = tips(("cell", "cell", ""), ("size", "size", ""), ("value", "at", ".4~s"),
                 ("typical_steps", "typical steps", ".0f"), ("typical_low", "from", ".0f"),
                 ("typical_high", "to", ".0f"), ("solved", "solved", ".0%"))  # fmt: skip
    return layers(
        e,
        base().mark_line(strokeWidth=1).encode(x=x, y=y, color=e.colour, opacity=e.faded(0.5)),
        base().mark_rule(strokeWidth=1.5).encode(
            x=x, y=alt.Y("typical_low:Q", title=title(y)), y2=alt.Y2("typical_high:Q"), color=e.colour,
            opacity=e.faded(0.6), tooltip=shown),
        base().mark_point(filled=True, size=80, opacity=1).encode(
            x=x, y=y, color=e.colour, shape=e.shape, opacity=e.faded(1), tooltip=shown),
    )  # fmt: skip


def _profile(figures: Figures, e: Encodings) -> Figure:
    against = figures.design.against
    x = alt.X("factor:Q", scale=alt.Scale(type="log", nice=False, domain=[0.25, 4]))
    x = x.title(f"multiple of the typical steps of {against} (log scale)").axis(
        format="~r", values=[0.25, 0.5, 1, 2, 4]
    )
    y = alt.Y("share:Q", title="share solved", scale=alt.Scale(domain=[0, 1])).axis(format="%")
    shown = tips(("cell", "cell", ""), ("factor", "multiple", ".3~r"), ("share", "solved", ".1%"),
                 ("points", "points", "d"))  # fmt: skip
    chart = layers(
        e,
        base().mark_rule(color=look.MUTED, strokeDash=[3, 3]).encode(x=alt.XDatum(1)),
        base().mark_line(strokeWidth=2).encode(x=x, y=y, color=e.line, strokeDash=e.dash, opacity=e.faded(1)),
        base().mark_point(filled=True, size=70, opacity=0).encode(x=x, y=y, color=e.line, tooltip=shown),
    )
    return Figure(
        "profile",
        "Performance profile",
        f"Lines: the share of replicas, at the tuned rate and averaged over points, that solved within this multiple "
        f"of the typical steps of {against} at that point. Higher is better; replicas that never solve keep a line "
        f"below 100 %. Description only: no interval is drawn.",
        chart, figures.profile,
    )  # fmt: skip


def _tuning(figures: Figures, e: Encodings) -> Figure:
    frame = figures.tuning if figures.design.several else figures.tuning.iloc[:0]
    rates, of_them = ("settings", "settings") if figures.design.tunes_options else ("learning rates", "rates")
    x = alt.X("tried:O", title=f"{rates} tried").axis(labelAngle=0)
    y = alt.Y("typical_steps:Q", scale=alt.Scale(type="log", nice=False, padding=8), title="typical steps (log scale)")
    y = y.axis(format="~s", values=CLOSE_STEPS, labelOverlap=True)
    shown = tips(("cell", "cell", ""), ("tried", f"{of_them} tried", "d"), ("typical_steps", "typical steps", ".0f"))
    chart = layers(
        e,
        base().mark_line(strokeWidth=2).encode(x=x, y=y, color=e.colour, opacity=e.faded(1)),
        base().mark_point(filled=True, size=60, opacity=1).encode(
            x=x, y=y, color=e.colour, shape=e.shape, opacity=e.faded(1), tooltip=shown),
    )  # fmt: skip
    return Figure(
        "tuning",
        "What tuning brings",
        f"Lines: typical steps to expect after trying this many of the {rates}, averaged over all choices of "
        f"them; the right end is the tuned number, the left end the average over the {of_them}. Description only: no "
        "interval is drawn.",
        chart, frame, (points(figures, pooled=True),),
    )  # fmt: skip


class Files:
    """The figures as files of a folder, charts/<name>.png, .svg or .pdf.

    Args:
        figures: the numbers.
        folder: where the files go.
        pictures: what draws them.
        form: `png`, `svg` or `pdf`.

    Attributes:
        paths: the files so far.
    """

    def __init__(self, figures: Figures, folder: Path, pictures: Pictures, form: str = "png") -> None:
        self.paths: list[Path] = []
        self._cells = first_shown(figures)
        self._folder, self._pictures, self._form = folder, pictures, form

    def draw(self, figure: Figure) -> None:
        """Let a figure be drawn, if there is something to draw."""
        spec = figure.static(self._cells)
        if spec is not None:
            path = self._folder / f"{figure.name}.{self._form}"
            self.paths.append(path)
            self._pictures.draw(spec, path)

    def remove_others(self) -> None:
        """Remove the files of figures that no longer exist; other files stay: they may be the reader's own."""
        for old in self._folder.glob(f"*.{self._form}"):
            if old not in self.paths and _NAME.fullmatch(old.stem) and not old.is_dir():
                remove(old)


def write(figures: Figures, drawn: Sequence[Figure], folder: Path, pictures: Pictures, form: str = "png") -> list[Path]:
    """Draw these figures as the files of a folder, and remove those of others; returns the files."""
    files = Files(figures, folder, pictures, form)
    for figure in drawn:
        files.draw(figure)
    files.remove_others()
    return files.paths
