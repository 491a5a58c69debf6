"""The command line in tests: what a command leaves, and an experiment of a second to give it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TINY: dict[str, Any] = {
    "name": "tiny",
    "cells": ["rnn", "lstm"],
    "engine": "reference",
    "grid": {"bits": 4, "batch_size": 4, "hidden_size": 3},
    "seeds": 2,
    "learning_rate": [0.05],
    "train": {"max_steps": 20},
    "evaluate": {"every": 5, "examples": 32},
    "final": {"examples": 20, "bits": [6], "difficulty": True},
}
"""An experiment of a second."""


@dataclass(frozen=True)
class Ended:
    """What a command left: exit status, stdout, stderr."""

    status: int
    out: str
    err: str


Command = Callable[..., Ended]
"""The fixture `command`: arguments of the command line -> what it left."""
