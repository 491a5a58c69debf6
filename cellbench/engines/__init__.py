"""Engines: each trains many replicas of one model at once.

`engine` is the contract; `reference`, `stack` and `lanes` keep it; `choice` takes the fastest that can carry a cell.
`device` is what torch computes on, `captured` a function that a card replays, `footprint` how many replicas fit there.
`stack_step` is a step of a stack, `stacked` a model as a function of one replica's tensors, `alignment` keeps its products from depending on their
place, `projection` calls what a cell does after each update. `optimizers` has the update rules of all three engines,
`schedules` the factors of learning rates, `foreign` torch's own classes.
"""

from cellbench.engines.choice import TRAINED, Choice, choose, fastest_first, prepare, together
from cellbench.engines.engine import Advanced, Engine, Refused, RefusedOnce, Replicas, Scores, Trained
from cellbench.engines.foreign import OptimizerError
from cellbench.engines.optimizers import OPTIMIZERS, Optimizer, optimizer_of

__all__ = [
    "OPTIMIZERS",
    "TRAINED",
    "Advanced",
    "Choice",
    "Engine",
    "Optimizer",
    "OptimizerError",
    "Refused",
    "RefusedOnce",
    "Replicas",
    "Scores",
    "Trained",
    "choose",
    "fastest_first",
    "optimizer_of",
    "prepare",
    "together",
]
