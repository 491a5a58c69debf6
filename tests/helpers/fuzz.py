"""What the fuzz of stores and of folders share: the tables, the commands that read them, and how many inputs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from cellbench.results import results
from cellbench.running import run as run_experiment
from cellbench.running.verify import verify
from cellbench.store.merge import merge
from tests.helpers.commands import TINY

MANY = int(os.environ.get("CELLBENCH_FUZZ", "10000"))
TABLES = {
    "experiment": ("resolved", "facts", "environment", "command", "started"),
    "plan": ("label", "cell", "parameters", "batch_size", "size", "hidden_size", "learning_rate", "seed", "key"),
    "family": ("family", "key_text"),
    "replica": (
        "key",
        "family",
        "seed",
        "learning_rate",
        "status",
        "cause",
        "steps_to_solved",
        "final_step",
        "final_loss",
        "diverged_at",
        "engine",
        "final_bit_accuracy",
        "seconds",
        "traceback",
    ),
    "curve": ("step", "loss", "sequence_accuracy"),
    "evaluation": ("by", "value", "bit_accuracy"),
    "source": ("sha256", "module", "text"),
    "engine": ("engine", "cell"),
}


READERS: dict[str, Callable[[], object]] = {
    "report": lambda: results.write(Path("hand"), charts=False),
    "verify": lambda: verify(Path("hand"), 1),
    "merge": lambda: merge(Path("to"), [Path("hand")]),
    "run": lambda: run_experiment({**TINY, "seeds": 2}, "hand", report=False),
}
