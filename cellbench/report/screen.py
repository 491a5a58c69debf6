"""Lay out a report for a terminal: what fits one screen, as wide as that is; the page and summary.md have the rest.

The table and the verdict on the user's own cell come last, where the eye is when the command has ended.
"""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from cellbench.report.rows import BRIEF, HEADS, TYPICAL, legend, overview
from cellbench.summary import Design, Summary, Verdict, words
from cellbench.wording import printable, width, wrapped

_NAME = 20
_WIDTHS = ((6, 19, 19, 13, 13), (6, 19, 19, 8, 8), (6, 17, 17, 8, 8), (6, 19), (6, 17))
"""Widths of the columns beside the cell's name; on a narrow terminal the answer alone."""
_SHORTEST_NAME = 10
_NOT_SHOWN = "no difference shown"
_MOST_IN_WORDS = 3
"""With more verdicts than this those on cells of others are in the table alone."""


def terminal(summary: Summary, design: Design, columns: int | None = None) -> str:
    """Lay out the answer: what was run, what is missing, the table, and the verdicts on the user's own cells.

    Commands and paths are never broken, even if they are wider.

    Args:
        summary, design: of the report.
        columns: the width; default: the terminal's.
    """
    columns = width() if columns is None else columns
    counted = [
        words.count(len(design.labels), "cells"),
        words.count(len(summary.replicas.points), "points"),
        summary.seeds,
        _tried(design),
    ]
    lines = wrapped(f"{design.name}: {design.task}, {', '.join(filter(None, counted))}; {design.setup}", columns)
    if summary.heading:
        lines += wrapped(summary.heading, columns)
    lines += _elsewhere(summary, design, columns)
    lines += ["", *_table(summary, design, columns), *_picked(summary, design, columns)]
    for verdict in _in_words(summary, design):
        lines += ["", *wrapped(f"{verdict.cell}: {verdict.headline}. {verdict.sentence}", columns, after="  ")]
    return "\n".join(lines) + "\n"


def _tried(design: Design) -> str:
    """Count the learning rates; empty where cells have settings of their own, which `setup` counts."""
    return "" if design.tuning else words.count(len(design.rates), "learning rates")


def _picked(summary: Summary, design: Design, columns: int) -> list[str]:
    """Say how many settings each cell was tried at, and which was picked."""
    if not design.settings:
        return []
    of_cell = {row["cell"]: row for row in summary.overview.to_dict("records")}
    said = [
        f"{printable(label)} {of_cell[label]['settings']} ({printable(of_cell[label]['picked']) or 'none picked'})"
        for label in design.shown
    ]
    return wrapped(f"Settings tried, and the one picked on all seeds: {', '.join(said)}", columns, after="  ")


def wider(summary: Summary, design: Design) -> str:
    """Write the command that tries more learning rates."""
    rates = ", ".join(words.number(rate) for rate in summary.wider_rates)
    return f"{printable(design.command)} --set learning_rate='[{rates}]'"


def _elsewhere(summary: Summary, design: Design, columns: int) -> list[str]:
    """Say what is missing, what to run next, and how much more there is to read."""
    lines = []
    if summary.missing:
        points, first = words.count(len(summary.missing), "points"), summary.missing[0].text
        lines += wrapped(f"Missing at {points} of single cells, first {first}; summary.md lists them.", columns)
    notes = len(summary.footnotes) + sum(len(verdict.notes) for verdict in summary.verdicts)
    if notes:
        lines += wrapped(f"{words.count(notes, 'notes')} on how sure this is: on the page, and in summary.md.", columns)
    if summary.wider_rates:
        lines += wrapped("A wider range of learning rates may change a verdict. To try it:", columns)
        lines.append(f"  {wider(summary, design)}")
    return lines


def _in_words(summary: Summary, design: Design) -> list[Verdict]:
    """Choose the verdicts to be written in words, the one to be read first last: on the user's own cells, or on few."""
    own = [verdict for verdict in summary.verdicts if verdict.cell in design.own]
    if own or len(summary.verdicts) > _MOST_IN_WORDS:
        return own[:_MOST_IN_WORDS][::-1]
    return list(summary.verdicts)


def _table(summary: Summary, design: Design, columns: int) -> list[str]:
    """Lay out the table as the width allows: each verdict beside its number, or below it."""
    speed, verdict = HEADS.index("ratio of steps"), HEADS.index("verdict")
    shown = [i for i in range(BRIEF) if i not in (TYPICAL, verdict)]
    rows = []
    for row in overview(summary, design):
        texts = {**dict(enumerate(row)), speed: "; ".join(filter(None, (row[speed], row[verdict])))}
        rows.append([printable(texts[i]) for i in shown])
    heads = [HEADS[i] for i in shown]
    lines = _grid(heads, rows)
    names = max(len("cell"), *(min(_NAME, len(row[0])) for row in rows))
    for name in (names, min(names, _SHORTEST_NAME)):
        for widths in _WIDTHS:
            if max(map(len, lines)) <= columns:
                break
            count = 1 + len(widths)
            cut = [[text.replace("; ", "\n") for text in row[:count]] for row in rows]
            if widths[-1] < len(_NOT_SHOWN):
                # what is not shown of accuracies is left to the page
                cut = [[*row[:4], *(text.removesuffix(f"\n{_NOT_SHOWN}") for text in row[4:])] for row in cut]
            lines = _grid(heads[:count], cut, [name, *widths])
    return [*lines, *wrapped(f"({legend(design, summary)})", columns)]


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int] | None = None) -> list[str]:
    table = tabulate(
        rows, heads, tablefmt="simple", disable_numparse=True, maxcolwidths=list(widths) if widths else None
    )
    return [line.rstrip() for line in table.splitlines()]
