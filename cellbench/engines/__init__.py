"""Engines: each trains many replicas of one model at once.

`engine` is the contract; `reference`, `stack` and `lanes` keep it; `choice` takes the fastest that can carry a cell.
`stack_trial` compares a stack with each model alone, `stack_step` is its training step, `stacked` a model as a function
of one replica's tensors, `alignment` keeps its products from depending on their place, `projection` calls what a cell
does after each update. `device` is what torch computes on, `captured` a function that a card replays, `footprint` how
many replicas a card holds. `optimizers` has the update rules of all three engines, `schedules` the factors of learning
rates, `foreign` torch's own classes.
"""

from cellbench.engines.choice import TRAINED, Begun, Choice, begin, choose, fastest_first, prepare, together
from cellbench.engines.engine import (
    LONGEST,
    USUAL_BATCHES,
    Advanced,
    Engine,
    Refused,
    RefusedOnce,
    Replicas,
    Scores,
    Trained,
)
from cellbench.engines.foreign import OptimizerError
from cellbench.engines.optimizers import OPTIMIZERS, Optimizer, optimizer_of

__all__ = [
    "LONGEST",
    "OPTIMIZERS",
    "TRAINED",
    "USUAL_BATCHES",
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
