"""Lay out summary.tex: the main tables, for a paper that uses the packages booktabs and textcomp."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from cellbench.report import took
from cellbench.report.rows import BRIEF, HEADS, Grid, across, answers, by_axis, legend, overview, points, ratios
from cellbench.summary import Design, Summary
from cellbench.wording import printable

_LITERAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "≥": r"$\ge$", "≤": r"$\le$", "–": "--", '"': r"\textquotedbl{}",
}  # fmt: skip


def escape(text: str) -> str:
    """Escape a string from a plugin, so that LaTeX shows it literally.

    >>> escape("a_b & 50 %")
    'a\\\\_b \\\\& 50 \\\\%'
    """
    return "".join(_LITERAL.get(letter, letter) for letter in printable(text))


def latex(summary: Summary, design: Design, runs: pd.DataFrame | None = None) -> str:
    """Lay out the tables of summary.md, each a `table`, from all points to single points."""
    main = Grid(f"{design.name}: {legend(design, summary)}", tuple(HEADS[:BRIEF]), tuple(
        tuple(row[:BRIEF]) for row in overview(summary, design)
    ))  # fmt: skip
    others = (
        answers(summary), by_axis(summary, design), across(summary), _without(points(summary, design), "notes"),
        ratios(summary, design),
    )  # fmt: skip
    lines = [f"% {printable(design.name)}: {printable(design.task)}, {design.setup}"]
    lines += [r"% needs \usepackage{booktabs,textcomp}"]
    sizes = (took.cells(runs, design, measured=False),) if runs is not None else ()
    for grid in (main, *others, *sizes):
        if grid.rows:
            lines += _one(grid)
    return "\n".join(lines) + "\n"


def _without(grid: Grid, head: str) -> Grid:
    """Leave out a column that is too wide for a page."""
    at = grid.heads.index(head)
    return replace(
        grid,
        heads=(*grid.heads[:at], *grid.heads[at + 1 :]),
        rows=tuple((*row[:at], *row[at + 1 :]) for row in grid.rows),
    )


def _one(grid: Grid) -> list[str]:
    columns = "".join("l" if head in grid.foreign | {"size"} else "r" for head in grid.heads)
    return [
        "",
        r"\begin{table}",
        rf"\caption{{{escape(grid.title)}.}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(escape, grid.heads)) + r" \\",
        r"\midrule",
        *(" & ".join(map(_cell, row)) + r" \\" for row in grid.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def _cell(text: str) -> str:
    # a bracket or star at the start of a row would be read as an argument of the \\\\ before it
    return f"{{{escape(text)}}}" if text.startswith(("[", "*")) else escape(text)
