"""From a results folder to every number and file that is published."""

from __future__ import annotations

import shlex
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cellbench.environment import usable_cores
from cellbench.errors import StoreError
from cellbench.report import csv, failures, latex, tables
from cellbench.report.files import write_text
from cellbench.store import frames
from cellbench.store.store import Store
from cellbench.summary.summary import Design, Summary, summarise


@dataclass(frozen=True)
class Report:
    """Everything that the report's files lay out.

    Attributes:
        runs: one row a planned replica.
        curves: one row an evaluation of a learning curve.
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


@dataclass(frozen=True)
class Stored:
    """What a store holds of its last experiment, as frames.

    Attributes:
        experiment: resolved, facts, environment, command, started.
        runs: one row a planned replica.
        evaluations: one row a final evaluation.
        curves: one row an evaluation of a learning curve; none if they were not asked for.
        unplanned: outcomes in the store that this experiment does not plan.
    """

    experiment: dict[str, Any]
    runs: pd.DataFrame
    evaluations: pd.DataFrame
    curves: pd.DataFrame
    unplanned: int


def read(folder: Path, *, curves: bool = True) -> Stored:
    """Read the store of one folder.

    Raises:
        StoreError: there are no results.
    """
    with Store(folder, write=False) as store:
        store.check()
        experiment, unplanned = store.experiment(), store.unplanned()
        runs, evaluations = frames.runs(store), frames.evaluations(store)
        curve_rows = frames.curves(store) if curves else None
    parameters = tuple(experiment["facts"]["axes"])
    point = ["label", *parameters, "batch_size", "size", "learning_rate", "seed"]
    who = runs[[*point, "replica"]].dropna(subset=["replica"])
    evaluations = _beside(who, evaluations).drop(columns="position")
    numeric = pd.to_numeric(evaluations["value"], errors="coerce")
    if numeric.notna().sum() == evaluations["value"].notna().sum():
        evaluations["value"] = numeric
    wide = pd.DataFrame(columns=csv.columns(csv.CURVES, parameters))
    if curve_rows is not None:
        wide = _beside(who, curve_rows)
    return Stored(experiment, runs, evaluations, wide, unplanned)


def _beside(who: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Each replica's rows (sorted by replica) beside who it is, in who's order: a merge, in half of its memory."""
    replica, sought = rows["replica"].to_numpy(), who["replica"].to_numpy(dtype=np.int64)
    first = np.searchsorted(replica, sought, side="left")
    counts = np.searchsorted(replica, sought, side="right") - first
    owner = np.repeat(np.arange(len(who)), counts)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    at = first[owner] + within
    columns = {name: who[name].to_numpy()[owner] for name in who.columns if name != "replica"}
    columns |= {name: rows[name].to_numpy()[at] for name in rows.columns if name != "replica"}
    return pd.DataFrame(columns, copy=False)


def report(stored: Stored) -> Report:
    """Compute every number."""
    design = _design(stored.experiment, stored.runs)
    summary = summarise(stored.runs, stored.evaluations, design)
    return Report(stored.runs, stored.curves, design, summary, stored.experiment, stored.unplanned)


def gather(folder: Path, *, curves: bool = True) -> Report:
    """Read the store and compute every number.

    Args:
        folder: of the results.
        curves: whether the learning curves are wanted.

    Raises:
        StoreError: there are no results.
    """
    try:
        return report(read(folder, curves=curves))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        raise StoreError(
            f"{folder} cannot be laid out: {type(error).__name__}: {' '.join(str(error).split())[:200]} "
            f"({Path(at.filename).name}:{at.lineno}). If runs.sqlite was altered by hand, put a copy back, or "
            "start anew with --fresh (this one is kept beside); else this is a fault of cellbench: please report it."
        ) from error


def again(command: str) -> str:
    """A stored command, fit to be typed again: results of the run that it names are never thrown away by it."""
    try:
        words = [word for word in shlex.split(command) if word != "--fresh"]
    except ValueError:
        words = []
    ours = words[:2] == ["cellbench", "run"] or words[:4] == ["python", "-m", "cellbench", "run"]
    return shlex.join(words) if ours else "cellbench run EXPERIMENT"


def _design(experiment: dict[str, Any], runs: pd.DataFrame) -> Design:
    resolved, facts, environment = experiment["resolved"], experiment["facts"], experiment["environment"]
    versions = {"cellbench": environment["cellbench"], "torch": environment["packages"].get("torch", "?")}
    return Design(
        name=resolved["name"],
        task=resolved["task"],
        labels=tuple(dict.fromkeys(runs["label"])),
        baseline=resolved["baseline"],
        axes=(*facts["axes"], "batch_size", "size"),
        seeds=tuple(resolved["seeds"]),
        learning_rates=tuple(resolved["learning_rate"]),
        max_steps=resolved["train"]["max_steps"],
        evaluation_steps=tuple(facts["evaluation_steps"]),
        metric=resolved["solved"]["metric"],
        threshold=resolved["solved"]["threshold"],
        hold=resolved["solved"]["hold"],
        stop_when_solved=resolved["train"]["stop_when_solved"],
        final_examples=resolved["final"]["examples"],
        ratio_of_interest=resolved["report"]["ratio_of_interest"],
        pairs=resolved["report"]["pairs"],
        versions={**versions, **environment["plugins"]},
        optimizer=resolved["train"]["optimizer"],
        clip_norm=resolved["train"]["clip_norm"],
        command=again(experiment["command"]),
    )


def write(folder: Path, *, charts: bool = True, form: str = "png") -> Report:
    """Make every file of the report again from the store.

    Args:
        folder: of the results.
        charts: whether the page and the charts are wanted, which take most of the time.
        form: of the files in charts/, `png` or `svg`.

    Raises:
        StoreError: there are no results, or a file cannot be written.
    """
    found = gather(folder)
    publish(found, folder, charts=charts, form=form)
    return found


def publish(found: Report, folder: Path, *, charts: bool = True, form: str = "png") -> None:
    """Write every file of a report; see `write`."""
    with draw(found, folder, form) if charts else nullcontext():
        tables_of(found, folder)


def tables_of(found: Report, folder: Path) -> None:
    """Write what needs no drawing: CSV, Markdown, LaTeX and failures.txt."""
    parameters = found.parameters
    csv.write(csv.select(found.runs, csv.RUNS, parameters), folder / "runs.csv")
    csv.write(csv.select(found.curves, csv.CURVES, parameters), folder / "curves.csv")
    csv.write(found.summary.accuracy, folder / "accuracy.csv")
    csv.write(found.summary.cells, folder / "summary.csv")
    csv.write(found.summary.comparisons, folder / "comparisons.csv")
    write_text(folder / "summary.md", tables.markdown(found.summary, found.design))
    write_text(folder / "summary.tex", latex.latex(found.summary, found.design))
    said = failures.text(found.runs)
    if said:
        write_text(folder / "failures.txt", said)
    else:
        (folder / "failures.txt").unlink(missing_ok=True)


@contextmanager
def draw(found: Report, folder: Path, form: str = "png") -> Iterator[None]:
    """Make report.html and the files in charts/; other processes draw while the block goes on."""
    from cellbench.report.drawing import Pictures

    with Pictures(usable_cores()) as pictures:
        # altair takes a while to import, and tables do not need it
        from cellbench.report import charts, page
        from cellbench.summary.figures import Figures

        figures = Figures(found.summary, found.runs, found.curves, found.experiment["facts"]["reference_accuracies"])
        drawn = charts.all_figures(figures)
        charts.write(figures, drawn, folder / "charts", pictures, form)
        yield
        write_text(folder / "report.html", page.html(figures, drawn, found.experiment, failures.text(found.runs)))


class Results:
    """The results in one folder, as DataFrames: what the CSV files hold. Computed when first asked for.

    Args:
        folder: of the results.
        report: what was gathered already.
        answer: the text of these results, where the report of an earlier run is still right and was not made again.
    """

    def __init__(self, folder: Path, report: Report | None = None, answer: str | None = None) -> None:
        self.folder = folder
        self.answer = answer
        self._report = report

    @property
    def report(self) -> Report:
        """Everything that the report's files lay out."""
        if self._report is None:
            self._report = gather(self.folder)
        return self._report

    @property
    def runs(self) -> pd.DataFrame:
        """One row a planned replica: runs.csv."""
        return self.report.runs[csv.columns(csv.RUNS, self.report.parameters)]

    @property
    def curves(self) -> pd.DataFrame:
        """One row an evaluation of a learning curve: curves.csv."""
        return self.report.curves[csv.columns(csv.CURVES, self.report.parameters)]

    @property
    def accuracy(self) -> pd.DataFrame:
        """Final accuracies by length and difficulty: accuracy.csv."""
        return self.report.summary.accuracy

    @property
    def summary(self) -> pd.DataFrame:
        """Each cell at each point: summary.csv."""
        return self.report.summary.cells

    @property
    def comparisons(self) -> pd.DataFrame:
        """Cells beside the baseline: comparisons.csv."""
        return self.report.summary.comparisons

    @property
    def failed(self) -> int:
        """How many planned replicas failed, whoever's fault it was."""
        with Store(self.folder, write=False) as store:
            return sum(count for status, count in store.counts().items() if status.startswith("failed"))

    def __str__(self) -> str:
        return self.answer if self.answer is not None else tables.terminal(self.report.summary, self.report.design)


def load(folder: str | Path) -> Results:
    """The results of a folder.

    Raises:
        StoreError: it holds none.
    """
    return Results(Path(folder), gather(Path(folder)))
