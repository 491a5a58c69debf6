"""Time the start of a run with an empty cache of compiled cells, by this tree and by another one in turns.

    python benchmarks/start.py ../old                        # default.yaml, three rounds
    python benchmarks/start.py ../old my.yaml --rounds 1

Per tree it prints the seconds to the first stored replica of `cellbench run`, and the wall and processor time of
`cellbench build`: medians of the rounds, and their ratios. The other tree is a worktree of another commit. Wall time
depends on what else the machine does, so the load is printed too.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

HERE = Path(__file__).parents[1]


def environment(tree: Path, cache: Path) -> dict[str, str]:
    """Return the environment of a process that imports this tree and has this cache; it may keep byte code."""
    mine = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**mine, "PYTHONPATH": str(tree), "XDG_CACHE_HOME": str(cache)}


def stored(folder: Path) -> bool:
    """Tell whether a results folder holds a replica."""
    for path in folder.glob("*/runs.sqlite"):
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
                return bool(db.execute("SELECT count(*) FROM replica").fetchone()[0])
        except sqlite3.OperationalError:  # it is being made
            return False
    return False


def first_replica(tree: Path, experiment: Path) -> float:
    """Run from an empty cache until a replica is stored; returns the seconds."""
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "cellbench", "run", str(experiment), "--no-report", "--quiet"]
        begun = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--results", f"{place}/out"], cwd=tree, env=environment(tree, Path(place, "cache"))
        )
        while process.poll() is None and not stored(Path(place, "out")):
            time.sleep(0.05)
        seconds = time.perf_counter() - begun
        process.send_signal(signal.SIGINT)
        process.wait()
    return seconds


def build(tree: Path, experiment: Path) -> tuple[float, float]:
    """Build from an empty cache; returns the seconds, and those of all processors."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-m", "cellbench", "build", str(experiment)]
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, cwd=tree, env=environment(tree, Path(cache)), stdout=subprocess.DEVNULL, check=False)
        seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Time both trees in turns, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="the other tree")
    parser.add_argument("experiment", type=Path, nargs="?", help="default: each tree's own default.yaml")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    given = asked.experiment and asked.experiment.resolve()
    found: dict[Path, list[tuple[float, float, float]]] = {asked.old.resolve(): [], HERE: []}
    name = given.name if given else "default.yaml"
    print(f"{name}, {os.cpu_count()} processors, rounds {asked.rounds}, load {os.getloadavg()[0]:.1f}", flush=True)
    for _ in range(asked.rounds):
        for tree, rows in found.items():
            experiment = given or tree / "experiments" / "default.yaml"
            rows.append((first_replica(tree, experiment), *build(tree, experiment)))
    medians = [[statistics.median(column) for column in zip(*rows, strict=True)] for rows in found.values()]
    for number, what in enumerate(("first replica, wall s", "build, wall s", "build, processor s")):
        old, new = medians[0][number], medians[1][number]
        print(f"{what:24} {old:8.1f} then {new:8.1f} now {new / old:6.2f} of then")
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
