"""Tasks of one's own, as people write them, and what they get wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BASE = """\
import random
import numpy as np
import torch
from cellbench import Task


class Base(Task):
    input_size = 1
    output_size = 1
    parameters = {"length": "steps"}

    def check_parameter(self, name, value):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError("length must be a whole number of 1 or more")

    def answer(self, bits):
        return bits[:, :, None].astype(np.float32), np.bitwise_xor.accumulate(bits)[:, :, None].astype(np.float32)

"""
PARITY = f"""{BASE}
class Parity(Base):
    def batch(self, stream, examples, parameters):
        return self.answer(stream.bits(parameters["length"]).T)
"""
"""A sound one."""

TINY: dict[str, Any] = {
    "name": "own",
    "task": "./mytask.py:Parity",
    "cells": ["rnn", "lstm"],
    "engine": "reference",
    "grid": {"length": 4, "batch_size": 4, "hidden_size": 3},
    "seeds": 2,
    "learning_rate": [0.05],
    "train": {"max_steps": 10},
    "evaluate": {"every": 5, "examples": 16},
    "final": {"examples": 10},
}
"""An experiment of a second on it."""


def write(text: str = PARITY, name: str = "mytask.py") -> Path:
    """Write the file of a task into the current folder."""
    path = Path(name)
    path.write_text(text)
    return path
