"""Time a report.

    python benchmarks/report.py                    # 50 cells x 8 points x 10 seeds x 5 learning rates, invented
    python benchmarks/report.py --folder DIR       # a results folder: everything after training

Without a folder there is no training and no store: the frames that a store would give are invented, 20,000 replicas
with curves, each evaluated at the trained length, at four other lengths and at four difficulties. It prints the seconds
for each part, and whether the same frames gave the same bytes twice. With a folder it reads that, and writes every file
into a temporary folder.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))
from cellbench.environment import usable_cores
from cellbench.report import csv, screen, tables
from cellbench.report.report import Report, draw, tables_of
from cellbench.report.report import publish as write
from cellbench.results.results import laid_out
from cellbench.store.frames import read
from cellbench.summary import Design, Summary, summarise
from tests.helpers.reports import curves, experiment

LIMIT = 15.0
"""Seconds that the summary may take."""

KEYS = [("", math.nan), *(("length", v) for v in (8, 16, 64, 256)), *(("chain", v) for v in (2, 4, 8, 16))]


def schedule(every: int, growth: float, last: int) -> tuple[int, ...]:
    """List the evaluation steps: each gap grows with the steps so far."""
    steps = [every]
    while steps[-1] < last:
        steps.append(steps[-1] + every * max(1, round(steps[-1] * growth / every)))
    return (*(t for t in steps if t < last), last)


def design(cells: int, seeds: int) -> Design:
    """Return the plan of the invented experiment."""
    return Design(
        name="large",
        task="invented_task",
        labels=tuple(f"cell{i:02d}" for i in range(cells)),
        baseline=None,
        axes=("length", "batch_size", "size"),
        seeds=tuple(range(seeds)),
        learning_rates=(0.003, 0.01, 0.03, 0.1, 0.3),
        max_steps=2000,
        evaluation_steps=schedule(5, 0.05, 2000),
        metric="sequence_accuracy",
        threshold=0.99,
        hold=2,
        stop_when_solved=False,
        final_examples=1000,
    )


def frames(plan: Design, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Invent runs and evaluations: log-normal steps, cells with different speeds and best rates, some never solving."""
    rng = np.random.default_rng(seed)
    grid = pd.MultiIndex.from_product(
        [plan.labels, (8, 32), (4, 16), ("hidden 4", "hidden 20"), plan.rates, plan.seeds],
        names=["label", *plan.axes, "learning_rate", "seed"],
    )
    runs = grid.to_frame(index=False)
    cell = pd.Categorical(runs["label"], categories=plan.labels).codes.astype(np.int64)
    speed, best = rng.normal(6.0, 0.3, len(plan.labels))[cell], rng.uniform(-4.6, -2.3, len(plan.labels))[cell]
    log_steps = speed + 0.4 * np.abs(np.log(runs["learning_rate"]) - best) + rng.normal(0, 0.25, len(runs))
    at = np.array(plan.evaluation_steps)
    place = np.searchsorted(at, np.exp(log_steps))
    solved = (place < len(at) - plan.hold + 1) & (rng.random(len(runs)) > 0.03)
    runs["steps_to_solved"] = np.where(solved, at[np.minimum(place, len(at) - 1)], math.nan)
    runs["status"] = np.where(solved, "solved", np.where(rng.random(len(runs)) < 0.3, "diverged", "censored"))
    runs["cause"] = ""
    runs["final_sequence_accuracy"] = np.where(solved, 1.0, rng.random(len(runs)).round(3))
    runs["diverged_at"] = np.where(runs["status"] == "diverged", 500.0, math.nan)
    runs["cell"], runs["hidden_size"], runs["parameters"], runs["state"] = runs["label"], 20, 2000, 40
    runs["multiply_adds"] = 1000 + 10 * cell
    names = ["label", *plan.axes, "learning_rate", "seed"]
    evaluations = pd.concat([runs[names].assign(by=by, value=value) for by, value in KEYS], ignore_index=True)
    hits = np.where(np.tile(solved, len(KEYS)), 1 - rng.exponential(0.02, len(evaluations)), 0.3)
    evaluations["sequence_accuracy"] = np.clip(hits, 0, 1).round(3)
    evaluations["bit_accuracy"] = (1 + evaluations["sequence_accuracy"]) / 2
    return runs, evaluations


def digest(summary: Summary) -> str:
    """Hash everything that is written."""
    texts = [summary.cells.to_csv(), summary.comparisons.to_csv(), summary.accuracy.to_csv()]
    texts += [tables.markdown(summary, summary.design), screen.terminal(summary, summary.design, 100)]
    return hashlib.sha256("".join(texts).encode()).hexdigest()


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Print the seconds of the clock and of the processor."""
    started, busy = time.perf_counter(), time.process_time()
    yield
    clock, processor = time.perf_counter() - started, time.process_time() - busy
    print(f"{name:<9}{clock:6.2f} s ({processor:.2f} s of the processor)")


def publish(report: Report, folder: Path) -> None:
    """Write everything, and print how long it took: other processes draw while this one writes tables."""
    with timed("files"):
        write(lambda: report, folder, processes=usable_cores())


def parts(report: Report, folder: Path) -> None:
    """Time the parts one after the other, and print how large the files are."""
    with timed("tables"):
        tables_of(report, folder)
    with timed("page, png"), draw(lambda: report, folder, usable_cores()):
        pass
    pictures = sum(path.stat().st_size for path in (folder / "charts").iterdir())
    size = (folder / "report.html").stat().st_size
    print(f"report.html {size / 2**20:.2f} MiB; charts {pictures / 2**20:.1f} MiB")


def of_folder(source: Path) -> None:
    """Time everything after training; then each part of writing the files by itself."""
    with tempfile.TemporaryDirectory() as folder:
        with timed("in all"):
            with timed("read"):
                stored = read(source)
            with timed("summary"):
                report = laid_out(stored)
            publish(report, Path(folder))
        parts(report, Path(folder))


def drawn(plan: Design, runs: pd.DataFrame, summary: Summary) -> None:
    """Write the files of the invented experiment, with invented curves."""
    table = runs.assign(final_step=plan.max_steps, seconds=0.1, traceback="")
    for name in csv.columns(csv.RUNS, plan.axes[:-2]):
        if name not in table.columns:
            table[name] = ""
    with tempfile.TemporaryDirectory() as folder:
        report = Report(table, curves(plan, table), plan, summary, experiment(plan), 0)
        publish(report, Path(folder))
        parts(report, Path(folder))


def main() -> None:
    """Print the seconds of each part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="a results folder instead")
    arguments = parser.parse_args()
    if arguments.folder is not None:
        of_folder(arguments.folder)
        return
    plan = design(arguments.cells, arguments.seeds)
    runs, evaluations = frames(plan)
    started, busy = time.perf_counter(), time.process_time()
    summary = summarise(runs, evaluations, plan)
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    print(f"{len(runs):,} replicas, {len(evaluations):,} evaluations")
    rows = " + ".join(f"{len(frame):,}" for frame in (summary.cells, summary.comparisons, summary.accuracy))
    print(f"summary  {seconds:6.2f} s (limit {LIMIT:.0f} s; {busy:.2f} s of the processor): {rows} rows")
    for name, lay_out in (("markdown", tables.markdown), ("terminal", screen.terminal)):
        started = time.perf_counter()
        text = lay_out(summary, plan)
        print(f"{name} {time.perf_counter() - started:6.2f} s: {len(text):,} characters")
    started = time.perf_counter()
    for frame in ("solved_over_steps", "performance_profile", "tuning_curve", "rate_profile"):
        getattr(summary, frame)
    print(f"charts   {time.perf_counter() - started:6.2f} s")
    drawn(plan, runs, summary)
    same = digest(summary) == digest(summarise(runs, evaluations, plan))
    print(f"the same bytes twice: {'yes' if same else 'NO'}")


if __name__ == "__main__":
    main()
