"""From an experiment to the chunks that workers train.

`plan` puts everything together, `grid` lays out points and replicas, `part` selects what `--only` and `--shard` ask
for, `choosing` finds an engine for each cell while compilers work, `devices` chooses between a card and the CPU,
`chunks` cuts what is to be trained, `supply` hands it out, `cost` estimates how long training takes, `judging` tells
which stored replicas were trained wrongly.
"""

from cellbench.planning.cost import estimate, kept_bytes
from cellbench.planning.grid import lay_out
from cellbench.planning.part import Stage, only, only_tasks, shard
from cellbench.planning.plan import Plan, prepare
from cellbench.planning.supply import Handed, Settled

__all__ = [
    "Handed",
    "Plan",
    "Settled",
    "Stage",
    "estimate",
    "kept_bytes",
    "lay_out",
    "only",
    "only_tasks",
    "prepare",
    "shard",
]
