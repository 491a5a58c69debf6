"""A report in little space, as a notebook shows it: verdicts, the table, the ratios with their intervals."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterable
from pathlib import Path

from markupsafe import Markup, escape

from cellbench.report.report import Report
from cellbench.report.rows import heads, legend, overview
from cellbench.wording import printable

MOST = 12
"""The most verdicts in full; the others are in the table."""


def html(found: Report) -> str:
    """Lay out a report as HTML without scripts; texts from plugins are escaped."""
    summary, design = found.summary, found.design
    first = map(printable, (design.name, design.task, design.setup))
    parts = [Markup("<p><strong>{}</strong>: {}, {}</p>").format(*first)]
    items = [
        Markup("<li><strong>{}: {}.</strong> {}</li>").format(*map(printable, (v.cell, v.headline, v.sentence)))
        for v in summary.verdicts[:MOST]
    ]
    if items:
        parts.append(Markup("<ul>{}</ul>").format(Markup("").join(items)))
    if len(summary.verdicts) > MOST:
        parts.append(Markup("<p>{} more verdicts are in the table.</p>").format(len(summary.verdicts) - MOST))
    parts.append(
        Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(
            _cells("th", heads(design)),
            Markup("").join(Markup("<tr>{}</tr>").format(_cells("td", row)) for row in overview(summary, design)),
        )
    )
    parts.append(Markup("<p><small>{}</small></p>").format(printable(legend(design, summary))))
    parts += [Markup("<p><small>{}.</small></p>").format(printable(note)) for note in summary.footnotes]
    picture = _forest(found)
    if picture:
        data = base64.b64encode(picture).decode("ascii")
        # as an image: what is in it can neither run nor change the style of the notebook
        source = f"data:image/svg+xml;base64,{data}"
        parts.append(Markup('<img alt="Ratios of steps, with 95 % intervals" src="{}">').format(source))
    return str(Markup("\n").join(parts))


def _cells(tag: str, texts: Iterable[str]) -> Markup:
    return Markup("").join(Markup(f"<{tag}>{escape(printable(text))}</{tag}>") for text in texts)


def _forest(found: Report) -> bytes:
    """Draw the ratios of all cells as SVG; empty if nothing is compared."""
    from cellbench.report import charts
    from cellbench.report.drawing import Pictures
    from cellbench.summary.figures import Figures

    figures = Figures(found.summary, found.runs, found.curves, found.experiment["facts"]["reference_accuracies"])
    figure = charts.forest(figures)
    with tempfile.TemporaryDirectory() as folder:
        with Pictures(1) as pictures:
            drawn = charts.write(figures, [figure] if figure else [], Path(folder), pictures, "svg")
        return drawn[0].read_bytes() if drawn else b""
