"""Schedules of the learning rate: a factor for each step, computed here alone, in float64, for every engine."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellbench.records import Train


@dataclass(frozen=True)
class Schedule:
    """What a learning rate is multiplied by at each step of training.

    Over the first W steps it rises: it is t / W at step t, counted from 1. Then it stays 1, or falls from 1 towards
    `end` over the steps that are left, as LinearLR and CosineAnnealingLR of torch.optim.lr_scheduler do: it would be
    `end` at the step after the last one.

    Attributes:
        kind: how it goes on: `constant`, `linear` or `cosine`.
        warmup: W, 0 for none.
        end: the factor that it falls to.
        steps: the budget of training.
    """

    kind: str = "constant"
    warmup: int = 0
    end: float = 0.0
    steps: int = 1

    @property
    def flat(self) -> bool:
        """Whether the factor is 1 at every step."""
        return self.kind == "constant" and self.warmup <= 1

    def factor(self, step: int) -> float:
        """Compute the factor of a step, counted from 1.

        >>> [Schedule("linear", warmup=2, steps=6).factor(step) for step in range(1, 7)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
        """
        if step < self.warmup:
            return step / self.warmup
        if self.kind == "constant" or step <= self.warmup + 1:
            return 1.0
        done = min((step - 1 - self.warmup) / max(self.steps - self.warmup, 1), 1.0)
        left = 1 - done if self.kind == "linear" else (1 + math.cos(math.pi * done)) / 2
        return self.end + (1 - self.end) * left

    def factors(self, done: int, count: int) -> NDArray[np.float64]:
        """Compute the factors of a block of steps.

        Args:
            done: steps before the block.
            count: steps of the block.
        """
        if self.flat:
            return np.ones(count)
        return np.array([self.factor(step) for step in range(done + 1, done + count + 1)])


CONSTANT = Schedule()


def schedule_of(train: Train) -> Schedule:
    """Make the schedule of an experiment."""
    return Schedule(train.schedule, train.warmup_steps, train.end_factor, train.max_steps)
