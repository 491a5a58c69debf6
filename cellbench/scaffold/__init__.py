"""The files that `cellbench new` writes; `packaged` reads the cell of a file for a package."""

from cellbench.scaffold.scaffold import new_experiment, new_package

__all__ = ["new_experiment", "new_package"]
