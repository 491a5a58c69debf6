"""The model that is trained: a cell, its initial state and the readout.

`model` runs it, `blueprint` makes it from a cell's name or text, `sizes` measures it.
"""

from cellbench.model.blueprint import Blueprint, blueprint_of, double_precision, refused_option, seeded, task_of
from cellbench.model.model import Model, loss
from cellbench.model.sizes import Sizes, measure

__all__ = [
    "Blueprint",
    "Model",
    "Sizes",
    "blueprint_of",
    "double_precision",
    "loss",
    "measure",
    "refused_option",
    "seeded",
    "task_of",
]
