"""From an experiment to the chunks that workers train.

`plan` puts everything together, `grid` lays out points and replicas, `part` selects what `--only` and `--shard` ask
for, `devices` chooses between a card and the CPU, `cost` estimates how long training takes, `judging` tells which
stored replicas were trained wrongly.
"""

from cellbench.planning.cost import estimate, kept_bytes
from cellbench.planning.grid import lay_out
from cellbench.planning.part import Stage, only, only_tasks, shard
from cellbench.planning.plan import Plan, prepare

__all__ = ["Plan", "Stage", "estimate", "kept_bytes", "lay_out", "only", "only_tasks", "prepare", "shard"]
