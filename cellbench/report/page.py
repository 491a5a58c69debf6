"""Lay out report.html, one file that needs no network. Every number comes from the summary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup

from cellbench.report import palette as look
from cellbench.report import payload as embed
from cellbench.report import ranking, took
from cellbench.report.figure import CHOICE, MOST_DRAWN, Figure, first_shown, labels
from cellbench.report.rows import WITH_VERDICTS, heads, legend, overview
from cellbench.report.tables import own
from cellbench.report.unsolved import MOST as MOST_COMMANDS
from cellbench.summary import Design, Summary, words
from cellbench.summary.figures import Figures
from cellbench.summary.inventory import count_unwell, effort
from cellbench.wording import printable

_NOT_IN_TABLES = ("metric", "by", "value", "difference", "difference_low", "difference_high")
"""Columns of comparisons.csv that are the same in all rows about steps."""


def html(
    figures: Figures,
    drawn: Sequence[Figure],
    experiment: Mapping[str, Any],
    failures: str,
    unsolved: Sequence[str] = (),
) -> str:
    """Return the whole page.

    Args:
        figures: the numbers.
        drawn: the figures that `charts.all_figures` made of them.
        experiment: the store's experiment: resolved, facts, environment, command, started.
        failures: the text of failures.txt, empty if nothing failed.
        unsolved: a command per replica that did not solve the task.
    """
    summary, design = figures.summary, figures.design
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_resource), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters["printable"] = printable
    return environment.get_template("page.html.j2").render(
        design=design,
        summary=summary,
        counted=_counted(figures),
        answer=answer(summary),
        heads=heads(design),
        overview=[[row[0], *_lines(row[1:], heads(design)[1:])] for row in overview(summary, design)],
        legend=legend(design, summary),
        own=own,
        figures=drawn,
        most=MOST_DRAWN,
        most_unsolved=MOST_COMMANDS,
        shown=len(first_shown(figures)),
        outcomes=_outcomes(summary),
        failures=failures,
        unsolved=unsolved,
        described=_described(figures, experiment),
        ranked=ranking.shown(summary, design, figures.runs),
        ranked_legend=ranking.legend(design),
        took=took.cells(figures.runs, design, measured=True),
        effort=effort(figures.runs, experiment["environment"]),
        unwell=took.replicas(figures.runs, design, commands=True),
        unwell_count=count_unwell(figures.runs),
        resolved=yaml.safe_dump(experiment["resolved"], sort_keys=False, allow_unicode=True),
        environment=yaml.safe_dump(experiment["environment"], sort_keys=False, allow_unicode=True),
        command=experiment["command"],
        started=experiment["started"],
        css=Markup(_resource("page.css")),
        licences=Markup(_resource("licences.txt")),
        vega=Markup(embed.vega()),
        script=Markup(_resource("page.js")),
        payload=Markup(embed.script_safe(_payload(figures, drawn))),
    )


def _resource(name: str) -> str:
    return resources.files("cellbench.report").joinpath(name).read_text(encoding="utf-8")


def _lines(row: Sequence[str], columns: Sequence[str]) -> list[list[str]]:
    """Set what was found below its number: side by side, these columns ran out of the window."""
    return [text.split("; ") if name in WITH_VERDICTS else [text] for text, name in zip(row, columns, strict=True)]


def _counted(figures: Figures) -> str:
    design = figures.design
    return ", ".join(
        (
            words.count(len(design.labels), "cells"),
            words.count(len(figures.points), "points"),
            figures.summary.seeds,
            words.count(len(design.rates), "learning rates"),
            f"at most {words.count(design.max_steps, 'steps')}",
        )
    )


def answer(summary: Summary) -> str:
    """Write the verdicts, one line of method and the versions, for a reader to copy."""
    design = summary.design
    lines = [f"{design.name}: {design.task}, {design.setup}."]
    if summary.heading:
        lines.append(summary.heading)
    for verdict in summary.verdicts:
        others = "".join(f" {clause.capitalize()}." for clause in verdict.others)
        lines.append(f"{verdict.cell}: {verdict.headline}. {verdict.sentence}{others}")
    what = "options and learning rate" if design.tunes_options else "learning rate"
    picked = f"{what} picked on other seeds, " if design.several else ""
    seeds = summary.seeds.removesuffix("s").removesuffix(" seed")
    method = (
        f"Method: {design.task}; ratio of typical steps to {design.solved_by} {words.number(design.threshold)}, at "
        f"most {design.max_steps} steps; {picked}paired by seed ({seeds}), Student's t over seeds, Holm."
    )
    versions = ", ".join(f"{name} {version}" for name, version in design.versions.items())
    return "\n".join([*map(printable, lines), method, *([f"Versions: {versions}."] if versions else [])])


def _outcomes(summary: Summary) -> list[str]:
    """Write what failed or is missing, one line per cell; empty if nothing did."""
    said = {"failed": "failed in the cell's own code (counts as never solved)", "diverged": "diverged",
            "machine": "failed because a worker was killed, timed out or ran out of memory "
                       "(missing here; the next run tries again)",
            "missing": "not run yet"}  # fmt: skip
    lines = []
    for row in summary.outcomes.to_dict("records"):
        parts = [f"{row[state]} {text}" for state, text in said.items() if row[state]]
        if parts:
            lines.append(f"{row['cell']}: {', '.join(parts)}, of {words.count(row['planned'], 'replicas')}")
    return lines


def _tuned(figures: Figures, label: str) -> str:
    """Say what a cell with a `tune` was tried at, and what was picked; empty for the others."""
    if label not in figures.design.settings:
        return ""
    row = next(row for row in figures.summary.overview.to_dict("records") if row["cell"] == label)
    options = list(dict.fromkeys(setting.options for setting in figures.design.tried(label) if setting.options))
    rates = ", ".join(words.number(rate) for rate in figures.design.rates_of(label))
    tried = f"{words.count(row['settings'], 'settings')} tried: {'; '.join([*options, f'rates {rates}'])}"
    return f"{tried}. Picked: {row['picked']}" if row["picked"] else tried


def _described(figures: Figures, experiment: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Describe each cell: its plugin's description, and its measured sizes."""
    found = []
    for label in labels(figures):
        facts = experiment["facts"]["cells"].get(label, {})
        options = facts.get("options") or {}
        sizes = figures.sizes[figures.sizes["cell"] == label].to_dict("records")
        found.append(
            {
                "label": label,
                "name": facts.get("cell", label),
                "sizes": sizes,
                "options": options and json.dumps(options),
                "tuned": _tuned(figures, label),
                "layers": facts.get("layers"),
            }
            | {key: facts.get(key, "") for key in ("provider", "description", "reference")}
        )
    return found


def _payload(figures: Figures, drawn: Sequence[Figure]) -> dict[str, Any]:
    """Collect what the script needs: cells, figures, tables."""
    steps = figures.summary.comparisons
    steps = steps[steps["metric"] == "steps"].drop(columns=list(_NOT_IN_TABLES))
    tables = [
        ("summary", "Each cell at each point", figures.summary.cells, {"at": "tuned"}),
        ("comparisons", "Comparisons of steps", steps, {"at": "tuned"}),
    ]
    return {
        "name": figures.design.name,
        "cells": labels(figures),
        "shown": first_shown(figures),
        "choice": CHOICE,
        "onDark": look.ON_DARK,
        "figures": {figure.name: _figure(figure) for figure in drawn},
        "tables": {
            name: {"title": title, "rows": embed.frame(table, None), "at": _values(table, "at"), "first": first}
            for name, title, table, first in tables
        },
    }


def _values(table: pd.DataFrame, column: str) -> list[str]:
    return [str(value) for value in dict.fromkeys(table[column])]


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "spec": figure.spec(),
        "everyCell": figure.every_cell,
        "controls": [{"field": c.field, "choose": c.field in ("metric", "measure")} for c in figure.controls],
        "rows": embed.frame(figure.frame),
    }


__all__ = ["Design", "answer", "html"]
