"""Hold how an experiment's seeds were planned: in stages until decided, or fixed after earlier looks; plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cellbench.statistics.looks import Look, kept, looks


@dataclass(frozen=True)
class Stages:
    """A plan of seeds until decided.

    Attributes:
        first: the seeds of the first look.
        to: the most seeds, as asked for now.
        caps: every `to` that was asked for, in the order in which they were set; the first is the plan.
    """

    first: int
    to: int
    caps: tuple[int, ...]

    @property
    def every(self) -> tuple[Look, ...]:
        """All looks that were planned, those above a lowered `to` included."""
        return looks(self.first, self.caps or (self.to,))

    @property
    def looks(self) -> tuple[Look, ...]:
        """The looks that are made."""
        return tuple(look for look in self.every if look.seeds <= max(self.to, self.first))

    @property
    def after(self) -> float:
        """The share of the look that a raised `to` would add."""
        return self.every[len(self.looks)].share if len(self.every) > len(self.looks) else kept(self.every)

    @property
    def raised(self) -> int:
        """The `to` that adds one look."""
        return 2 * self.looks[-1].seeds


@dataclass(frozen=True)
class Past:
    """An earlier experiment of the same store that asked the same question.

    Attributes:
        labels: its cells that are the same today.
        seeds: of each of its looks; those of a plan of stages are several.
        fixed: whether its seeds were fixed.
    """

    labels: frozenset[str]
    seeds: tuple[frozenset[int], ...]
    fixed: bool


def chance(stages: Stages, before: Sequence[int]) -> float:
    """Bound the chance of a false verdict in a family, where looks at fixed seeds came before the plan.

    At most 0.05 times the sum, over all looks made or planned, of the largest share at which each was read.

    >>> chance(Stages(10, 80, (80,)), [10])
    0.08
    """
    share = {look.seeds: look.share for look in stages.every}
    return round(0.05 * sum(1.0 if n in before else share[n] for n in {*share, *before}), 10)
