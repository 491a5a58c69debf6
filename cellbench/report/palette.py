"""Choose how charts look: one colour, shape and dash per cell, on a light and on a dark background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Found by a search: with black as the first, the least distance between any two of them, for normal, red-blind,
# green-blind and blue-blind eyes, is as great as contrast with the background allows; a test of the charts measures it.
LIGHT = ("#1A1A1A", "#0072B2", "#D55E00", "#8C1AFF", "#D7758D", "#5E3308", "#800060", "#0B2C8E")
DARK = ("#F2F2F2", "#56B4E9", "#E8761A", "#9933FF", "#F5BF89", "#22774C", "#B23492", "#A339C6")
SHAPES = (
    "circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left",
)  # fmt: skip
DASHES = ((1, 0), (6, 2), (2, 2), (8, 2, 2, 2), (4, 4), (10, 3), (1, 3), (8, 2, 2, 2, 2, 2))

GROUND, DARK_GROUND = "#FFFFFF", "#14171C"
INK, MUTED, GRID, BAND = "#20242B", "#5B6270", "#E3E6EB", "#EEF1F5"
FEWER, SAME, MORE = "#2C6FB0", "#F4F4F4", "#C4671B"
INVERSE = "#FFFFFE"  # text on strong colours; not GROUND, which becomes dark on the dark page

ON_DARK = {
    **dict(zip(LIGHT, DARK, strict=True)),
    GROUND: DARK_GROUND,
    INK: "#E8EAEE",
    MUTED: "#A6ADBA",
    GRID: "#2C323B",
    BAND: "#222831",
    FEWER: "#2C6FB0",
    SAME: "#2B3038",
    MORE: "#B35C14",
}
"""What each colour of a chart becomes on the dark page."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Noto Sans', sans-serif"


@dataclass(frozen=True)
class Marks:
    """The marks of cells, in order; 64 cells get different marks."""

    cells: tuple[str, ...]

    def _at(self, values: Sequence[Any]) -> list[Any]:
        # from the ninth cell on the colours repeat, with other shapes and dashes
        n = len(values)
        return [values[(i + i // n) % n] for i in range(len(self.cells))]

    @property
    def colours(self) -> list[str]:
        """One colour per cell."""
        return [LIGHT[i % len(LIGHT)] for i in range(len(self.cells))]

    @property
    def shapes(self) -> list[str]:
        """One shape per cell."""
        return self._at(SHAPES)

    @property
    def dashes(self) -> list[list[int]]:
        """One dash pattern per cell, as lengths drawn and left out."""
        return [list(dash) for dash in self._at(DASHES)]


def config(static: bool) -> dict[str, Any]:
    """Return Vega-Lite's configuration, for a file (`static`) or for the page."""
    small, normal = (9, 10) if static else (11, 12)
    text = {"labelColor": INK, "titleColor": INK, "labelFontSize": small, "titleFontSize": normal}
    return {
        "background": GROUND,
        # files use fonts that vl-convert has; a browser can use the system's
        "font": "Arial, 'Liberation Sans', 'Noto Color Emoji', sans-serif" if static else FONT,
        "view": {"stroke": GRID},
        "axis": {**text, "gridColor": GRID, "domainColor": MUTED, "tickColor": MUTED, "titleFontWeight": "normal"},
        "legend": {**text, "symbolStrokeWidth": 2, "titleFontWeight": "normal", "orient": "top", "labelLimit": 200},
        "header": {**text, "labelFontWeight": "normal"},
        "title": {
            "color": INK,
            "fontSize": normal,
            "fontWeight": "normal",
            "anchor": "start",
            "subtitleColor": MUTED,
            "subtitleFontSize": small,
        },
        "text": {"color": INK, "fontSize": small},
        "rule": {"color": INK},
    }
