"""The cost of a run, estimated in seconds before it starts.

A guess from the sizes alone, good to a factor of two or three, cuts and orders the chunks. `--dry-run` measures, and
counts the bytes of weights that are kept.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from cellbench.errors import CellbenchError, CellError
from cellbench.records import CellSpec, Chunk, Pairs, Planned, Settings
from cellbench.task import Task
from cellbench.training.data import hardest

_SPEED = {"lanes": 1.3e10, "stack": 2.3e9, "reference": 2.3e9}
"""Units per second. That of lanes makes the guess right for the replicas of experiments/default.yaml; the others follow
from how the times in benchmarks/README.md grow with the batch."""
_CALL = {"lanes": 0.0, "stack": 1e-5, "reference": 1e-4}
"""Seconds per replica and step of the cell that do not depend on its size: the calls into a library."""
_CALLS_TO_TRAIN = 2.5
"""A step of training, forward and backward, makes the calls of this many steps of evaluation."""
_BACKWARD = 1.5
"""A step of training computes as much as this many steps of evaluation. With these constants, the guesses for the
replicas of the default experiment are off by factors that differ by at most 2.4."""
_STATE = 10
"""Each number of state costs this many multiply-adds in addition to the products: the exponentials of its gates."""
_STEP = 200
"""Each step costs this many multiply-adds more, whatever the cell."""


class Guess:
    """Guesses the seconds of one core per replica, for training, the learning curve and the final evaluation.

    Args:
        task, settings: of the experiment.
    """

    def __init__(self, task: Task, settings: Settings) -> None:
        self._task, self._settings = task, settings
        self._lengths: dict[Pairs, int] = {}
        evaluate, train = settings.evaluate, settings.train
        self._evaluations = len(evaluate.steps(train.max_steps))

    def seconds(self, p: Planned, engine: str) -> float:
        """Guess the seconds of one replica of this cell at this point, trained by `engine`."""
        settings, parameters = self._settings, p.point.parameters
        length = self._length(parameters)
        batch = p.point.batch_size
        if engine != "lanes":
            batch = max(batch, 8)  # a smaller batch does not fill a vector of the processor
        elif batch < 16:
            # replicas share vectors, and each has a power of two of examples there
            batch = max(2, 1 << (batch - 1).bit_length())
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
        for name, at in settings.final.hardest_at(self._task.difficulty).values():
            long = tuple((n, at if n == name else v) for n, v in parameters)
            steps = len(hardest(self._task, dict(long))) * self._length(long)
            rows += settings.final.examples / 8 * steps
            finals += steps
        calls = _CALLS_TO_TRAIN * settings.train.max_steps * length + self._evaluations * length + finals
        units = (p.fit.multiply_adds or 0) + _STATE * (p.fit.state or 0) + _STEP
        return rows * units / _SPEED[engine] + calls * p.cell.layers * _CALL[engine]

    def _length(self, parameters: Pairs) -> int:
        """Return the number of steps per example."""
        if parameters not in self._lengths:
            try:
                self._lengths[parameters] = self._task.length(dict(parameters))
            except MemoryError as error:
                where = ", ".join(f"{name} {value}" for name, value in parameters)
                raise CellbenchError(f"not even one example fits in memory at {where}: {error}") from None
        return self._lengths[parameters]


STEPS = 20
"""Steps that a cell is trained for to time it."""


def step_seconds(chunk: Chunk, fewer: int = 1, more: int = STEPS) -> tuple[float, str]:
    """Time a step of training of a chunk: by the difference of two numbers of steps, which leaves start-up out.

    Returns:
        The seconds, and the last line of what failed; empty if nothing did.
    """
    from cellbench.training.worker import work

    settings = chunk.settings
    short = [
        replace(
            chunk,
            settings=replace(
                settings,
                # a schedule takes no time, and would make an engine anew for each number of steps
                train=replace(settings.train, max_steps=steps, stop_when_solved=False, schedule="constant"),
                final=replace(settings.final, examples=1, values=(), difficulty=False, hardest=False),
            ),
        )
        for steps in (fewer, more)
    ]
    took, failure = [], ""
    for part in (short[0], *short):  # the first time pays for compiling and caches; it is not used
        started = time.perf_counter()
        outcomes = work(part)
        took.append(time.perf_counter() - started)
        failure = next((" ".join(o.traceback.strip().splitlines()[-1:]) for o in outcomes if o.traceback), failure)
    return max(took[2] - took[1], 1e-6) / (more - fewer), failure


def estimate(chunks: Sequence[Chunk]) -> float:
    """Estimate the seconds of one core that chunks take.

    The most expensive chunk of each cell is trained for a few steps. The guessed costs of the cell's other chunks are
    scaled accordingly.
    """
    longest: dict[str, Chunk] = {}
    for chunk in chunks:  # the most expensive first
        longest.setdefault(chunk.cell.label, chunk)
    seconds = 0.0
    for label, chunk in longest.items():
        whole = step_seconds(chunk)[0] * chunk.settings.train.max_steps
        cost = sum(c.cost for c in chunks if c.cell.label == label)
        seconds += whole * cost / chunk.cost
    return seconds


def kept_bytes(chunks: Sequence[Chunk]) -> int:
    """Compute the bytes of the weights that chunks will keep, from the untrained model of each cell and size."""
    from cellbench.model import blueprint_of, task_of
    from cellbench.model.weights import pack, tensors_of

    sizes: dict[tuple[CellSpec, int], int] = {}
    total = 0
    for chunk in chunks:
        if chunk.keep_weights:
            what = (chunk.cell, chunk.hidden_size)
            if what not in sizes:
                try:
                    model = blueprint_of(*what, task_of(chunk.settings.task, chunk.settings.own)).build("size")
                except CellError:
                    sizes[what] = 0  # a cell that cannot be made has none
                else:
                    sizes[what] = len(pack(tensors_of(model)))
            total += sizes[what] * len(chunk.replicas)
    return total
