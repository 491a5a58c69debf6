"""Writes the measured parts of docs/profile/README.md from the results of a profile: see the end of that page.

`python docs/make_profile.py [FOLDER]` reads the profile's folder (default: results/profile-12) and, beside it, those
of `associative-recall`. A part stands between `<!-- measured: NAME -->` and `<!-- end -->`; one whose results are
missing is left as it is, and named.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import vl_convert
from measured import fill
from tabulate import tabulate

from cellbench.report import by_task as ranks
from cellbench.report import matrix as laid
from cellbench.report import palette, tables
from cellbench.report.rows import bounded, number, ratio, share, typical
from cellbench.results import gather, matrix
from cellbench.summary import Summary, words
from cellbench.summary.matrix import Matrix
from cellbench.summary.ranking import ranked

PAGE = Path(__file__).parent / "profile" / "README.md"
PICTURE = PAGE.parent / "profile.svg"
WHERE = Path(sys.argv[1] if len(sys.argv) > 1 else "results/profile-12")
RECALL = "associative-recall"
CONTROLS = ("reverse_string", "dyck2")
"""The tasks that no finite memory answers at every length."""
TIMES = 4
"""The control is asked at lengths of at least so many times the trained one."""
OPEN = "no difference shown, or cannot tell"
_FINAL = """
SELECT plan.label, plan.parameters, plan.learning_rate, plan.seed, replica.status, replica.steps_to_solved,
       replica.final_step, replica.final_bit_accuracy, replica.final_sequence_accuracy, replica.seconds,
       evaluation.by, evaluation.value, evaluation.sequence_accuracy
FROM plan JOIN replica ON replica.key = plan.key
LEFT JOIN evaluation ON evaluation.replica = replica.id AND evaluation.by != ''
"""


@cache
def folders() -> dict[str, Path]:
    """Find the results folder of each task."""
    found = matrix.folders_of(WHERE)
    if found is None:
        raise FileNotFoundError(WHERE / matrix.TASKS)
    return {task: folder for task, folder in found.items() if (folder / "runs.sqlite").is_file()}


@cache
def compared() -> Matrix:
    """Compare all cells on all tasks, as `cellbench profile` does."""
    return matrix.of_folders(folders())


@cache
def part(task: str) -> Summary:
    """Summarise one task."""
    return gather(folders()[task], curves=False).summary


@cache
def finals(folder: Path) -> pd.DataFrame:
    """Read every final evaluation of every replica of a folder."""
    path = folder / "runs.sqlite"
    if not path.is_file():
        raise FileNotFoundError(path)
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection, connection:
        return pd.read_sql(_FINAL, connection)


def table(rows: list[list[str]], heads: list[str]) -> str:
    """Write a Markdown table."""
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True)


def labels() -> list[str]:
    """List all cells, the baseline first."""
    return [compared().baseline, *compared().cells]


def steps() -> str:
    """Lay out the verdicts on steps: a row per cell, a column per task."""
    found = compared()
    rows = []
    for cell in found.cells:
        row = [cell]
        for task in found.tasks:
            entry = found.at(task, cell)
            known = entry is not None and entry.ratio == entry.ratio
            row.append(
                f"{entry.steps}, {bounded(entry.ratio, entry.bound)}"
                if entry and known
                else entry.steps
                if entry
                else "–"
            )
        rows.append(row)
    return f"{table(rows, ['cell', *found.tasks])}\n\n{laid.reading(found)}"


def fastest() -> str:
    """Lay out who is among the fastest at each task, and how often a cell is."""
    frame = matrix.ranks_of(folders())
    grids = (ranks.sets(frame), ranks.cells(frame))
    return "\n\n".join([*(tables.grid_text(grid) for grid in grids), f"{ranks.LEGEND}."])


def longest() -> str:
    """Lay out the mean sequence accuracy at the longest length, with the verdict against the baseline."""
    found, columns = compared(), {task: _at_longest(task) for task in compared().tasks}
    rows = []
    for cell in labels():
        row = [cell]
        for task in found.tasks:
            entry = found.at(task, cell)
            finding = entry.finding("longest") if entry else None
            mark = {"higher": " ▲", "lower": " ▼"}.get(finding.verdict if finding else "", "")
            row.append(f"{number(columns[task][0].get(cell))}{mark}")
        rows.append(row)
    heads = [
        "cell",
        *(f"{task}, {words.quantity(by)} {value:g}" if by else task for task, (_, by, value) in columns.items()),
    ]
    return (
        f"{table(rows, heads)}\n\n▲ and ▼: higher and lower than {found.baseline}, corrected over all cells and tasks."
    )


def _at_longest(task: str) -> tuple[dict[str, float], str, float]:
    """Return each cell's mean sequence accuracy at the longest length, over all points at the tuned rate."""
    frame = part(task).accuracy
    rows = frame[(frame["metric"] == "sequence_accuracy") & (frame["scope"] == "all") & (frame["at"] == "tuned")]
    for by in part(task).design.axes:
        of_by = rows[rows["by"] == by]
        if len(of_by) and of_by["value"].astype(float).nunique() > 1:
            most = of_by["value"].astype(float).max()
            last = of_by[of_by["value"].astype(float) == most]
            return dict(zip(last["cell"], last["mean"].astype(float), strict=True)), by, most
    return {}, "", float("nan")


def of_task(task: str) -> str:
    """Lay out one task: who solved it, how fast, and how exact each cell is at the trained and the longest length."""
    one, found = part(task), compared()
    order = ranked(one.replicas, one.overview, one.comparisons)
    overview = one.overview.set_index("cell")
    compared_steps = one.comparisons
    main = compared_steps[(compared_steps["metric"] == "steps") & (compared_steps["scope"] == "all")]
    main = main[main["at"] == "tuned"].set_index("cell")
    beyond, by, value = _at_longest(task)
    rows = []
    for cell in order["cell"]:
        entry, row = found.at(task, cell), overview.loc[cell]
        rows.append([
            cell, share(row), typical(row, one.design.max_steps),
            ratio(main.loc[cell]) if cell in main.index else "1 (baseline)",
            entry.steps if entry else "", number(entry.exact if entry else _exact(one, cell)), number(beyond.get(cell)),
            _rates(one, cell),
        ])  # fmt: skip
    heads = ["cell", "solved", "typical steps", "ratio of steps", "verdict", "exact", f"exact at {by} {value:g}",
             "rates picked"]  # fmt: skip
    return table(rows, heads)


def _exact(one: Summary, cell: str) -> float:
    """Look up the mean sequence accuracy at the trained length."""
    frame = one.accuracy
    rows = frame[(frame["metric"] == "sequence_accuracy") & (frame["scope"] == "all") & (frame["cell"] == cell)]
    found = rows[(rows["at"] == "tuned") & (rows["by"] == "")]["mean"]
    return float(found.iloc[0]) if len(found) else float("nan")


def _rates(one: Summary, cell: str) -> str:
    """List the rates picked at the points, each once."""
    replicas, picked = one.replicas, []
    c = replicas.cell(cell)
    for g in range(len(replicas.points)):
        pick = replicas.tuned(c, g, replicas.complete(c, g))
        if pick is not None:
            picked.append(float(replicas.rates(c)[pick.picked]))
    return ", ".join(f"{rate:g}" for rate in dict.fromkeys(picked))


def control() -> str:
    """Show the greatest sequence accuracy of any replica, at any rate, at four times its trained length or more."""
    rows = []
    for task in CONTROLS:
        frame = finals(folders()[task])
        frame["trained"] = [_parameter(text, by) for text, by in zip(frame["parameters"], frame["by"], strict=True)]
        far = frame[frame["value"].astype(float) >= TIMES * frame["trained"]]
        top = far.loc[far["sequence_accuracy"].idxmax()]
        rows.append([
            task, f"{top['by']} {float(far['value'].astype(float).max()):g}", f"{len(far):,}",
            f"{int((far['sequence_accuracy'] >= 0.99).sum()):,}", f"{top['sequence_accuracy']:.3f}",
            f"{top['label']}, trained at {top['trained']:g}, rate {top['learning_rate']:g}, seed {top['seed']}",
        ])  # fmt: skip
    return table(rows, ["task", "asked at", "replicas", "at 0.99 or above", "the greatest", "of"])


def _parameter(text: str, name: str | None) -> float:
    """Read one parameter of a replica's point."""
    return float(json.loads(text).get(name, "nan"))


def recall() -> str:
    """Count what solved associative recall with more of everything than the profile has."""
    frame = finals(WHERE.parent / RECALL).drop_duplicates(["label", "learning_rate", "seed"])
    rows = []
    for cell, of_cell in frame.groupby("label", sort=False):
        for rate, at in of_cell.groupby("learning_rate"):
            first = at["steps_to_solved"].min()
            rows.append([
                str(cell), f"{rate:g}", f"{int(at['steps_to_solved'].count())} of {len(at)}",
                f"{first:.0f}" if first == first else f"> {at['final_step'].max()}",
                number(at["final_bit_accuracy"].mean()), number(at["final_sequence_accuracy"].mean()),
            ])  # fmt: skip
    heads = ["cell", "learning rate", "solved", "first after steps", "step accuracy", "sequence accuracy"]
    return table(rows, heads)


def picture() -> str:
    """Draw the ratios of steps with their intervals, one panel per task, and name the file."""
    found = compared()
    rows = [
        {"task": e.task, "cell": e.cell, "ratio": e.ratio, "low": e.low, "high": e.high, "verdict": _side(e.steps)}
        for e in found.entries
        if e.ratio == e.ratio
    ]
    colour = alt.Color(
        "verdict:N",
        scale=alt.Scale(domain=["fewer steps", OPEN, "more steps"],
                        range=[palette.FEWER, palette.MUTED, palette.MORE]),
        title=f"against {found.baseline}, corrected",
    )  # fmt: skip
    x = alt.X("ratio:Q", scale=alt.Scale(type="log"), title="ratio of steps (log scale)").axis(format="~g", tickCount=4)
    base = alt.Chart(pd.DataFrame(rows)).encode(y=alt.Y("cell:N", sort=list(found.cells), title=None), color=colour)
    layers = alt.layer(
        base.mark_rule(strokeDash=[3, 3], color=palette.MUTED).encode(
            x=alt.datum(1), y=alt.Y(), color=alt.value(palette.MUTED)
        ),
        base.mark_rule(strokeWidth=2, clip=True).encode(x=alt.X("low:Q", scale=alt.Scale(type="log")), x2="high:Q"),
        base.mark_point(filled=True, size=50, opacity=1).encode(x=x),
    ).properties(width=170, height=16 * len(found.cells))
    chart = layers.facet(alt.Facet("task:N", sort=list(found.tasks), title=None), columns=4)
    definition: dict[str, Any] = chart.configure(**palette.config(static=True)).to_dict()
    PICTURE.write_text(vl_convert.vegalite_to_svg(definition), encoding="utf-8")
    return f"![Ratios of steps with 95 % intervals, one panel per task]({PICTURE.name})"


def _side(verdict: str) -> str:
    """Tell which side a verdict is on; those within the rates tried, and slight ones, count."""
    return "fewer steps" if "faster" in verdict else "more steps" if "slower" in verdict else OPEN


def parts() -> dict[str, Callable[[], str]]:
    """List the measured parts of the page by name."""
    named: dict[str, Callable[[], str]] = {
        "steps": steps, "fastest": fastest, "longest": longest, "picture": picture, "control": control,
        "recall": recall,
    }  # fmt: skip
    return named


def made(name: str) -> str:
    """Make one part of the page: what `parts` lists, or a task."""
    return parts()[name]() if name in parts() else of_task(name)


if __name__ == "__main__":
    fill(PAGE, made, (FileNotFoundError, KeyError))
