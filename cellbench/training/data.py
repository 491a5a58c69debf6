"""The data of a chunk: batches for training and sets for evaluation, drawn from named streams.

Training data is named by (task, parameters, batch size, seed, step): the same for every cell and learning rate.
Evaluation sets are named by (task, parameters, seed).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cellbench.errors import CellbenchError
from cellbench.records import Pairs, Point, Settings, Value
from cellbench.streams import Joined, Stream
from cellbench.task import Parameters, Task
from cellbench.training.drawn import Drawn, Mask, draw, example_bytes

Arrays = tuple[NDArray[Any] | None, ...]
Key = TypeVar("Key", bound=Hashable)

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
        self._task_name = settings.task
        self._names = [("data", settings.task, point.parameters, point.batch_size, seed) for seed in seeds]
        self._max_steps = settings.train.max_steps
        # the block in hand: the steps from `_first` up to `_past`, without it
        self._first = self._past = 0
        self._drawn = Drawn(np.empty(0, np.float32), np.empty(0, np.float32), None)
        step_bytes = point.batch_size * example_bytes(task, self._parameters) * len(seeds)
        self._block = int(min(BLOCK_STEPS, max(1, BLOCK_BYTES // step_bytes)))

    def up_to(self, start: int, stop: int) -> tuple[int, Drawn]:
        """Return the batches of the steps from `start` on, up to `stop` or to the end of the block, if that is nearer.

        Returns:
            The number n of steps, and inputs (seeds, n, time, batch, input_size), targets and mask likewise.
        """
        if not self._first <= start < self._past:
            self._draw(start)
        past = min(stop, self._past)
        rows = slice(start - self._first, past - self._first)
        inputs, targets, mask = self._drawn
        return past - start, Drawn(inputs[:, rows], targets[:, rows], None if mask is None else mask[:, rows])

    def _draw(self, start: int) -> None:
        """Draw the block that begins with the step `start`."""
        steps, batch = min(self._block, self._max_steps - start), self._batch_size
        count = steps * batch
        drawn = [
            draw(self._task, self._task_name, Stream(*name, start=start * batch, count=count), count, self._parameters)
            for name in self._names
        ]
        self._drawn = _stacked([_in_steps(each, steps, batch) for each in drawn])
        self._first, self._past = start, start + steps


def _in_steps(drawn: Drawn, steps: int, batch: int) -> Drawn:
    """Divide what was drawn for a block, (time, steps * batch, ...), into the batches of its steps, side by side."""

    def divided(array: NDArray[Any]) -> NDArray[Any]:
        return array.reshape(len(array), steps, batch, *array.shape[2:]).swapaxes(0, 1)

    mask = None if drawn.mask is None else divided(drawn.mask)
    return Drawn(divided(drawn.inputs), divided(drawn.targets), mask)


def _stacked(sets: Sequence[Drawn]) -> Drawn:
    """Stack what was drawn for several seeds; where only some have a mask, all steps of the others count."""
    inputs, targets, masks = zip(*sets, strict=True)
    mask: Mask | None = None
    if any(each is not None for each in masks):
        whole = np.ones(next(each.shape for each in masks if each is not None), np.bool_)
        mask = np.stack([whole if each is None else each for each in masks])
    return Drawn(np.stack(inputs), np.stack(targets), mask)


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

    def get(self, keys: Sequence[Key], make: Callable[[list[Key]], Iterable[Arrays]]) -> list[Arrays]:
        """Return the arrays of some keys: kept ones, or new ones, which are kept if they have room at all.

        Args:
            keys: which, each once.
            make: makes the arrays of the keys that are not kept, in their order.
        """
        found: dict[Key, Arrays] = {}
        with self._lock:
            for key in keys:
                if key in self._entries:
                    self._entries.move_to_end(key)
                    found[key] = self._entries[key]
        missing = [key for key in keys if key not in found]
        # outside the lock: other threads need not wait for this draw
        made = dict(zip(missing, make(missing), strict=True)) if missing else {}
        with self._lock:
            for key, arrays in made.items():
                if key not in self._entries and _size(arrays) <= self._most:
                    self._entries[key] = arrays
                    self.held += _size(arrays)
                while self.held > self._most:
                    self.held -= _size(self._entries.popitem(last=False)[1])
        return [found[key] if key in found else made[key] for key in keys]


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays if array is not None) + _OVERHEAD


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

    @property
    def stream(self) -> Stream:
        """The randomness that it is drawn from."""
        return Stream(self.purpose, self.name, self.parameters, self.seed, self.difficulty, count=self.examples)

    def draw(self, stream: Stream) -> Drawn:
        """Draw it from its stream, or it and others like it from theirs together."""
        return draw(self.task, self.name, stream, stream.count, dict(self.parameters), self.difficulty)


JOINED = frozenset({"cellbench.tasks.binary_addition"})
"""Modules of tasks whose sets of several seeds are drawn in one call: most of its time is not spent on examples.

No example of theirs depends on another, as the tests show; of other tasks no law asks that for a given difficulty. The
text of a task cannot say it by itself: the text is in the key of each replica.
"""


def _draw_sets(sets: Sequence[_Set]) -> Iterable[Drawn]:
    """Draw sets that differ in nothing but their seeds."""
    if type(sets[0].task).__module__ in JOINED:
        return apart(sets[0].draw(Joined([each.stream for each in sets])), sets[0].examples)
    return (each.draw(each.stream) for each in sets)


def apart(drawn: Drawn, examples: int) -> Iterable[Drawn]:
    """Divide what was drawn for several seeds, the examples of one after those of another."""
    assert drawn.mask is None, "no task of JOINED leaves steps out"
    for start in range(0, drawn.inputs.shape[1], examples):
        # copies: a part that is kept must not keep the others
        inputs, targets = (array[:, start : start + examples].copy() for array in drawn[:2])
        yield Drawn(inputs, targets, None)


HARDEST = 4
"""How many difficulties are measured at the largest parameters."""


def hardest(task: Task, parameters: Parameters) -> list[int]:
    """List the hardest of a task's difficulties at these parameters."""
    return sorted(task.difficulties(parameters))[-HARDEST:]


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
        self._hardest = final.hardest_at(task.difficulty)
        for by, (name, at) in self._hardest.items():
            self.plan += [(by, value) for value in hardest(task, {**dict(parameters), name: at})]

    def curve(self, seeds: Sequence[int]) -> Drawn:
        """Draw the sets of the learning curve, with the seeds as a first axis."""
        return self._stacked("evaluation", self._parameters, seeds, self._settings.evaluate.examples, None)

    def final(self, seeds: Sequence[int], by: str, value: Value | None) -> Drawn:
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
        largest = max(examples * example_bytes(self._task, at) for at, examples, _ in sets)
        size = max(least, FINAL_BYTES // largest)
        return [seeds[start : start + size] for start in range(0, len(seeds), size)]

    def _final(self, by: str, value: Value | None) -> tuple[dict[str, Value], int, int | None]:
        """Find parameters, examples and difficulty of one entry of `plan`."""
        examples = self._settings.final.examples
        if by and by == self._task.difficulty:
            assert isinstance(value, int)
            return dict(self._parameters), max(1, examples // 4), value
        if by in self._hardest:
            assert isinstance(value, int)
            name, largest = self._hardest[by]
            return {**dict(self._parameters), name: largest}, max(1, examples // 8), value
        at = {by: value} if by and value is not None else {}
        return {**dict(self._parameters), **at}, examples, None

    def _stacked(
        self, purpose: str, parameters: Pairs, seeds: Sequence[int], examples: int, difficulty: int | None
    ) -> Drawn:
        """Draw one set per seed, or take it from the cache, and stack them."""
        task, name = self._task, self._settings.task
        sets = [_Set(task, name, purpose, parameters, seed, examples, difficulty) for seed in seeds]
        return _stacked([Drawn(*arrays) for arrays in _recent.get(sets, _draw_sets)])  # type: ignore[arg-type]
