"""The data of a chunk: batches to train on and sets to evaluate on, drawn from named streams.

Training data is named by (task, parameters, batch size, seed, step): the same for every cell and learning rate.
Evaluation sets are named by (task, parameters, seed).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cellbench.records.settings import Pairs, Settings, Value
from cellbench.streams import Stream
from cellbench.task import Parameters, Task
from cellbench.training.recent import Recent

Floats = NDArray[np.float32]

BLOCK_STEPS = 100
"""Steps drawn at once, unless that takes more than `BLOCK_BYTES`."""
BLOCK_BYTES = 64 * 2**20
FINAL_BYTES = 32 * 2**20
"""Of final evaluation sets that are held at once: of as many seeds as this has room for, if the engine can do with so
few."""
KEPT_BYTES = 64 * 2**20
"""Of evaluation sets that are kept for the next chunks: cells and sizes share them."""


class TrainingData:
    """Batches for consecutive steps, drawn in blocks.

    Args:
        task, name: the task and its registered name.
        parameters, batch_size: the point.
        seeds: in the order of the first axis of what is returned.
        max_steps: none is drawn beyond.
    """

    def __init__(
        self, task: Task, name: str, parameters: Pairs, batch_size: int, seeds: Sequence[int], max_steps: int
    ) -> None:
        self._task, self._parameters, self._batch_size, self._seeds = task, dict(parameters), batch_size, tuple(seeds)
        self._names = [("data", name, parameters, batch_size, seed) for seed in seeds]
        self._max_steps = max_steps
        self._first = self._past = 0
        self._inputs = self._targets = np.empty(0, np.float32)
        step_bytes = batch_size * _example_bytes(task, self._parameters) * len(seeds)
        self._block = int(min(BLOCK_STEPS, max(1, BLOCK_BYTES // step_bytes)))

    def up_to(self, start: int, stop: int) -> tuple[int, Floats, Floats]:
        """Batches of the steps from `start` on, at most up to `stop`.

        Returns:
            How many steps n there are, inputs (seeds, n, time, batch, input_size) and targets likewise.
        """
        if not self._first <= start < self._past:
            self._draw(start)
        past = min(stop, self._past)
        rows = slice(start - self._first, past - self._first)
        return past - start, self._inputs[:, rows], self._targets[:, rows]

    def _draw(self, start: int) -> None:
        steps, batch = min(self._block, self._max_steps - start), self._batch_size
        drawn = [
            self._task.batch(Stream(*name, start=start * batch, count=steps * batch), steps * batch, self._parameters)
            for name in self._names
        ]
        self._inputs, self._targets = (
            np.stack([a.reshape(len(a), steps, batch, -1).transpose(1, 0, 2, 3) for a in arrays])
            for arrays in zip(*drawn, strict=True)
        )
        self._first, self._past = start, start + steps


def _example_bytes(task: Task, parameters: Parameters) -> int:
    one, _ = task.batch(Stream("size", count=1), 1, parameters)
    return int(one.shape[0]) * (task.input_size + task.output_size) * 4


_recent = Recent(KEPT_BYTES)


def _evaluation_set(
    task: Task, name: str, purpose: str, parameters: Pairs, seed: int, examples: int, difficulty: int | None
) -> tuple[Floats, Floats]:
    stream = Stream(purpose, name, parameters, seed, difficulty, count=examples)
    if difficulty is None:
        return task.batch(stream, examples, dict(parameters))
    return task.batch_of_difficulty(stream, examples, dict(parameters), difficulty)


def evaluation_sets(task: Task, settings: Settings, parameters: Pairs, seeds: Sequence[int]) -> tuple[Floats, Floats]:
    """The sets of the learning curve: inputs (seeds, time, examples, input_size) and targets likewise."""
    return _stacked(task, settings.task, "evaluation", parameters, seeds, settings.evaluate.examples, None)


def _stacked(
    task: Task, name: str, purpose: str, parameters: Pairs, seeds: Sequence[int], examples: int, difficulty: int | None
) -> tuple[Floats, Floats]:
    asked = [(task, name, purpose, parameters, seed, examples, difficulty) for seed in seeds]
    sets = [_recent.get(which, partial(_evaluation_set, *which)) for which in asked]
    inputs, targets = zip(*sets, strict=True)
    return np.stack(inputs), np.stack(targets)


def final_plan(task: Task, settings: Settings, parameters: Parameters) -> list[tuple[str, Value | None]]:
    """What the trained models are evaluated by: (by, value), the trained parameters first."""
    plan: list[tuple[str, Value | None]] = [("", None)]
    plan += [(name, value) for name, values in settings.final.values for value in values]
    if settings.final.difficulty and task.difficulty is not None:
        plan += [(task.difficulty, value) for value in task.difficulties(parameters)]
    return plan


def _final_set(
    task: Task, settings: Settings, parameters: Pairs, by: str, value: Value | None
) -> tuple[dict[str, Value], int, int | None]:
    """Of one entry of `final_plan`: parameters, examples, difficulty; a difficulty has a quarter of the examples."""
    if by and by == task.difficulty:
        assert isinstance(value, int)
        return dict(parameters), max(1, settings.final.examples // 4), value
    at = {by: value} if by and value is not None else {}
    return {**dict(parameters), **at}, settings.final.examples, None


def final_groups(
    task: Task, settings: Settings, parameters: Pairs, seeds: Sequence[int], least: int
) -> list[Sequence[int]]:
    """The seeds in groups whose final sets, each in turn, take no more than `FINAL_BYTES`; at least so many each."""
    plan = final_plan(task, settings, dict(parameters))
    sets = [_final_set(task, settings, parameters, by, value) for by, value in plan]
    largest = max(examples * _example_bytes(task, at) for at, examples, _ in sets)
    size = max(least, FINAL_BYTES // largest)
    return [seeds[start : start + size] for start in range(0, len(seeds), size)]


def final_sets(
    task: Task, settings: Settings, parameters: Pairs, seeds: Sequence[int], by: str, value: Value | None
) -> tuple[Floats, Floats]:
    """The sets of one entry of `final_plan`."""
    at, examples, difficulty = _final_set(task, settings, parameters, by, value)
    return _stacked(task, settings.task, "final", tuple(at.items()), seeds, examples, difficulty)
