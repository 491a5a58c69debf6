"""Measure where the time of an experiment goes, on one core and with cells compiled before: a Markdown table.

    python benchmarks/shares.py experiments/default.yaml seeds=2

Every chunk is trained in this process, with the engine that the experiment chooses (only lanes is measured). The
columns are seconds of processor time: training steps, evaluations of learning curves, final evaluations, drawing
training data, drawing the other sets, and all the rest.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from cellbench.engines.lanes.program import Program
from cellbench.experiment import load
from cellbench.planning import prepare
from cellbench.plugins import discover
from cellbench.records import Outcome
from cellbench.training import data, loop
from cellbench.training import worker as work

PARTS = ("training", "evaluation", "final evaluation", "drawing training data", "drawing other sets", "rest")


class Clock:
    """Processor time by part; the time of a part within another part is not counted there too."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inner = [0.0]

    def count(self, place: Any, name: str, part: str | Callable[[], str]) -> None:
        """Count a function's time from now on."""
        function = getattr(place, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            begun = time.process_time()
            self._inner.append(0.0)
            try:
                return function(*arguments, **named)
            finally:
                took = time.process_time() - begun
                self.seconds[part if isinstance(part, str) else part()] += took - self._inner.pop()
                self._inner[-1] += took

        setattr(place, name, counted)


def main() -> None:
    torch.set_num_threads(1)
    experiment = load(Path(sys.argv[1]), discover(), overrides=sys.argv[2:])
    chunks = prepare(experiment, Path(tempfile.gettempdir()) / "cellbench-none").todo
    for chunk in chunks:  # programs are loaded, first calls made
        work.ready(chunk)
    clock = Clock()
    ending: list[bool] = []
    finish = loop.finish

    def finishing(*arguments: Any) -> Iterator[Outcome]:
        ending.append(True)
        try:
            yield from finish(*arguments)
        finally:
            ending.pop()

    loop.finish = finishing
    clock.count(Program, "train", "training")
    clock.count(Program, "evaluate", lambda: "final evaluation" if ending else "evaluation")
    clock.count(data.TrainingData, "up_to", "drawing training data")
    for name in ("curve", "final"):
        clock.count(data.EvaluationData, name, "drawing other sets")
    clock.count(work, "work", "rest")
    print("| cell | hidden size | " + " | ".join(PARTS) + " |")
    print("| --- | ---: |" + " ---: |" * len(PARTS))
    total: Counter[str] = Counter()
    rows: dict[tuple[str, int], Counter[str]] = {}
    for chunk in chunks:
        clock.seconds.clear()
        work.work(chunk)
        rows.setdefault((chunk.cell.label, chunk.hidden_size), Counter()).update(clock.seconds)
        total.update(clock.seconds)
    for (label, hidden), row in sorted(rows.items()):
        print(f"| {label} | {hidden} | " + " | ".join(f"{row[part]:.2f}" for part in PARTS) + " |")
    print("| all | | " + " | ".join(f"{total[part]:.2f}" for part in PARTS) + " |")
    print("| of training | | " + " | ".join(f"{total[part] / total['training']:.0%}" for part in PARTS) + " |")


if __name__ == "__main__":
    main()
