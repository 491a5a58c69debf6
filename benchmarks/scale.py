"""What grows with the number of replicas, cells and workers, and how fast.

    python benchmarks/scale.py                      # every row of docs/scale.md, smallest first
    python benchmarks/scale.py --largest 10000      # without the rows that take long
    python benchmarks/scale.py --real               # what replicas of 2,000 steps cost beside these

Each row is a process of its own, so that its memory is its own. Replicas are as small as can be (bits 2 to 5, hidden
size 1 and 2, 5 steps), so that what is measured is everything but training.
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
"""Points to how many values of bits, batch size and hidden size."""
SEEDS, RATES = 10, (0.01, 0.02, 0.03, 0.04, 0.05)


def experiment(replicas: int, cells: int) -> dict[str, Any]:
    """So many replicas: `cells` cells, 10 seeds, 5 rates, as many points as that takes."""
    bits, batches, sizes = AXES[replicas // (cells * SEEDS * len(RATES))]
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
        "seeds": SEEDS,
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
    """The most that this process has held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one(replicas: int, cells: int, workers: int, executor: str) -> dict[str, Any]:
    """Run, and run again; seconds and memory of each part."""
    from cellbench import grid, runner, store
    from cellbench.experiment import load
    from cellbench.planning import sizer
    from cellbench.plugins import discover

    took: dict[str, float] = {}
    add = store.Store.add

    def timed_add(self: store.Store, *arguments: Any) -> None:
        with timed(took, "store"):
            add(self, *arguments)

    store.Store.add = timed_add  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        with timed(took, "load"):
            loaded = load(experiment(replicas, cells), discover())
        sizer(loaded)(loaded.cells[0], "hidden", 1)  # imports torch, which is no planning
        with timed(took, "plan"):
            planned = grid.plan(loaded, sizer(loaded))
        count = sum(len(p.replicas) for p in planned)
        del planned
        started: list[float] = []

        def see(event: runner.Event) -> None:
            if isinstance(event, runner.Plan):
                started.append(time.perf_counter())

        out = Path(folder) / "out"
        with timed(took, "run"):
            runner.run(loaded, out, executor=executor, workers=workers, report=False, on_event=see)  # type: ignore[arg-type]
        took["train"] = time.perf_counter() - started[0]
        trained = memory()
        with timed(took, "resume"):
            runner.run(loaded, out, workers=1, report=False)
        with timed(took, "report"):
            from cellbench import results

            results.gather(out)
        size = (out / "runs.sqlite").stat().st_size / 2**20
    return {
        "replicas": count, "cells": cells, "workers": workers, "executor": executor, **took, "memory": trained,
        "memory_report": memory(), "size": size,
    }  # fmt: skip


def real() -> None:
    """What replicas of a usual size cost, and the store's part in it."""
    from cellbench import runner, store

    took: dict[str, float] = {}
    add = store.Store.add

    def timed_add(self: store.Store, *arguments: Any) -> None:
        with timed(took, "store"):
            add(self, *arguments)

    store.Store.add = timed_add  # type: ignore[method-assign]
    keys = {
        "name": "real", "cells": ["rnn", "lstm", "gru"], "engine": "lanes", "seeds": 10, "learning_rate": [0.01, 0.1],
        "grid": {"bits": 8, "batch_size": 16, "hidden_size": [4, 20]},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, timed(took, "run"):
        done = runner.run(keys, Path(folder) / "out", report=False)
        count = len(done.runs)
    print(f"{count} replicas of 2,000 steps in {took['run']:.1f} s: {1000 * took['run'] / count:.0f} ms each; "
          f"store {took['store'] / took['run']:.2%}")  # fmt: skip


def rows(largest: int) -> list[tuple[int, int, int, str]]:
    """(replicas, cells, workers, executor) of each row."""
    found = [(n, 2, 1, "local") for n in (100, 1000, 10_000) if n <= largest]
    found += [(6000, cells, 1, "local") for cells in (1, 6, 20, 60)]
    found += [(6000, 2, 2, "local"), *((6000, 2, workers, "dask") for workers in (1, 2, 4))]
    found += [(n, 2, 1, "local") for n in (100_000,) if n <= largest]
    return found


COLUMNS = ("replicas", "cells", "executor", "workers", "plan", "train", "store", "resume", "report", "memory",
           "memory_report", "size")  # fmt: skip


def slope(found: Sequence[dict[str, Any]], name: str, over: str) -> float:
    """The exponent between the first and the last row: 1 is linear."""
    first, last = found[0], found[-1]
    return math.log(last[name] / first[name]) / math.log(last[over] / first[over])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=100_000, help="leave out rows of more replicas")
    parser.add_argument("--real", action="store_true", help="instead: what replicas of a usual size cost")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.real:
        real()
        return
    if arguments.one:
        print(json.dumps(one(*json.loads(arguments.one))))
        return
    print("| " + " | ".join(COLUMNS) + " |\n|" + " ---: |" * len(COLUMNS), flush=True)
    found = []
    for row in rows(arguments.largest):
        command = [sys.executable, __file__, "--one", json.dumps(row)]
        ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        if ended.returncode:
            raise SystemExit(f"{row}\n{ended.stderr}")
        measured = json.loads(ended.stdout.splitlines()[-1])
        found.append((row, measured))
        cells = [f"{measured[c]:.2f}" if isinstance(measured[c], float) else f"{measured[c]}" for c in COLUMNS]
        print("| " + " | ".join(cells) + " |", flush=True)
    by_replicas = [m for (_, cells, workers, kind), m in found if (cells, workers, kind) == (2, 1, "local")]
    by_cells = [m for (n, _, _, kind), m in found if n == 6000 and kind == "local" and m["workers"] == 1]
    for said, rows_, over in (("replicas", by_replicas[1:], "replicas"), ("cells", by_cells, "cells")):
        slopes = ", ".join(f"{name} {slope(rows_, name, over):.2f}" for name in COLUMNS[4:])
        print(f"\nslopes (exponents) over {said}, {rows_[0][over]:,} to {rows_[-1][over]:,}: {slopes}")
    first, last = by_replicas[0], by_replicas[-1]
    count, kib = last["replicas"], 1024 * (last["memory"] - first["memory"])
    store = f"store {last['store'] / last['run']:.1%} of the run, {1e6 * last['store'] / count:.0f} us"
    print(
        f"\nat {count:,}: {store}, {1024 * last['size'] / count:.2f} KiB of file, {kib / count:.2f} KiB of memory each"
    )


if __name__ == "__main__":
    main()
