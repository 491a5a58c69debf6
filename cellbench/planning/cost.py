"""Seconds before a run: guessed, to cut chunks and to order them, or measured, for `--dry-run`.

The guess is good to a factor of two or three.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from cellbench.errors import CellbenchError
from cellbench.records import Chunk, Pairs, Planned, Settings
from cellbench.task import Task

_SPEED = {"lanes": 1.3e10, "stack": 2.3e9, "reference": 2.3e9}
"""Units a second: lanes such that the replicas of experiments/default.yaml take what is guessed; the others from how
what benchmarks/README.md measured grows with the batch."""
_CALL = {"lanes": 0.0, "stack": 1e-5, "reference": 1e-4}
"""Seconds that a step of the cell costs beside, a replica, however little it computes: a library's calls."""
_CALLS_TO_TRAIN = 2.5
"""Forward and backward, in such steps."""
_BACKWARD = 1.5
"""Training a step costs this many steps of evaluation. By these the replicas of the default are guessed alike, to
a factor of 2.4 between the most under- and the most overrated."""
_STATE = 10
"""A number of state costs this many multiply-adds beside the products: its gates' exponentials."""
_STEP = 200
"""And each step this many, whatever the cell."""


class Guess:
    """Seconds of one core that a replica may take: training, the learning curve, and the final evaluation.

    Args:
        task, settings: of the experiment.
    """

    def __init__(self, task: Task, settings: Settings) -> None:
        self._task, self._settings = task, settings
        self._lengths: dict[Pairs, int] = {}
        evaluate, train = settings.evaluate, settings.train
        self._evaluations = len(evaluate.steps(train.max_steps))

    def seconds(self, p: Planned, engine: str) -> float:
        """Of one replica of this cell at this point."""
        settings, parameters = self._settings, p.point.parameters
        length = self._length(parameters)
        batch = max(p.point.batch_size, 8)  # a short batch fills no vector
        rows = _BACKWARD * settings.train.max_steps * batch * length
        rows += self._evaluations * settings.evaluate.examples * length
        finals = length
        for name, values in settings.final.values:
            for value in values:
                finals += self._length(tuple((n, value if n == name else v) for n, v in parameters))
        rows += settings.final.examples * finals
        if settings.final.difficulty:
            difficulties = len(self._task.difficulties(dict(parameters)))
            rows += difficulties * settings.final.examples / 4 * length
            finals += difficulties * length
        calls = _CALLS_TO_TRAIN * settings.train.max_steps * length + self._evaluations * length + finals
        units = (p.fit.multiply_adds or 0) + _STATE * (p.fit.state or 0) + _STEP
        return rows * units / _SPEED[engine] + calls * _CALL[engine]

    def _length(self, parameters: Pairs) -> int:
        """Steps of an example."""
        if parameters not in self._lengths:
            try:
                self._lengths[parameters] = self._task.length(dict(parameters))
            except MemoryError as error:
                where = ", ".join(f"{name} {value}" for name, value in parameters)
                raise CellbenchError(f"memory holds not even one example at {where}: {error}") from None
        return self._lengths[parameters]


STEPS = 20


def estimate(chunks: Sequence[Chunk]) -> float:
    """Estimate the seconds of one core that chunks may take.

    The dearest chunk of each cell is trained for a few steps, twice to leave start-up out; the guessed costs of the
    others are scaled by what it took.
    """
    from cellbench.training.worker import work

    dearest: dict[str, Chunk] = {}
    for chunk in chunks:  # the dearest first
        dearest.setdefault(chunk.cell.label, chunk)
    seconds = 0.0
    for label, chunk in dearest.items():
        settings = chunk.settings
        short = [
            replace(
                chunk,
                settings=replace(
                    settings,
                    train=replace(settings.train, max_steps=steps, stop_when_solved=False),
                    final=replace(settings.final, examples=1, values=(), difficulty=False),
                ),
            )
            for steps in (1, STEPS)
        ]
        took = []
        for part in (short[0], *short):
            started = time.perf_counter()
            work(part)
            took.append(time.perf_counter() - started)
        a_step = max(took[2] - took[1], 1e-6) / (STEPS - 1)
        whole = a_step * settings.train.max_steps
        cost = sum(c.cost for c in chunks if c.cell.label == label)
        seconds += whole * cost / chunk.cost
    return seconds
