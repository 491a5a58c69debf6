"""What a run tells whoever watches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cellbench.executors.dispatch import Finished
from cellbench.planning import Handed, Plan, Settled


@dataclass(frozen=True)
class Notice:
    """A message for the user, in one line."""

    text: str


@dataclass(frozen=True)
class Stage:
    """What a run does before or after it trains, in one line; the next one takes its place."""

    text: str


Event = Plan | Handed | Settled | Finished | Notice | Stage
OnEvent = Callable[[Event], None]
