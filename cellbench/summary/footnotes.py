"""Write what a reader must know beside the numbers: what is missing, the footnotes, how to read the tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cellbench.statistics.intervals import LEAST_SEEDS, rarest_failure
from cellbench.summary import looked, words
from cellbench.summary.accuracies import AT_SOLVED
from cellbench.summary.comparisons import ALL, Row
from cellbench.summary.design import Design, axis_word, point_name, value_word
from cellbench.summary.notes import footnotes as of_row
from cellbench.summary.selection import DIVERGED, FAILED, MISSING, NOT_PLANNED, ON_MACHINE, STATES, Selection
from cellbench.summary.verdicts import rests_on_t, says_few


@dataclass(frozen=True)
class Missing:
    """How many replicas of one cell at one point are missing from every number."""

    cell: str
    point: str
    planned: int
    not_run: int
    machine: int
    """How many failed because their worker crashed, or timed out; the next run tries them again."""

    @property
    def text(self) -> str:
        if self.planned == 0:
            return f"{self.cell} at {self.point}: nothing was planned"
        causes = [(self.not_run, "not run"), (self.machine, "failed on a machine")]
        said = ", ".join(f"{n} {cause}" for n, cause in causes if n)
        return f"{self.cell} at {self.point}: {said}, of {words.count(self.planned, 'replicas')}"


def missing(replicas: Selection) -> tuple[Missing, ...]:
    """List what is missing, by cell and point."""
    found = []
    for c, label in enumerate(replicas.design.labels):
        for g, point in enumerate(replicas.points):
            state = replicas.state[c, g]
            planned = int((state != NOT_PLANNED).sum())
            gone = int((state == MISSING).sum()), int((state == ON_MACHINE).sum())
            if planned == 0 or any(gone):
                found.append(Missing(label, point_name(replicas.design.axes, point), planned, *gone))
    return tuple(found)


def outcomes(replicas: Selection) -> pd.DataFrame:
    """Count each cell's replicas by state: cell, planned, then the states; each replica is in exactly one."""
    rows = []
    for c, label in enumerate(replicas.design.labels):
        state = replicas.state[c]
        rows.append((label, int((state != NOT_PLANNED).sum()), *(int((state == s).sum()) for s in range(len(STATES)))))
    return pd.DataFrame(rows, columns=["cell", "planned", *STATES])


def footnotes(replicas: Selection, cells: pd.DataFrame, rows: Sequence[Row]) -> tuple[str, ...]:
    """Write the notes that hold for whole tables. `rows`: all comparisons of steps."""
    design = replicas.design
    found = []
    if design.several:
        what, tried = ("setting", "settings") if design.tunes_options else ("learning rate", "rates")
        best = "setting" if design.tunes_options else "rate"
        found.append(
            f"tuned: the speed at a {what} picked on half of the seeds and reported on the others, all ways "
            f"round: what a user who tunes gets, not the speed at the truly best {best}; across: the average over the "
            f"{tried} tried, nothing picked. A difference between the two is no contradiction"
        )
    # a share of 100 % hides rare failures: say how rare they must be
    tuned = cells[(cells["at"] == "tuned") & (cells["seeds"] >= LEAST_SEEDS)]
    all_solved = sorted(set(tuned.loc[tuned["solved"] >= 1 - 1e-12, "seeds"].astype(int)))
    found += [
        f"where all {n} seeds solved a setting, up to {words.percent(rarest_failure(n))} of seeds may still fail"
        for n in all_solved
    ]
    # what verdicts say themselves is not said again
    said = {rests_on_t(len(row.seeds)) for row in rows if says_few(row)}
    found += sorted({note for row in rows for note in of_row(row)} - said)
    if replicas.trained_by:
        by = ", ".join(f"{count:,} by {name}" for name, count in replicas.trained_by)
        found.append(f"replicas of one cell were trained differently, so their numbers are rounded differently: {by}")
    if np.isin(replicas.state, (DIVERGED, FAILED)).any():
        found.append("accuracies: replicas that diverged, or failed in the cell's own code, count as accuracy 0")
    for reason in dict.fromkeys(design.engine_reasons.values()):
        labels = [label for label in design.labels if design.engine_reasons.get(label) == reason]
        found.append(f"{words.listing(labels)} trained by {reason}")
    if design.stages is not None and design.elsewhere:
        times = words.count(design.elsewhere, "times")
        found.append(f"the same seeds were looked at {times} with other settings")
    if design.stop_when_solved and replicas.keys:
        found.append(f"accuracies are {AT_SOLVED}; compare them only with stop_when_solved: false")
    return tuple(found)


def how_to_read(replicas: Selection, rows: Sequence[Row], seeds: str) -> str:
    """Write a paragraph from what was really done, for a paper's appendix; `seeds` says how many cells have."""
    design = replicas.design
    said = [_trained(replicas, seeds), _counted(design), _rates(design), _compared(design, rows)]
    if design.stages is not None and len(design.labels) > 1:
        said.append(looked.how_to_read(design.stages))
    if replicas.keys:
        said.append(
            f"Accuracies are of the trained models on {design.final_examples} new examples each, with Gaffke's 95 % "
            f"interval of the mean over seeds; sequence accuracy needs every output of an example right."
        )
    if design.versions:
        said.append("Versions: " + ", ".join(f"{name} {version}" for name, version in design.versions.items()) + ".")
    return " ".join(said)


def _trained(replicas: Selection, seeds: str) -> str:
    design = replicas.design
    grid = []
    for a, axis in enumerate(design.axes):
        values = list(dict.fromkeys(point[a] for point in replicas.points))
        grid.append(f"{axis_word(axis, values)} {', '.join(value_word(axis, v) for v in values)}")
    clip = f", {design.clipped}" if (design.clip_norm, design.clip_value) != (None, None) else ""
    scheduled = f", learning rates {design.scheduled}" if design.scheduled else ""
    rates = ", ".join(words.number(rate) for rate in design.rates)
    tuning = f", {design.tuning}" if design.tuning else ""
    return (
        f"{words.count(len(design.labels), 'cells')} learned {design.task} at "
        f"{words.count(len(replicas.points), 'points')} ({'; '.join(grid)}), each from "
        f"{seeds} at {words.count(len(design.rates), 'learning rates')} ({rates})"
        f"{tuning}, for at most {design.max_steps} steps ({design.by}{scheduled}{clip})."
    )


def _counted(design: Design) -> str:
    held = f"the first of {design.hold} consecutive evaluations" if design.hold > 1 else "the first evaluation"
    return (
        f"A replica has solved the task at {held} with {design.solved_by} at least {words.number(design.threshold)}; "
        f"one that never does, diverges, or fails in the cell's own code counts as {design.max_steps} steps in typical "
        f"and mean steps, which draws ratios towards 1, and as unsolved in the solved share; one whose worker crashed "
        f"or timed out is missing: it is listed, and left out of every number."
    )


def _rates(design: Design) -> str:
    if not design.several:
        return "One learning rate was tried, so nothing was picked."
    what, tried = ("The setting (options and learning rate)", "settings") if design.tunes_options else (
        "The learning rate", "rates"
    )  # fmt: skip
    return (
        f"{what} is picked on half of the seeds and reported on the other half, averaged over the ways to "
        f"halve them (tuned); the average over all {tried}, nothing picked, is given beside it (across)."
    )


def _compared(design: Design, rows: Sequence[Row]) -> str:
    main = [row for row in rows if row.scope.kind == ALL and row.at == "tuned"]
    if not main:
        return "One cell alone: nothing is compared."
    k = max((row.comparisons for row in main), default=0)
    holm = f", corrected by Holm for {k} comparisons" if k > 1 else ""
    m = design.ratio_of_interest
    return (
        f"A ratio is of typical steps (geometric means of steps to solved), paired by seed, averaged over points "
        f"within each seed; its interval and p are Student's t over seeds{holm}. Below 1 the cell needs fewer steps "
        f"than the baseline. Equivalent means within {words.ratio(1 / m)} to {words.ratio(m)} by two one-sided tests; "
        f"no difference shown is not evidence that cells are equal. Steps are not cost: see the ratio in multiply-adds."
    )


def wider_rates(design: Design, rows: Sequence[Row]) -> tuple[float, ...]:
    """Suggest the learning rates to try next, where a verdict holds only within the rates tried; else empty."""
    rates = design.rates
    # rates that a `tune` lists are no key of their own, for which a command could be suggested
    if len(rates) < 2 or any(design.rates_of(label) != tuple(sorted(design.learning_rates)) for label in design.labels):
        return ()
    main = [
        row
        for row in rows
        if row.scope.kind == ALL and row.at == "tuned" and row.ends_matter and row.points and not row.apart
    ]
    ends = {rate for row in main for rate in (*row.ends, *row.ends_baseline)}
    # one step further at each end that was picked, as far as the last step in the range
    lower = _nice(rates[0] * rates[0] / rates[1]) if rates[0] in ends else None
    upper = _nice(rates[-1] * rates[-1] / rates[-2]) if rates[-1] in ends else None
    return tuple(rate for rate in (lower, *rates, upper) if rate is not None) if ends else ()


def _nice(rate: float) -> float:
    """Round to the nearest of 1, 2, 3, 5 times a power of ten."""
    power = math.floor(math.log10(rate))
    near = [float(f"{digit}e{k}") for k in (power, power + 1) for digit in (1, 2, 3, 5)]
    return min(near, key=lambda candidate: abs(math.log(candidate / rate)))
