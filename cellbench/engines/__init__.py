"""Engines: each trains many replicas of one model at once.

`engine` is the contract; `reference`, `stack` and `lanes` keep it; `choice` takes the fastest that can carry a cell.
`stacked` is a model as a function of one replica's tensors, `alignment` keeps its products from depending on their
place, `projection` calls what a cell does after each update. `optimizers` has the update rules of all three engines,
`schedules` the factors of learning rates, `foreign` torch's own classes.
"""

from cellbench.engines.choice import TRAINED, Begun, Choice, begin, choose, fastest_first, prepare, together
from cellbench.engines.engine import Advanced, Engine, Refused, RefusedOnce, Replicas, Scores, Trained
from cellbench.engines.foreign import OptimizerError
from cellbench.engines.optimizers import OPTIMIZERS, Optimizer, optimizer_of

__all__ = [
    "OPTIMIZERS",
    "TRAINED",
    "Advanced",
    "Begun",
    "Choice",
    "Engine",
    "Optimizer",
    "OptimizerError",
    "Refused",
    "RefusedOnce",
    "Replicas",
    "Scores",
    "Trained",
    "begin",
    "choose",
    "fastest_first",
    "optimizer_of",
    "prepare",
    "together",
]
