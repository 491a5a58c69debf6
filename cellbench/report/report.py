"""Write every file of a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cellbench.report import csv, latex, tables
from cellbench.report.files import refuse_link, remove, write_text
from cellbench.report.tables import failures
from cellbench.report.unsolved import commands
from cellbench.summary import Design, Summary


@dataclass(frozen=True)
class Report:
    """Everything that the report's files lay out.

    Attributes:
        runs: one row per planned replica.
        curves: one row per evaluation of a learning curve.
        design, summary: what was planned, and every number derived.
        experiment: the store's last experiment: resolved, facts, environment.
        unplanned: outcomes in the store that this experiment does not plan.
    """

    runs: pd.DataFrame
    curves: pd.DataFrame
    design: Design
    summary: Summary
    experiment: dict[str, Any]
    unplanned: int

    @property
    def parameters(self) -> tuple[str, ...]:
        """The task's grid parameters."""
        return tuple(self.experiment["facts"]["axes"])


def tables_of(found: Report, folder: Path) -> None:
    """Write the files that need no drawing: CSV, Markdown, LaTeX and failures.txt."""
    parameters = found.parameters
    csv.write(csv.select(found.runs, csv.RUNS, parameters), folder / "runs.csv")
    csv.write(csv.select(found.curves, csv.CURVES, parameters), folder / "curves.csv")
    csv.write(found.summary.accuracy, folder / "accuracy.csv")
    csv.write(found.summary.cells, folder / "summary.csv")
    csv.write(found.summary.comparisons, folder / "comparisons.csv")
    write_text(folder / "summary.md", tables.markdown(found.summary, found.design, found.runs))
    write_text(folder / "summary.tex", latex.latex(found.summary, found.design, found.runs))
    said = failures(found.runs)
    if said:
        write_text(folder / "failures.txt", said)
    else:
        remove(folder / "failures.txt")


STORE = "runs.sqlite"
"""The file that makes a folder a results folder."""


@contextmanager
def draw(gather: Callable[[], Report], folder: Path, processes: int, form: str = "png") -> Iterator[Report]:
    """Gather a report, and write report.html and the files in charts/; other processes draw while the block runs.

    They start before the numbers are gathered, because vega takes as long to load as the numbers take to compute.
    """
    from cellbench.report.drawing import Pictures

    with Pictures(processes) as pictures:
        found = gather()
        refuse_link(folder / "charts")
        # altair takes a while to import, and tables do not need it
        from cellbench.report import charts, page
        from cellbench.summary.figures import Figures

        figures = Figures(found.summary, found.runs, found.curves, found.experiment["facts"]["reference_accuracies"])
        files = charts.Files(figures, folder / "charts", pictures, form)
        drawn = charts.all_figures(figures, files.draw)
        files.remove_others()
        yield found
        # a report of several folders is no results folder, in which commands would find its replicas
        unsolved = commands(found.runs, found.parameters, folder) if (folder / STORE).exists() else []
        write_text(folder / "report.html", page.html(figures, drawn, found.experiment, failures(found.runs), unsolved))


def publish(
    gather: Callable[[], Report], folder: Path, *, processes: int, charts: bool = True, form: str = "png"
) -> Report:
    """Gather a report and write every file of it.

    Args:
        gather: computes the numbers and the plan.
        folder: where the files go.
        processes: how many processes draw at the same time.
        charts: whether to write the page and the charts, which take most of the time.
        form: the format of the files in charts/, `png`, `svg` or `pdf`.

    Returns:
        What was gathered.

    Raises:
        StoreError: a file cannot be written, or what `gather` raises.
    """
    with draw(gather, folder, processes, form) if charts else nullcontext(gather()) as found:
        tables_of(found, folder)
    return found


FILES = (
    "runs.csv", "curves.csv", "accuracy.csv", "summary.csv", "comparisons.csv", "summary.md", "summary.tex",
    "failures.txt", "report.html",
)  # fmt: skip
