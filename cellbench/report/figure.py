"""Define a figure (definition without data, rows, choices that select rows) and the channels that figures share."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import altair as alt
import pandas as pd

from cellbench.report import palette as look
from cellbench.summary.figures import ALL_POINTS, Figures

MOST_DRAWN = 8
"""The most cells drawn at first, the baseline and the fastest others; there are as many colours."""

MOST_PANELS = 12

PANEL_WIDTH = 150
"""Pixels of one panel of a file, without its axis."""

IN_FILE = "file"
"""How the names of layers begin that are for files alone, where nobody can hover over a mark."""

STEPS = [digit * 10**power for power in range(13) for digit in (1, 2, 5)]
"""Where axes of steps, sizes and costs have their ticks."""

CLOSE_STEPS = [digit * 10**power / 10 for power in range(13) for digit in (10, 12, 15, 20, 25, 30, 40, 50, 70)]
"""The same where all steps may be alike: between any two numbers a factor of 1.5 apart there is one at least."""

RATIOS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 1, 1.25, 1.5, 2, 3, 5, 10, 20, 50, 100]
"""Where axes of ratios have their ticks."""

CHOICE = "{choice}"
"""Replaced, in an axis's title, by the text of the option chosen in the control named `measure` or `metric`."""


@dataclass(frozen=True)
class Control:
    """A choice that selects the rows of a figure; the first option is chosen at first."""

    field: str
    label: str
    options: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Figure:
    """One figure: its definition without data, its rows, the choices, and its title and caption."""

    name: str
    title: str
    caption: str
    chart: alt.LayerChart
    frame: pd.DataFrame
    controls: tuple[Control, ...] = ()
    height: int = 300
    rows: bool = False
    """Whether its height depends on its rows, in a file too."""
    panels: str = ""
    """The control whose options become panels in a file, one per option; `cell`: one per cell."""
    every_cell: bool = False
    """Whether it shows all cells at once, however many."""

    @cached_property
    def _definition(self) -> dict[str, Any]:
        # kept, because altair takes a while to write it out
        found: dict[str, Any] = self.chart.to_dict(validate=False)
        return found

    def spec(self) -> dict[str, Any]:
        """Return the definition for the page: as wide as its container, with its data by name."""
        spec = copy.deepcopy(self._definition)
        spec["layer"] = [layer for layer in spec["layer"] if not layer.get("name", "").startswith(IN_FILE)]
        spec |= {"width": "container", "autosize": {"type": "fit-x", "contains": "padding"}}
        spec["config"] = look.config(static=False)
        spec["height"] = self.height
        return spec

    def chosen(self) -> pd.DataFrame:
        """Select the rows that the first options choose, for all panels."""
        frame = self.frame
        for control in self.controls:
            if control.field != self.panels:
                frame = matching(frame, control.field, control.options[0][0])
        return frame

    def static(self, cells: Sequence[str]) -> dict[str, Any] | None:
        """Return the definition for a file, with the rows of these cells; `None` where there is nothing to draw."""
        frame = self.chosen()
        everyone = set(frame["cell"]) - {""} if "cell" in frame.columns else set()
        if everyone and not self.every_cell:
            frame = frame[frame["cell"].isin([*cells, ""])]
        # a page lets the reader choose a panel; a file shows them beside each other
        options = next((c.options for c in self.controls if c.field == self.panels), ())
        # a legend has the cells that have a mark
        present = cells if "cell" not in frame.columns else [c for c in cells if c in set(frame["cell"])]
        if self.panels == "cell":
            options = tuple((cell, cell) for cell in present)
        spec = copy.deepcopy(self._definition)
        if options:
            shown = [value for value, _ in options[:MOST_PANELS]]
            frame = frame[frame[self.panels].isin(shown)]
            facet = {"field": self.panels, "type": "nominal", "title": None, "sort": shown}
            spec = {key: value for key, value in spec.items() if key != "layer"}
            panel = {"layer": self._definition["layer"], "width": PANEL_WIDTH, "height": 120}
            spec |= {"facet": facet, "columns": min(4, len(shown)), "spec": copy.deepcopy(panel)}
        else:
            spec |= {"width": 380, "height": self.height if self.rows else 230}
        # what the first options choose is written below the title, since nobody can choose in a file
        said = [text for c in self.controls if c.field != self.panels for _, text in c.options[:1]]
        if not self.every_cell and len(everyone) > len(present):
            said.append(f"{len(present)} of {len(everyone)} cells: the page has the others")
        spec["title"] = {"text": self.title, "subtitle": ", ".join(said)} if said else self.title
        choice = next((c.options[0][1] for c in self.controls if c.field in ("metric", "measure")), "")
        spec["config"] = look.config(static=True)
        _settle(spec, choice, None if self.every_cell else present)
        if self.panels == "cell":
            _without_legends(spec)
        spec = _still(pruned(spec, frame))
        if not spec.get("spec", spec)["layer"]:
            return None
        spec["datasets"] = {"rows": json.loads(frame.to_json(orient="records", double_precision=10))}
        return spec


_PAINTED = {"line": "strokeOpacity", "rule": "strokeOpacity", "area": "fillOpacity"}
"""The opacity of marks that are painted in one way, a stroke or a fill. A mark with a plain opacity is first drawn on a
canvas of its own, as large as the picture: of hundreds of curves that took nine tenths of the time."""


def _still(spec: dict[str, Any]) -> dict[str, Any]:
    """Remove from a definition what only works on the page: fading on a click, and invisible marks for hovering."""
    if "spec" in spec:
        inner = _still(spec["spec"])
        return {key: inner if key == "spec" else value for key, value in spec.items() if key != "params"}
    kept = []
    for layer in spec["layer"]:
        if layer["mark"].get("opacity") == 0:
            continue
        opacity = layer["encoding"].get("opacity", {})
        if opacity.get("condition", {}).get("param") == "isolated":
            opacity = {"value": opacity["condition"]["value"]}
        encoding = {channel: given for channel, given in layer["encoding"].items() if channel != "opacity"}
        if opacity:
            encoding[_PAINTED.get(layer["mark"]["type"], "opacity")] = opacity
        kept.append({**layer, "encoding": encoding})
    return {**{key: value for key, value in spec.items() if key != "params"}, "layer": kept}


def matching(frame: pd.DataFrame, name: str, value: str) -> pd.DataFrame:
    """Select the rows with a value; rows without any, such as reference lines, match every value."""
    column = frame[name]
    return frame[(column == value) | column.isna()]


def _settle(node: Any, choice: str, cells: Sequence[str] | None) -> None:
    """Put the chosen text into titles, and restrict every scale over cells to some of them, each keeping its mark.

    The page's script does the same.
    """
    if isinstance(node, dict):
        scale = node.get("scale")
        if cells is not None and node.get("field") == "cell" and isinstance(scale, dict) and "domain" in scale:
            marks = dict(zip(scale["domain"], scale["range"], strict=True))
            node["scale"] = {**scale, "domain": list(cells), "range": [marks[cell] for cell in cells]}
        if isinstance(node.get("title"), str):
            node["title"] = node["title"].replace(CHOICE, choice)
        for value in node.values():
            _settle(value, choice, cells)
    elif isinstance(node, list):
        for value in node:
            _settle(value, choice, cells)


def _without_legends(node: Any) -> None:
    """Remove every legend: the panels' heads name the cells."""
    if isinstance(node, dict):
        if "legend" in node:
            node["legend"] = None
        for value in node.values():
            _without_legends(value)
    elif isinstance(node, list):
        for value in node:
            _without_legends(value)


def points(figures: Figures, *, pooled: bool) -> Control:
    """Return the choice of a grid point; pooled, all points together come first."""
    names = ([ALL_POINTS] if pooled and len(figures.points) > 1 else []) + figures.points
    return Control("point", "point", tuple((name, name) for name in names))


def first_shown(figures: Figures) -> tuple[str, ...]:
    """List the cells drawn at first: all, or the baseline, the user's own and the fastest others; in order of marks."""
    design = figures.design
    chosen = list(dict.fromkeys((design.against, *design.own, *figures.order)))[:MOST_DRAWN]
    return tuple(label for label in design.shown if label in chosen)


def labels(figures: Figures) -> tuple[str, ...]:
    """List all cells in the order in which they get their marks: the baseline is always black, a circle, a full line.

    The order is the experiment's and does not depend on results, so that a cell keeps its colour from report to report.
    """
    return figures.design.shown


class Encodings:
    """The channels that the charts of one report share. `line` is the colour of lines, whose legend shows dashes.

    They are objects of altair: to find the class of a text or a dict, it hashes all its schemas, which took half of the
    time in which figures are defined.
    """

    def __init__(self, figures: Figures) -> None:
        self.marks = look.Marks(labels(figures))
        domain = list(self.marks.cells)
        legend = alt.Legend(title=None, columns=4, symbolOpacity=1, offset=6)
        stroke = alt.Legend(title=None, columns=4, symbolOpacity=1, offset=6, symbolType="stroke", symbolSize=300)
        colours = alt.Scale(domain=domain, range=self.marks.colours)
        shapes = alt.Scale(domain=domain, range=self.marks.shapes)
        dashes = alt.Scale(domain=domain, range=self.marks.dashes)
        self.click = alt.selection_point(fields=["cell"], bind="legend", name="isolated")
        self.colour = alt.Color("cell:N", scale=colours, legend=legend)
        self.shape = alt.Shape("cell:N", scale=shapes, legend=legend)
        self.line = alt.Color("cell:N", scale=colours, legend=stroke)
        self.dash = alt.StrokeDash("cell:N", scale=dashes, legend=stroke)
        # where an axis names the cells
        self.plain = alt.Color("cell:N", scale=colours, legend=None)
        self.plain_shape = alt.Shape("cell:N", scale=shapes, legend=None)
        self.x_offset = alt.XOffset("cell:N", sort=domain)
        self.y_offset = alt.YOffset("cell:N", sort=domain)

    def faded(self, strong: float, weak: float = 0.06) -> Any:
        """Return an opacity: full where this cell is isolated or none is, else nearly invisible."""
        return alt.OpacityValue(weak, condition={"param": self.click.name, "value": strong})


def base(**fields: str) -> alt.Chart:
    """Make a layer of the rows with these values; `pruned` leaves it out where there are none."""
    chart = alt.Chart()  # the data belongs to the whole figure, so that it can be split into panels
    for name, value in fields.items():
        chart = chart.transform_filter(f"datum.{name} === '{value}'")
    return chart


_FILTER = re.compile(r"datum\.(\w+) === '(\w+)'")


_PLACES = ("x", "x2", "y", "y2", "text")
"""Channels without which a mark has no place or no text."""


def pruned(spec: dict[str, Any], rows: pd.DataFrame) -> dict[str, Any]:
    """Leave out each layer for which no row has all the numbers: vega would warn about it.

    The page's script does the same.
    """
    if "spec" in spec:  # panels: their parameters are outside `spec`
        inner = pruned({**spec["spec"], "params": spec.get("params", [])}, rows)
        return {**spec, "spec": {key: value for key, value in inner.items() if key != "params"}}

    def filled(layer: dict[str, Any]) -> bool:
        """Tell whether some row passes the layer's filters and has all its numbers."""
        mask = pd.Series(True, index=rows.index)
        for transform in layer.get("transform", ()):
            found = _FILTER.fullmatch(str(transform.get("filter", "")))
            if found:
                mask &= rows[found[1]] == found[2]
        fields = {channel.get("field") for name, channel in layer["encoding"].items() if name in _PLACES}
        for field in fields & set(rows.columns):
            mask &= rows[field].notna()
        return bool(mask.any())

    # a click on the legend acts through one layer; without it vega cannot draw the others
    kept = [layer for layer in spec["layer"] if filled(layer)]
    needed = {view for param in spec.get("params", ()) for view in param.get("views", ())}
    return {**spec, "layer": kept if needed <= {layer.get("name") for layer in kept} else []}


def layers(encodings: Encodings, *parts: alt.Chart, main: int = -1) -> alt.LayerChart:
    """Stack layers; a click on the legend acts through the one at `main`, without which nothing is drawn."""
    found = list(parts)
    found[main] = found[main].add_params(encodings.click)
    return stacked(*found)


def stacked(*parts: alt.Chart) -> alt.LayerChart:
    """Stack layers that share the figure's rows as their data."""
    chart = alt.layer(*parts, data=alt.NamedData("rows"))
    assert isinstance(chart, alt.LayerChart)
    return chart


def title(channel: Any) -> str:
    """Return a channel's title."""
    return str(channel._get("title"))


def tips(*fields: tuple[str, str, str]) -> list[alt.Tooltip]:
    """Make tooltips from (field, title, format); a field without a format is text."""
    return [
        alt.Tooltip(f"{name}:Q", title=title, format=form) if form else alt.Tooltip(f"{name}:N", title=title)
        for name, title, form in fields
    ]
