"""The model that is trained: a cell, its initial state and the readout.

`model` runs it, `objective` is what it is trained for and scored by, `blueprint` makes it from a cell's name or text,
`layers` stacks several cells, `fused` has equations for the layers of torch, `sizes` measures it, `traits` finds out
what an engine must know of it before it trains it, by way of all that it holds, `contents`; `once` remembers what was
found out; `reach` says which parameters have a gradient; `updates` is what a cell does after each update of its
parameters, `weights` writes and reads what it learnt; `threads` makes torch compute with one; `modes` sees each of its
operations.
"""

from cellbench.model.blueprint import (
    Blueprint,
    blueprint_of,
    double_precision,
    own_options,
    refused_option,
    task_of,
)
from cellbench.model.contents import Contents, changed, replaced
from cellbench.model.fused import spelt_out
from cellbench.model.layers import layers_of, takes_sequences, takes_steps
from cellbench.model.model import Model, declared_features, evaluating
from cellbench.model.modes import DispatchMode
from cellbench.model.objective import BITS, Objective, loss
from cellbench.model.randomness import generator_states, generators_kept, seeded, set_generators
from cellbench.model.reach import functions_behind, reached
from cellbench.model.sizes import Sizes, measure
from cellbench.model.threads import one_thread
from cellbench.model.traits import Traits, traits_of
from cellbench.model.updates import after_update, follows_updates, try_update

__all__ = [
    "BITS",
    "Blueprint",
    "Contents",
    "DispatchMode",
    "Model",
    "Objective",
    "Sizes",
    "Traits",
    "after_update",
    "blueprint_of",
    "changed",
    "declared_features",
    "double_precision",
    "evaluating",
    "follows_updates",
    "functions_behind",
    "generator_states",
    "generators_kept",
    "layers_of",
    "loss",
    "measure",
    "one_thread",
    "own_options",
    "reached",
    "refused_option",
    "replaced",
    "seeded",
    "set_generators",
    "spelt_out",
    "takes_sequences",
    "takes_steps",
    "task_of",
    "traits_of",
    "try_update",
]
