"""The files that `cellbench new` writes."""

from cellbench.scaffold.scaffold import new_experiment, new_package

__all__ = ["new_experiment", "new_package"]
