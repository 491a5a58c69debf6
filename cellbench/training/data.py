"""The data of a chunk: batches for training and sets for evaluation, drawn from named streams.

Training data is named by (task, parameters, batch size, seed, step): the same for every cell and learning rate.
Evaluation sets are named by (task, parameters, seed).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cellbench.errors import CellbenchError
from cellbench.records import Pairs, Point, Settings, Value
from cellbench.streams import Stream
from cellbench.task import Floats, Parameters, Task

Arrays = tuple[Floats, ...]

BLOCK_STEPS = 100
"""Steps drawn at once, unless they take more than `BLOCK_BYTES`."""
BLOCK_BYTES = 64 * 2**20
FINAL_BYTES = 32 * 2**20
"""Bytes of final evaluation sets held at once. Seeds are evaluated in groups that fit, unless the engine needs larger
ones."""
KEPT_BYTES = 64 * 2**20
"""Bytes of evaluation sets kept for later chunks: cells and sizes share them."""


class TrainingData:
    """Batches for consecutive steps, drawn in blocks.

    Args:
        task: the task itself.
        settings: the task's name, and the last step.
        point: grid parameters and batch size.
        seeds: one per index of the first axis of inputs and targets.
    """

    def __init__(self, task: Task, settings: Settings, point: Point, seeds: Sequence[int]) -> None:
        self._task, self._parameters, self._batch_size = task, dict(point.parameters), point.batch_size
        self._names = [("data", settings.task, point.parameters, point.batch_size, seed) for seed in seeds]
        self._max_steps = settings.train.max_steps
        # the block in hand: the steps from `_first` up to `_past`, without it
        self._first = self._past = 0
        self._inputs = self._targets = np.empty(0, np.float32)
        step_bytes = point.batch_size * _example_bytes(task, self._parameters) * len(seeds)
        self._block = int(min(BLOCK_STEPS, max(1, BLOCK_BYTES // step_bytes)))

    def up_to(self, start: int, stop: int) -> tuple[int, Floats, Floats]:
        """Return the batches of the steps from `start` on, up to `stop` or to the end of the block, if that is nearer.

        Returns:
            The number n of steps, inputs (seeds, n, time, batch, input_size) and targets likewise.
        """
        if not self._first <= start < self._past:
            self._draw(start)
        past = min(stop, self._past)
        rows = slice(start - self._first, past - self._first)
        return past - start, self._inputs[:, rows], self._targets[:, rows]

    def _draw(self, start: int) -> None:
        """Draw the block that begins with the step `start`."""
        steps, batch = min(self._block, self._max_steps - start), self._batch_size
        drawn = [
            self._task.batch(Stream(*name, start=start * batch, count=steps * batch), steps * batch, self._parameters)
            for name in self._names
        ]
        # a task gives (time, steps * batch, features), with the examples of a step side by side
        self._inputs, self._targets = (
            np.stack([a.reshape(len(a), steps, batch, -1).transpose(1, 0, 2, 3) for a in arrays])
            for arrays in zip(*drawn, strict=True)
        )
        self._first, self._past = start, start + steps


def _example_bytes(task: Task, parameters: Parameters) -> int:
    """Compute the bytes of one example, inputs and targets together."""
    return task.length(parameters) * (task.input_size + task.output_size) * 4


def longest(task: Task, settings: Settings, points: Iterable[Pairs]) -> int:
    """Find the time steps of the longest sequence that is trained or evaluated at any of these parameters.

    Raises:
        CellbenchError: not even one example of it fits in memory.
    """
    steps = 1
    for parameters in dict.fromkeys(points):
        at = dict(parameters)
        others = [{**at, name: value} for name, values in settings.final.values for value in values]
        for each in (at, *others):
            try:
                steps = max(steps, task.length(each))
            except MemoryError as error:
                where = ", ".join(f"{name} {value}" for name, value in each.items())
                raise CellbenchError(f"not even one example fits in memory at {where}: {error}") from None
    return steps


_OVERHEAD = 1024
"""Bytes that an entry takes beside its numbers, roughly."""


class Recent:
    """A cache that drops the entries that were not used for longest. `functools.lru_cache` limits their number alone.

    Args:
        most: bytes to hold.

    Attributes:
        held: bytes of what it holds.
    """

    def __init__(self, most: int) -> None:
        self._most, self.held = most, 0
        self._entries: OrderedDict[Hashable, Arrays] = OrderedDict()
        """In the order of their last use, the latest at the end."""
        self._lock = threading.Lock()

    def __contains__(self, key: Hashable) -> bool:
        """Tell whether the arrays of this key are kept."""
        return key in self._entries

    def get(self, key: Hashable, make: Callable[[], Arrays]) -> Arrays:
        """Return the arrays of a key: kept ones, or new ones from `make`, which are kept if they have room at all."""
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
                return found
        made = make()  # outside the lock: other threads need not wait for this draw
        with self._lock:
            if key not in self._entries and _size(made) <= self._most:
                self._entries[key] = made
                self.held += _size(made)
            while self.held > self._most:
                self.held -= _size(self._entries.popitem(last=False)[1])
        return made


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays) + _OVERHEAD


_recent = Recent(KEPT_BYTES)
Final = tuple[str, Value | None]
"""One final evaluation: the parameter or the difficulty that it sets and the value; "" and None if it sets none."""


@dataclass(frozen=True)
class _Set:
    """One evaluation set, before it is drawn; its key in the cache.

    Attributes:
        task, name: the task and its registered name.
        purpose: `evaluation` for the learning curve, or `final`.
        parameters: the grid parameters of its examples.
        seed: the replica's.
        examples: how many.
        difficulty: of all examples, or None for the task's own mixture.
    """

    task: Task
    name: str
    purpose: str
    parameters: Pairs
    seed: int
    examples: int
    difficulty: int | None

    def draw(self) -> tuple[Floats, Floats]:
        """Draw inputs (time, examples, input_size) and targets likewise."""
        stream = Stream(self.purpose, self.name, self.parameters, self.seed, self.difficulty, count=self.examples)
        parameters = dict(self.parameters)
        if self.difficulty is None:
            return self.task.batch(stream, self.examples, parameters)
        return self.task.batch_of_difficulty(stream, self.examples, parameters, self.difficulty)


class EvaluationData:
    """The sets that the models of a point are evaluated on.

    Args:
        task: the task itself.
        settings: those of the experiment.
        parameters: those of the point.

    Attributes:
        plan: all final evaluations, the one at the trained parameters first.
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
            seeds: the seeds to divide.
            least: the least number of seeds in a group (the last may have fewer).
        """
        sets = [self._final(by, value) for by, value in self.plan]
        largest = max(examples * _example_bytes(self._task, at) for at, examples, _ in sets)
        size = max(least, FINAL_BYTES // largest)
        return [seeds[start : start + size] for start in range(0, len(seeds), size)]

    def _final(self, by: str, value: Value | None) -> tuple[dict[str, Value], int, int | None]:
        """Find parameters, examples and difficulty of one entry of `plan`; a difficulty has a quarter of them."""
        examples = self._settings.final.examples
        if by and by == self._task.difficulty:
            assert isinstance(value, int)
            return dict(self._parameters), max(1, examples // 4), value
        at = {by: value} if by and value is not None else {}
        return {**dict(self._parameters), **at}, examples, None

    def _stacked(
        self, purpose: str, parameters: Pairs, seeds: Sequence[int], examples: int, difficulty: int | None
    ) -> tuple[Floats, Floats]:
        """Draw one set per seed, or take it from the cache, and stack them."""
        task, name = self._task, self._settings.task
        sets = [_Set(task, name, purpose, parameters, seed, examples, difficulty) for seed in seeds]
        inputs, targets = zip(*(_recent.get(each, each.draw) for each in sets), strict=True)
        return np.stack(inputs), np.stack(targets)
