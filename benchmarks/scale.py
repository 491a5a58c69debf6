"""Measure what grows with the number of replicas, cells, seeds and workers, and how fast.

    python benchmarks/scale.py                      # every number of docs/scale.md as Markdown, smallest first
    python benchmarks/scale.py --largest 10000      # without the slowest row

Each row is a process of its own, so that its memory can be measured. Replicas are as small as possible (bits 2 to 11,
batch and hidden size 1 to 10, 5 steps), so that everything but training is measured; the cost of replicas of a usual
size comes at the end.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

AXES = {
    1: (1, 1, 1), 2: (2, 1, 1), 6: (3, 2, 1), 10: (5, 2, 1), 20: (5, 2, 2), 60: (5, 4, 3), 100: (5, 5, 4),
    120: (6, 5, 4), 1000: (10, 10, 10),
}  # fmt: skip
"""From a number of points to the numbers of values of bits, batch size and hidden size."""
SEEDS = (1, 100, 300)
"""Seeds of the replicas of a usual size, by row; the first row compiles their cells, if no cache has them."""
RATES = (0.01, 0.02, 0.03, 0.04, 0.05)


def experiment(replicas: int, cells: int, seeds: int = 10) -> dict[str, Any]:
    """Plan this many replicas: cells, seeds, 5 rates, and as many points as that takes."""
    bits, batches, sizes = AXES[replicas // (cells * seeds * len(RATES))]
    return {
        "name": "scale",
        # options make them different cells: each has its own keys, engine and results
        "cells": [{"name": "lstm", "label": f"c{i}", "options": {"forget_bias": float(i)}} for i in range(cells)],
        "baseline": "c0",
        "engine": "lanes",
        "grid": {
            "bits": list(range(2, 2 + bits)),
            "batch_size": list(range(1, 1 + batches)),
            "hidden_size": list(range(1, 1 + sizes)),
        },
        "seeds": seeds,
        "learning_rate": list(RATES),
        "train": {"max_steps": 5},
        "evaluate": {"every": 5, "examples": 4},
        "final": {"examples": 1, "bits": [], "difficulty": False},
    }


@contextmanager
def timed(into: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        into[name] = into.get(name, 0.0) + time.perf_counter() - started


def memory() -> float:
    """Return the most memory that this process has held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def storing(into: dict[str, float]) -> Iterator[None]:
    """Count the seconds that this process spends on storing outcomes."""
    from cellbench.store import Store

    add = Store.add

    def timed_add(self: Store, *arguments: Any) -> None:
        with timed(into, "store"):
            add(self, *arguments)

    Store.add = timed_add  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        Store.add = add  # type: ignore[method-assign]


def one(replicas: int, cells: int, seeds: int, executor: str, workers: int) -> dict[str, Any]:
    """Train, report, and run again; seconds and memory of each part."""
    from cellbench.experiment import load
    from cellbench.model import blueprint_of
    from cellbench.model.sizes import measured
    from cellbench.planning import Plan, lay_out
    from cellbench.plugins import discover
    from cellbench.running import Event, run

    took: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        loaded = load(experiment(replicas, cells, seeds), discover())
        measured(blueprint_of(loaded.cells[0], 1, loaded.task))  # starts torch, which is not planning
        with timed(took, "plan"):
            planned = lay_out(loaded)
        count = sum(len(p.replicas) for p in planned)
        del planned
        started: list[float] = []

        def see(event: Event) -> None:
            if isinstance(event, Plan):
                started.append(time.perf_counter())

        out = Path(folder) / "out"
        with storing(took):
            run(loaded, out, executor=executor, workers=workers, report=False, on_event=see)  # type: ignore[arg-type]
        took["train"] = time.perf_counter() - started[0]
        trained = memory()
        with timed(took, "report"):
            run(loaded, out)
        with timed(took, "resume"):
            run(loaded, out)
        size = (out / "runs.sqlite").stat().st_size / 2**20
    return {
        "replicas": count, "cells": cells, "seeds": seeds, "executor": executor, "workers": workers, **took,
        "of_training": took["store"] / took["train"], "of_run": took["store"] / (took["train"] + took["report"]),
        "memory": trained, "memory_report": memory(), "size": size,
    }  # fmt: skip


def usual(seeds: int) -> dict[str, Any]:
    """Do the same for replicas of a usual size: 12 per seed, with 2,000 steps and 83 evaluations each."""
    from cellbench.running import run

    took: dict[str, float] = {}
    keys = {
        "name": "usual", "cells": ["rnn", "lstm", "gru"], "engine": "lanes", "seeds": seeds,
        "learning_rate": [0.01, 0.1], "grid": {"bits": 8, "batch_size": 16, "hidden_size": [4, 20]},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        with timed(took, "train"), storing(took):
            run(keys, out, report=False)
        trained = memory()
        with timed(took, "report"):
            found = run(keys, out)
        size = (out / "runs.sqlite").stat().st_size / 2**20
    return {
        "replicas": len(found.runs), **took, "of_run": took["store"] / (took["train"] + took["report"]),
        "memory": trained, "memory_report": memory(), "size": size,
    }  # fmt: skip


Row = tuple[int, int, int, str, int]


def rows(largest: int) -> list[Row]:
    """List (replicas, cells, seeds, executor, workers) of each row."""
    found: list[Row] = [(n, 2, 10, "local", 1) for n in (100, 1000, 10_000)]
    found += [(6000, cells, 10, "local", 1) for cells in (1, 6, 20, 60)]
    found += [(6250, 2, 625, "local", 1), (6000, 2, 10, "local", 2)]
    found += [(6000, 2, 10, "dask", workers) for workers in (1, 2, 4)]
    found += [(100_000, 2, 10, "local", 1)]
    return [row for row in found if row[0] <= largest]


def apart(argument: str) -> Any:
    """Run this script with `--one ARGUMENT` in a process of its own, and return what it printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--one", argument]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    if ended.returncode:
        raise SystemExit(f"{argument}\n{ended.stderr}")
    return json.loads(ended.stdout.splitlines()[-1])


def head(columns: Sequence[str]) -> None:
    """Print the first two lines of a table."""
    print("| " + " | ".join(columns) + " |\n|" + " ---: |" * len(columns), flush=True)


def line(columns: Sequence[str], measured: dict[str, Any]) -> None:
    """Print a row of it."""
    print("| " + " | ".join(shown(name, measured[name]) for name in columns) + " |", flush=True)


COLUMNS = (
    "replicas", "cells", "seeds", "executor", "workers", "plan", "train", "store", "of_training", "of_run", "report",
    "resume", "memory", "memory_report", "size",
)  # fmt: skip
USUAL = ("replicas", "train", "store", "of_run", "report", "memory", "memory_report", "size")
SLOPES = ("plan", "train", "store", "report", "resume", "size")


def shown(name: str, value: Any) -> str:
    """Write one entry of the table."""
    if isinstance(value, float):
        return f"{value:.1%}" if name.startswith("of_") else f"{value:.0f}" if "memory" in name else f"{value:.2f}"
    return str(value)


def slope(found: Sequence[dict[str, Any]], name: str, over: str) -> float:
    """Return the exponent between the first and the last row: 1 is linear."""
    first, last = found[0], found[-1]
    return math.log(last[name] / first[name]) / math.log(last[over] / first[over])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=100_000, help="leave out rows of more replicas")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        asked = json.loads(arguments.one)
        print(json.dumps(usual(asked) if isinstance(asked, int) else one(*asked)))
        return
    if not rows(arguments.largest):
        parser.error(f"--largest {arguments.largest}: the smallest row has {min(rows(10**9))[0]} replicas")
    began = time.perf_counter()
    head(COLUMNS)
    found: dict[Row, dict[str, Any]] = {}
    for row in rows(arguments.largest):
        measured = found[row] = apart(json.dumps(row))
        line(COLUMNS, measured)
    by_replicas = [m for row, m in found.items() if row[1:] == (2, 10, "local", 1)]
    by_cells = [m for row, m in found.items() if (row[0], *row[2:]) == (6000, 10, "local", 1)]
    for over, group in (("replicas", by_replicas[1:]), ("cells", by_cells)):
        if len(group) > 1:
            slopes = ", ".join(f"{name} {slope(group, name, over):.2f}" for name in SLOPES)
            print(f"\nExponents over {over}, {group[0][over]:,} to {group[-1][over]:,} (1 is linear): {slopes}.")
    last = by_replicas[-1]
    count = last["replicas"]
    each = ", ".join(f"{name} {1e6 * last[name] / count:.0f}" for name in SLOPES[:-1])
    print(f"\nEach of {count:,}, in us: {each}; in KiB of the file: {1024 * last['size'] / count:.2f}.")
    if len(by_replicas) > 3:
        # with an empty cache, both compile cells that no row before them did, which takes memory of its own
        more, by = (last[name] - by_replicas[2][name] for name in ("memory_report", "replicas"))
        print(f"Memory with the report: {1024 * more / by:.2f} KiB more for each.")
    print("\nOf a usual size:\n")
    head(USUAL)
    sizes = []
    for seeds in SEEDS:
        sizes.append(apart(json.dumps(seeds)))
        line(USUAL, sizes[-1])
    first, last = sizes[-2:]
    count = last["replicas"]
    each = ", ".join(f"{name} {1e6 * last[name] / count:,.0f}" for name in ("train", "store", "report"))
    more = 1024 * (last["memory_report"] - first["memory_report"]) / (count - first["replicas"])
    size = 1024 * last["size"] / count
    print(f"\nEach of {count:,}, in us: {each}; in KiB: {size:.1f} of the file, {more:.0f} of memory with the report.")
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"\n{time.perf_counter() - began:.0f} s in all; {os.cpu_count()} cores, load at the end {load}.")


if __name__ == "__main__":
    main()
