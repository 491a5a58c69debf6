"""Engines: each trains many replicas of one model at once.

`engine` is the contract; `reference`, `stack` and `lanes` keep it; `choice` takes the fastest that can carry a cell.
"""

from cellbench.engines.choice import TRAINED, Choice, choose, fastest_first, prepare, together
from cellbench.engines.engine import Advanced, Engine, Refused, RefusedOnce, Replicas, Scores, Trained
from cellbench.engines.optimizers import OPTIMIZERS, Optimizer

__all__ = [
    "OPTIMIZERS",
    "TRAINED",
    "Advanced",
    "Choice",
    "Engine",
    "Optimizer",
    "Refused",
    "RefusedOnce",
    "Replicas",
    "Scores",
    "Trained",
    "choose",
    "fastest_first",
    "prepare",
    "together",
]
