"""From a results folder to every number and file that is published."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cellbench.environment import again, usable_cores
from cellbench.errors import StoreError
from cellbench.records import TUNED, Answer, Train, seeds_of, stages_of
from cellbench.report import csv, inline, screen
from cellbench.report.report import Report, publish
from cellbench.results.history import history
from cellbench.results.pick import pick
from cellbench.results.tuned import settings, together
from cellbench.store import Store
from cellbench.store.frames import Frames, read
from cellbench.store.tally import never_finite, tally
from cellbench.summary import Design, summarise, words
from cellbench.summary.design import OPTIONS
from cellbench.wording import described

if TYPE_CHECKING:
    from cellbench.model import Model
    from cellbench.results.models import Examples, Found  # which imports torch: reports do without

OWN = "a cell from a file"
"""What an experiment says of a cell that no plugin describes."""


def laid_out(stored: Frames) -> Report:
    """Compute every number of a report."""
    design = design_of(stored.experiment, stored.runs, stored.answers, stored.history)
    summary = summarise(stored.runs, stored.evaluations, design)
    doubts = [f"{label}: {said}" for label, said in stored.doubts]
    doubts += [
        f"{label}: its code changed {words.listing(list(map(str, facts['changed'])))} of the whole process; that was "
        "put back"
        for label, facts in stored.experiment["facts"]["cells"].items()
        if isinstance(facts.get("changed"), list) and facts["changed"]
    ]
    breaks = stored.experiment["facts"].get("task_breaks")
    doubts += [f"{design.task} breaks a law of tasks: {said}" for said in (breaks if isinstance(breaks, list) else ())]
    summary = replace(summary, footnotes=(*doubts, *summary.footnotes))
    runs = stored.runs
    if summary.targets is not None:
        # what no stage has asked for yet is not missing
        beyond = (runs["status"] == "missing") & (runs["seed"] >= runs["label"].map(summary.targets))
        runs = runs[~beyond].reset_index(drop=True)
    return Report(runs, stored.curves, design, summary, stored.experiment, stored.unplanned)


def gather(folder: Path, *, curves: bool = True) -> Report:
    """Read the store and compute every number.

    Args:
        folder: the results folder.
        curves: whether to read the learning curves.

    Raises:
        StoreError: the folder holds no results, or they cannot be laid out.
    """
    try:
        return laid_out(together(read(folder, curves=curves)))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # the store was altered, or this is a bug: the message says where, for a report of it
        at = traceback.extract_tb(error.__traceback__)[-1]
        raise StoreError(
            f"{folder} cannot be laid out: {described(error)} "
            f"({Path(at.filename).name}:{at.lineno}). If runs.sqlite was altered by hand, restore a copy of it, "
            "or start anew with --fresh (this file stays in the folder, under another name). Otherwise this is a bug "
            "in cellbench: please report it."
        ) from error


def design_of(
    experiment: Mapping[str, Any],
    runs: pd.DataFrame,
    answers: Mapping[str, Sequence[Answer]],
    earlier: Sequence[Mapping[str, Any]] = (),
) -> Design:
    """Gather what an experiment planned.

    Args:
        experiment: as the store has it.
        runs: one row per planned replica.
        answers: what cells answered to laws, by the cell's digest.
        earlier: all experiments of its store, in the order of time.
    """
    before = history(experiment, earlier)
    resolved, facts, environment = experiment["resolved"], experiment["facts"], experiment["environment"]
    train = Train.read(resolved["train"])
    versions = {"cellbench": environment["cellbench"], "torch": environment["packages"].get("torch", "?")}
    return Design(
        name=resolved["name"],
        task=resolved["task"],
        labels=tuple(dict.fromkeys(runs["label"])),
        baseline=resolved["baseline"],
        axes=(*facts["axes"], "batch_size", "size"),
        seeds=tuple(seeds_of(resolved["seeds"])),
        stages=before.stages,
        past=before.past,
        elsewhere=before.elsewhere,
        learning_rates=tuple(resolved["learning_rate"]),
        max_steps=train.max_steps,
        evaluation_steps=tuple(facts["evaluation_steps"]),
        metric=resolved["solved"]["metric"],
        threshold=resolved["solved"]["threshold"],
        hold=resolved["solved"]["hold"],
        stop_when_solved=train.stop_when_solved,
        final_examples=resolved["final"]["examples"],
        ratio_of_interest=resolved["report"]["ratio_of_interest"],
        pairs=resolved["report"]["pairs"],
        engine_reasons={
            label: reason
            for label, cell in facts["cells"].items()
            if isinstance(reason := cell.get("engine_reason"), str)
        },
        versions={**versions, **environment["plugins"]},
        optimizer=train.optimizer,
        optimizer_options=train.optimizer_options,
        schedule=train.schedule,
        warmup_steps=train.warmup_steps,
        end_factor=train.end_factor,
        clip_norm=train.clip_norm,
        clip_value=train.clip_value,
        command=again(experiment["command"], [one["command"] for one in earlier]),
        broken_laws=_broken_laws(experiment, answers),
        trusted=facts.get("trusted") is True,
        own=tuple(label for label, cell in facts["cells"].items() if cell.get("description") == OWN),
        kind=facts.get("kind", ""),
        tolerance=facts.get("tolerance", 0.0),
        layers={label: n for label, cell in facts["cells"].items() if isinstance(n := cell.get("layers"), int)},
        settings=settings(facts["cells"]),
    )


def _broken_laws(experiment: Mapping[str, Any], answers: Mapping[str, Sequence[Answer]]) -> dict[str, tuple[str, ...]]:
    """List the laws that each cell breaks, in words, by label.

    The answers given to the experiment's own versions of torch and cellbench count; a cell that gave none to these has
    been trained by others, and all its answers count.
    """
    environment = experiment["environment"]
    here = (environment["packages"].get("torch"), environment["cellbench"])
    found = {}
    for label, cell in experiment["facts"]["cells"].items():
        broken: dict[str, str] = {}
        for choice in cell.get(TUNED, [cell]):
            given = answers.get(choice.get("digest", ""), ())
            given = [a for a in given if (a.torch, a.cellbench) == here] or given
            at = f" at {choice[OPTIONS]}" if TUNED in cell and choice[OPTIONS] else ""
            broken = {a.law.name: f"{a.law.shows} ({a.message}{at})" for a in given if a.status == "fail"} | broken
        if broken:
            found[label] = tuple(broken.values())
    return found


def write(folder: Path, *, charts: bool = True, form: str = "png") -> Report:
    """Write every file of the report from the store.

    Args:
        folder: the results folder.
        charts: whether to write the page and the charts, which take most of the time.
        form: the format of the files in charts/, `png`, `svg` or `pdf`.

    Raises:
        StoreError: the folder holds no results, or a file cannot be written.
    """
    return publish(lambda: gather(folder), folder, processes=usable_cores(), charts=charts, form=form)


class Results:
    """The results in one folder, as DataFrames with the content of the CSV files. They are computed on first use.

    Args:
        folder: the results folder.
        report: the report, if it was gathered already.
        answer: the text of these results, if the report of an earlier run is up to date and was not made again; empty
            if it has to be laid out for another width.
        own: whether this process ran the experiment, so that the code of its cells may be run again.
    """

    def __init__(
        self, folder: Path, report: Report | None = None, answer: str | None = None, *, own: bool = False
    ) -> None:
        self.folder = folder
        self.answer = answer
        self._own = own
        self._report = report

    @property
    def report(self) -> Report:
        """Everything that the report's files show."""
        if self._report is None:
            self._report = gather(self.folder)
        return self._report

    @property
    def runs(self) -> pd.DataFrame:
        """One row per planned replica: runs.csv."""
        return self.report.runs[csv.columns(csv.RUNS, self.report.parameters, self.report.runs)]

    @property
    def curves(self) -> pd.DataFrame:
        """One row per evaluation of a learning curve: curves.csv."""
        return self.report.curves[csv.columns(csv.CURVES, self.report.parameters, self.report.curves)]

    @property
    def accuracy(self) -> pd.DataFrame:
        """Final accuracies by length and difficulty: accuracy.csv."""
        return self.report.summary.accuracy

    @property
    def summary(self) -> pd.DataFrame:
        """One row per cell and point: summary.csv."""
        return self.report.summary.cells

    @property
    def comparisons(self) -> pd.DataFrame:
        """The comparisons of cells with the baseline: comparisons.csv."""
        return self.report.summary.comparisons

    def model(self, *, run_code: bool = False, **which: Any) -> Model:
        """Return the trained model of one replica, in `eval()` mode.

        It has the weights that the run kept (`keep: weights`); if it kept none, it is trained again, to the same
        numbers. `model.predict(inputs)` answers as the task's targets are, `model(inputs)` returns logits.

        Args:
            run_code: whether the code of a cell or a task from a file may be run, as the folder holds it. Results of a
                `run` in this process need no such leave.
            **which: `label` and `seed`, and the task's parameters, batch_size or hidden_size where there are several.
                `learning_rate` is by default the one that was picked most often for the cell at its point.

        Raises:
            CellbenchError: none or several replicas are meant, the one that is meant has no trained weights, or it
                cannot be trained here.
        """
        return self._find(which, run_code).model()

    def examples(self, *, run_code: bool = False, **which: Any) -> Examples:
        """Let the model of one replica answer the examples of its final evaluation; see `model`."""
        from cellbench.results.models import examples

        return examples(self._find(which, run_code))

    def _find(self, which: Mapping[str, Any], run_code: bool) -> Found:
        from cellbench.results.models import find

        return find(self.folder, str(pick(self.report, which)["key"]), run_code=run_code or self._own)

    @property
    def verdicts(self) -> pd.DataFrame:
        """One row per cell and baseline: cell, baseline, verdict (its word, on steps), headline, sentence."""
        found = self.report.summary.verdicts
        columns = ["cell", "baseline", "verdict", "headline", "sentence"]
        return pd.DataFrame([[getattr(each, name) for name in columns] for each in found], columns=columns)

    @property
    def failed(self) -> int:
        """The number of planned replicas that failed, because of the cell or of the machine."""
        with Store(self.folder, write=False) as store:
            return tally(store).failed

    @property
    def diverged(self) -> tuple[str, ...]:
        """The labels of the cells all of whose replicas diverged, or failed in the cell's own code."""
        with Store(self.folder, write=False) as store:
            return never_finite(store)

    def __repr__(self) -> str:
        with Store(self.folder, write=False) as store:
            found, resolved = tally(store), store.experiment()["resolved"]
        name = resolved["name"]
        if stages_of(resolved["seeds"]) is not None:
            there = found.planned - found.to_train
            return f"<Results of {name} in {self.folder}: {there:,} of at most {found.planned:,} replicas>"
        left = f"{found.to_train:,} missing" if found.to_train else "none missing"
        return f"<Results of {name} in {self.folder}: {found.planned:,} replicas, {left}>"

    def _repr_html_(self) -> str:
        """Show verdicts, table and ratios in a notebook."""
        return inline.html(self.report)

    def __str__(self) -> str:
        return self.answer or screen.terminal(self.report.summary, self.report.design)


def load(folder: str | Path) -> Results:
    """Read the results in a folder.

    Raises:
        StoreError: the folder holds no results.
    """
    return Results(Path(folder), gather(Path(folder)))
