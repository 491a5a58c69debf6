"""Lay out summary.md and failures.txt. Every number comes from the summary."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import pandas as pd
from tabulate import tabulate

from cellbench.report import ranking, took
from cellbench.report.rows import (
    HEADS,
    TUNING,
    Grid,
    across,
    answers,
    by_axis,
    heads,
    legend,
    overview,
    points,
    ratios,
    span,
)  # fmt: skip
from cellbench.summary import Design, Summary, Verdict, words
from cellbench.summary.inventory import count_unwell
from cellbench.wording import escaped, printable


def escape(text: str) -> str:
    """Escape a string from a plugin, so that Markdown shows it literally, also inside a table.

    >>> escape("a|b <i> _c_ d_e")
    'a\\\\|b &lt;i> \\\\_c\\\\_ d_e'
    """
    text = printable(text).replace("&", "&amp;")
    # only what could open a tag is escaped, so that "p < 0.001" is readable as text too
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)
    text = re.sub(r"([\\`*\[\]|~])", r"\\\1", text)
    # Markdown takes an underscore within a word literally, so words such as hidden_size are left readable
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)


def own(verdict: Verdict, summary: Summary) -> list[str]:
    """List a verdict's other findings and its own notes, without those that are footnotes below the table."""
    return [*verdict.others, *(note for note in verdict.notes if note not in summary.footnotes)]


def markdown(summary: Summary, design: Design, runs: pd.DataFrame | None = None) -> str:
    """Lay out summary.md: verdicts, tables, notes, what is missing, how to read this.

    Args:
        summary, design: the numbers and the plan.
        runs: one row per planned replica, for the sizes of cells and the replicas that did not solve.
    """
    parts = [f"# {escape(design.name)}", f"{escape(design.task)}, {escape(design.setup)}."]
    parts += [escape(summary.heading)] if summary.heading else []
    parts += _verdicts(summary)
    if runs is not None and len(design.labels) > ranking.MANY:
        # what differs between two runs of one experiment is left to `cellbench rank`: microseconds
        grid = ranking.ranking(summary, design, runs, measured=False)
        parts += _section(grid.title, grid_text(grid), f"{escape(ranking.legend(design))}.")
    parts += _section(
        "All points, at the tuned learning rate", _all_points(summary, design), _starred(summary.footnotes)
    )
    for grid in (
        answers(summary), by_axis(summary, design), across(summary), points(summary, design),
        ratios(summary, design),
    ):  # fmt: skip
        parts += _section(grid.title, grid_text(grid))
    parts += _accuracy(summary, design)
    parts += _section("What became of the replicas", _outcomes(summary), _missing(summary))
    if runs is not None:
        # what differs between two runs of one experiment is on the page: seconds, and the command that was typed
        grid = took.cells(runs, design, measured=False)
        parts += _section(grid.title, grid_text(grid))
        grid, count = took.replicas(runs, design, commands=False), count_unwell(runs)
        more = f"And {count - len(grid.rows):,} more, in runs.csv." if count > len(grid.rows) else ""
        parts += _section(grid.title, grid_text(grid), more)
    parts += _section("How to read this", escape(summary.how_to_read))
    return "\n\n".join(parts) + "\n"


def _section(title: str, *bodies: str) -> list[str]:
    filled = [body for body in bodies if body]
    return [f"## {title}", *filled] if filled else []


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rows = [list(row) for row in rows]
    return tabulate(rows, [*map(escape, heads)], tablefmt="github", disable_numparse=True) if rows else ""


def grid_text(grid: Grid) -> str:
    """Lay out a table in Markdown."""
    # brackets of intervals stay as they are
    return _table(
        grid.heads,
        (
            [escape(text) if head in grid.foreign else text for head, text in zip(grid.heads, row, strict=True)]
            for row in grid.rows
        ),
    )


def _starred(notes: Sequence[str]) -> str:
    return "\n".join(f"- {escape(note)}." for note in notes)


def _verdicts(summary: Summary) -> list[str]:
    return ["\n".join(_verdict(verdict, summary) for verdict in summary.verdicts)] if summary.verdicts else []


def _verdict(verdict: Verdict, summary: Summary) -> str:
    lines = [f"- **{escape(verdict.cell)}: {escape(verdict.headline)}.** {escape(verdict.sentence)}"]
    return "\n".join([*lines, *(f"  - {escape(note)}" for note in own(verdict, summary))])


def _all_points(summary: Summary, design: Design) -> str:
    # only names and verdicts hold what a plugin wrote; brackets of intervals stay as they are
    foreign = (0, HEADS.index("verdict"), len(HEADS) + TUNING.index("picked"))
    rows = ([escape(text) if i in foreign else text for i, text in enumerate(row)] for row in overview(summary, design))
    below = f"{escape(legend(design, summary))}; one point left out: the range of the ratio."
    return f"{_table(heads(design), rows)}\n\n{below}"


def _accuracy(summary: Summary, design: Design) -> list[str]:
    frame = summary.accuracy
    rows = frame[(frame["scope"] == "all") & (frame["at"] == "tuned")]
    if rows.empty:
        return []
    head = "at the step where each solved" if design.stop_when_solved else "of the models trained to the end"
    parts = [f"## Accuracies, {head}, at the tuned learning rate"]
    for metric in ("sequence_accuracy", "bit_accuracy"):
        of_metric = rows[rows["metric"] == metric]
        for by in dict.fromkeys(of_metric["by"]):
            table = of_metric[of_metric["by"] == by]
            name = (design.right if metric == "bit_accuracy" else metric.replace("_", " ")).capitalize()
            title = f"{name} at the trained length" if by == "" else f"{name} by {escape(words.quantity(by))}"
            values = ["mean"] if by == "" else [str(value) for value in dict.fromkeys(table["value"])]
            cells: dict[str, dict[str, str]] = {}
            for row in table.to_dict("records"):
                limits = span(row["low"], row["high"], lambda x: f"{x:.2f}")
                column = "mean" if by == "" else str(row["value"])
                cells.setdefault(row["cell"], {})[column] = f"{row['mean']:.3f}{limits}"
            body = [[escape(cell), *(found.get(value, "–") for value in values)] for cell, found in cells.items()]
            heads = ["cell", *values]
            parts += [f"{title}: mean over seeds [95 %]", _table(heads, body)]
    return parts


def _outcomes(summary: Summary) -> str:
    frame = summary.outcomes
    return _table(
        list(frame.columns), ([escape(str(row[0])), *map(str, row[1:])] for row in frame.itertuples(index=False))
    )


def _missing(summary: Summary) -> str:
    if not summary.missing:
        return ""
    return "\n".join(["Missing:", "", *(f"- {escape(lost.text)}" for lost in summary.missing)])


def failures(runs: pd.DataFrame) -> str:
    """Lay out failures.txt: each distinct traceback once, with its count, the most frequent first; empty if none."""
    failed = runs[runs["status"] == "failed"]
    parts = []
    for (label, cause, traceback), rows in failed.groupby(["label", "cause", "traceback"], sort=False):
        who = (
            "in the cell's own code (counts as never solved)"
            if cause == "cell"
            else "because a worker was killed, timed out or ran out of memory (missing; the next run tries again)"
        )
        head = f"{words.count(len(rows), 'replicas')} of {label} failed {who}"
        parts.append((-len(rows), f"{head}\n{'-' * min(len(head), 100)}\n{str(traceback).rstrip()}\n"))
    # people show this file on a terminal
    return escaped("\n".join(part for _, part in sorted(parts, key=lambda p: p[0])))
