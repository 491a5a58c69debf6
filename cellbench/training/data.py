"""The data of a chunk: batches to train on and sets to evaluate on, drawn from named streams.

Training data is named by (task, parameters, batch size, seed, step): the same for every cell and learning rate.
Evaluation sets are named by (task, parameters, seed).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import partial

import numpy as np

from cellbench.records import Pairs, Settings, Value
from cellbench.streams import Stream
from cellbench.task import Floats, Parameters, Task

Arrays = tuple[Floats, ...]

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
    return task.length(parameters) * (task.input_size + task.output_size) * 4


_OF_EACH = 1024
"""Bytes that an entry takes beside its numbers, roughly."""


class Recent:
    """A cache that forgets what was longest not asked for. `functools.lru_cache` counts entries, whatever their size.

    Args:
        most: bytes to hold.
    """

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self._entries: OrderedDict[Hashable, Arrays] = OrderedDict()
        """The one asked for last comes last."""
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Arrays]) -> Arrays:
        """The arrays of this key: kept ones, or new ones, which are then kept if there is room for them at all."""
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
                return found
        made = make()
        with self._lock:
            if key not in self._entries and _size(made) <= self._most:
                self._entries[key] = made
                self._held += _size(made)
            while self._held > self._most:
                self._held -= _size(self._entries.popitem(last=False)[1])
        return made


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays) + _OF_EACH


_recent = Recent(KEPT_BYTES)
Final = tuple[str, Value | None]
"""What a final evaluation is by: empty at the trained parameters, else a parameter or the difficulty; and its value."""


class EvaluationData:
    """The sets that the models of a point are evaluated on.

    Args:
        task, settings: of the experiment.
        parameters: the point's.

    Attributes:
        plan: every final evaluation, the trained parameters first.
    """

    def __init__(self, task: Task, settings: Settings, parameters: Pairs) -> None:
        self._task, self._settings, self._parameters = task, settings, parameters
        final = settings.final
        self.plan: list[Final] = [("", None)]
        self.plan += [(name, value) for name, values in final.values for value in values]
        if final.difficulty and task.difficulty is not None:
            self.plan += [(task.difficulty, value) for value in task.difficulties(dict(parameters))]

    def curve(self, seeds: Sequence[int]) -> tuple[Floats, Floats]:
        """Draw the sets of the learning curve: inputs (seeds, time, examples, input_size) and targets likewise."""
        return self._stacked("evaluation", self._parameters, seeds, self._settings.evaluate.examples, None)

    def final(self, seeds: Sequence[int], by: str, value: Value | None) -> tuple[Floats, Floats]:
        """Draw the sets of one entry of `plan`, shaped like those of `curve`."""
        at, examples, difficulty = self._final(by, value)
        return self._stacked("final", tuple(at.items()), seeds, examples, difficulty)

    def groups(self, seeds: Sequence[int], least: int) -> list[Sequence[int]]:
        """Divide the seeds into groups whose final sets, each in turn, take no more than `FINAL_BYTES`.

        Args:
            seeds: all of them.
            least: how many a group holds at least.
        """
        sets = [self._final(by, value) for by, value in self.plan]
        largest = max(examples * _example_bytes(self._task, at) for at, examples, _ in sets)
        size = max(least, FINAL_BYTES // largest)
        return [seeds[start : start + size] for start in range(0, len(seeds), size)]

    def _final(self, by: str, value: Value | None) -> tuple[dict[str, Value], int, int | None]:
        """Parameters, examples and difficulty of one entry of `plan`; a difficulty has a quarter of the examples."""
        examples = self._settings.final.examples
        if by and by == self._task.difficulty:
            assert isinstance(value, int)
            return dict(self._parameters), max(1, examples // 4), value
        at = {by: value} if by and value is not None else {}
        return {**dict(self._parameters), **at}, examples, None

    def _stacked(
        self, purpose: str, parameters: Pairs, seeds: Sequence[int], examples: int, difficulty: int | None
    ) -> tuple[Floats, Floats]:
        task, name = self._task, self._settings.task
        asked = [(task, name, purpose, parameters, seed, examples, difficulty) for seed in seeds]
        sets = [_recent.get(which, partial(_evaluation_set, *which)) for which in asked]
        inputs, targets = zip(*sets, strict=True)
        return np.stack(inputs), np.stack(targets)


def _evaluation_set(
    task: Task, name: str, purpose: str, parameters: Pairs, seed: int, examples: int, difficulty: int | None
) -> tuple[Floats, Floats]:
    stream = Stream(purpose, name, parameters, seed, difficulty, count=examples)
    if difficulty is None:
        return task.batch(stream, examples, dict(parameters))
    return task.batch_of_difficulty(stream, examples, dict(parameters), difficulty)
