"""What seeds until decided save, and what they change: on real training, beside 80 fixed seeds.

    python benchmarks/decided.py --train EXPERIMENT [KEY=VALUE ...] --results DIR
    python benchmarks/decided.py DIR/NAME [DIR/NAME ...]
    python benchmarks/decided.py --alike COPY DIR/NAME [--draws 200]

`--train` runs an experiment until it is decided (from 10 to 80 seeds), then adds the seeds that were left out, so that
all cells have 80: with KEY=VALUE as `--set` takes them. DIR/times.json gets the processor and wall time of both runs
(needs psutil, which `pip install 'cellbench[bench]'` brings).

Then a results folder that has 80 seeds of all cells is read twice, as seeds until decided and as 80 fixed seeds: the
looks are replayed from the stored replicas, as every report does it. The first table has what was trained, the second
every verdict.

`--alike` takes two cells that are alike, the baseline and COPY, and makes staged runs of them: 80 seeds drawn with
replacement from the stored ones, the two cells exchanged at random within each, and looked at up to four times. It
counts what they claim, and what looks at 0.05 each would. A copy has another name and so other initial weights:

    cp cellbench/cells/lstm.py lstm_copy.py
    cellbench run EXPERIMENT --set seeds=80 --cell lstm_copy.py:lstm,label=copy --results DIR
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from cellbench.results.results import design_of
from cellbench.results.tuned import together
from cellbench.statistics.intervals import Estimate
from cellbench.statistics.looks import Look, decide
from cellbench.store.frames import Frames, read
from cellbench.summary import Design, Summary, summarise
from cellbench.summary.comparisons import ALL, Scope, measure
from cellbench.summary.plans import Stages
from cellbench.summary.selection import Selection, select
from cellbench.summary.staging import first, stand

FROM, TO = 10, 80
PLAN = Stages(FROM, TO, (TO,))
TIMES = "times.json"


def train(experiment: Path, changes: Sequence[str], results: Path) -> None:
    """Run an experiment until decided, then with all seeds, and note what both took."""
    results.mkdir(parents=True, exist_ok=True)
    took = {}
    for part, seeds in (("decided", f"seeds={{from: {FROM}, to: {TO}}}"), ("rest", f"seeds={TO}")):
        sets = [word for change in (seeds, *changes) for word in ("--set", change)]
        took[part] = clocked(["run", str(experiment), *sets, "--results", str(results), "--no-report"])
    file = results / TIMES
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**known, experiment.stem: took}, indent=1))


def clocked(words: Sequence[str]) -> dict[str, Any]:
    """Run a command of cellbench; return its processor and wall time in seconds, and the machine's load."""
    clock, load = time.monotonic(), os.getloadavg()[0]
    process = psutil.Popen([sys.executable, "-m", "cellbench", *words])
    seconds: dict[int, float] = {}
    while process.poll() is None:
        # workers are no children that are waited for, so their time is read while they live
        with suppress(psutil.Error):
            for one in (process, *process.children(recursive=True)):
                times = one.cpu_times()
                seconds[one.pid] = times.user + times.system
        time.sleep(0.2)
    if process.returncode:
        sys.exit(process.returncode)
    return {
        "processor": sum(seconds.values()),
        "wall": time.monotonic() - clock,
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
    }


def stored(folder: Path) -> tuple[Frames, Design]:
    """Read the replicas of the first 80 seeds, and the design, as if no look had been made before."""
    frames = together(read(folder, curves=False))
    runs, scores = (frame[frame["seed"] < TO] for frame in (frames.runs, frames.evaluations))
    missing = int((runs["status"] == "missing").sum())
    if missing:
        sys.exit(f"{folder}: {missing:,} replicas of the first {TO} seeds are missing; --train trains them")
    design = design_of(frames.experiment, runs, frames.answers)
    return replace(frames, runs=runs, evaluations=scores), replace(design, seeds=tuple(range(TO)), past=(), elsewhere=0)


def twice(folder: Path) -> tuple[Summary, Summary]:
    """Summarise a folder as seeds until decided, and as fixed seeds."""
    frames, design = stored(folder)
    plans = (replace(design, stages=PLAN), replace(design, stages=None))
    decided, fixed = (summarise(frames.runs, frames.evaluations, plan) for plan in plans)
    return decided, fixed


def table(heads: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """Write a Markdown table."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def trained(folder: Path, decided: Summary) -> list[object]:
    """Say what was trained until decided, of what 80 seeds take: replicas, and time where it was noted."""
    assert decided.standing is not None
    design, points = decided.design, len(decided.replicas.points)
    each = {label: points * len(design.tried(label)) for label in design.labels}
    needed, all_ = sum(decided.standing.targets[label] * n for label, n in each.items()), TO * sum(each.values())
    file, times = folder.parent / TIMES, {}
    if file.exists():
        times = json.loads(file.read_text()).get(folder.name, {})
    shares = []
    for what in ("processor", "wall"):
        if times:
            one, rest = (times[part][what] for part in ("decided", "rest"))
            shares.append(f"{one:,.0f} s of {one + rest:,.0f} s, {one / (one + rest):.0%}")
        else:
            shares.append("–")
    cells = f"{len(design.labels)} cells, {points} points, {len(design.learning_rates)} rates"
    return [f"{design.name}: {cells}", f"{needed:,} of {all_:,}, {needed / all_:.0%}", *shares]


def verdicts(decided: Summary, fixed: Summary) -> list[list[object]]:
    """Put each cell's verdict at 80 fixed seeds beside that of the looks."""
    rows = []
    for one, two in zip(decided.verdicts, fixed.verdicts, strict=True):
        read_at = [numbers(summary, one.cell) for summary in (fixed, decided)]
        seeds = f"{read_at[1]['look_seeds']}"
        agree = "yes" if one.verdict == two.verdict else "no"
        rows.append([one.cell, two.verdict, read_at[0]["text"], one.verdict, read_at[1]["text"], seeds, agree])
    return rows


def numbers(summary: Summary, cell: str) -> dict[str, Any]:
    """Write a cell's ratio of steps with its interval, and the seeds that it was read at."""
    frame = summary.comparisons
    rows = frame[(frame["metric"] == "steps") & (frame["scope"] == "all") & (frame["at"] == "tuned")]
    row = rows[rows["cell"] == cell].iloc[0]
    bound = f"{row['bound']} " if row["bound"] else ""
    text = f"{bound}{row['ratio']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]"
    return {"text": text, "look_seeds": int(row["seeds"])}


def alike(folder: Path, copy: str, draws: int) -> list[list[object]]:
    """Make staged runs of two cells that are alike, on seeds drawn again, and count what they claim."""
    frames, design = stored(folder)
    base = design.against
    runs = frames.runs[frames.runs["label"].isin([base, copy])].reset_index(drop=True)
    design = replace(design, labels=(base, copy), stages=PLAN)
    if (
        runs[runs["label"] == base]["steps_to_solved"].tolist()
        == runs[runs["label"] == copy]["steps_to_solved"].tolist()
    ):
        sys.exit(f"{base} and {copy} are the same, number for number: give the copy other initial weights")
    rng = np.random.default_rng(0)
    each = {"until decided": Counter[str](), "at 0.05 at each look": Counter[str]()}
    for _ in range(draws):
        replicas = select(redrawn(runs, (base, copy), rng), frames.evaluations[:0], design)
        (reading,) = stand(replicas, PLAN, [(copy, base)]).readings.values()
        each["until decided"][reading.word] += 1
        each["at 0.05 at each look"][at_every_look(replicas, copy, base)] += 1
    words = [word for word, _ in sum(each.values(), Counter[str]()).most_common()]
    return [["", *words], *([name, *(found[word] for word in words)] for name, found in each.items())]


def redrawn(runs: pd.DataFrame, pair: tuple[str, str], rng: np.random.Generator) -> pd.DataFrame:
    """Draw seeds with replacement, and exchange the two cells at random within each, so that they are alike truly."""
    drawn, exchanged = rng.integers(TO, size=TO), rng.random(TO) < 0.5
    rows = runs.groupby("seed").indices
    found = runs.iloc[np.concatenate([rows[seed] for seed in drawn])].reset_index(drop=True)
    found["seed"] = np.repeat(np.arange(TO), [len(rows[seed]) for seed in drawn])
    other = dict(zip(pair, pair[::-1], strict=True))
    found["label"] = found["label"].map(other).where(exchanged[found["seed"]], found["label"])
    return found


def at_every_look(replicas: Selection, cell: str, base: str) -> str:
    """Give the verdict of who looks as often, each time at 0.05, and stops at the first claim."""
    everywhere = Scope(ALL, {}, tuple(range(len(replicas.points))))

    def estimate(_: str, seeds: int) -> Estimate | None:
        return measure(first(replicas, seeds), cell, base, "tuned", everywhere).pooled

    every = [Look(look.number, look.seeds, 1.0) for look in PLAN.looks]
    found = decide(estimate, [cell], every, math.log(replicas.design.ratio_of_interest))
    return found[cell].word


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folders", nargs="*", help="results folders; after --train, changes of keys")
    arguments.add_argument("--train", type=Path, metavar="EXPERIMENT")
    arguments.add_argument("--results", type=Path, default=Path("results"))
    arguments.add_argument("--alike", metavar="COPY")
    arguments.add_argument("--draws", type=int, default=200)
    given = arguments.parse_args()
    if given.train:
        train(given.train, given.folders, given.results)
        return
    if given.alike:
        heads, *rows = alike(Path(given.folders[0]), given.alike, given.draws)
        print(table(heads, rows))
        return
    found = {Path(folder): twice(Path(folder)) for folder in given.folders}
    heads = ["experiment", "replicas until decided, of 80 seeds", "processor time", "wall time"]
    print(table(heads, [trained(folder, decided) for folder, (decided, _) in found.items()]), end="\n\n")
    for folder, (decided, fixed) in found.items():
        heads = [folder.name, "80 seeds", "ratio of steps", "until decided", "ratio of steps", "seeds", "the same"]
        print(table(heads, verdicts(decided, fixed)), end="\n\n")
        print(decided.heading, end="\n\n")


if __name__ == "__main__":
    main()
