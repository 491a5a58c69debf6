"""The experiment file: validated, every fault at once.

`experiment` loads one, `document` reads YAML with the line of each key, `sections` holds the keys as pydantic models,
`faults` puts pydantic's errors in our words, `checks` does the checks that pydantic cannot do, `training` those of the
section `train`, `tuning` those of `tune`, `offered` says what there is in place of what people look for, `argument`
reads a cell as the command line gives it, `given` the keys that Python code gives.
"""

from cellbench.experiment.experiment import Experiment, default_file, load
from cellbench.experiment.sections import schema
from cellbench.experiment.training import train_section
from cellbench.experiment.tuning import Choice

__all__ = ["Choice", "Experiment", "default_file", "load", "schema", "train_section"]
