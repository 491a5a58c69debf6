"""A guess of how long a replica takes, good to a factor of two or three: enough to cut chunks and to order them."""

from __future__ import annotations

from cellbench.errors import CellbenchError
from cellbench.records.schedule import schedule
from cellbench.records.settings import Pairs, Planned, Settings
from cellbench.streams import Stream
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
        self._evaluations = len(schedule(evaluate.every, evaluate.growth, train.max_steps))

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
                inputs, _ = self._task.batch(Stream("size", count=1), 1, dict(parameters))
            except MemoryError as error:
                where = ", ".join(f"{name} {value}" for name, value in parameters)
                raise CellbenchError(f"memory holds not even one example at {where}: {error}") from None
            self._lengths[parameters] = inputs.shape[0]
        return self._lengths[parameters]
