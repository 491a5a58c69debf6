"""The files that `cellbench new` writes; `packaged` reads the cell of a file for a package."""

from cellbench.scaffold.scaffold import class_of, new_experiment, new_package, new_task

__all__ = ["class_of", "new_experiment", "new_package", "new_task"]
