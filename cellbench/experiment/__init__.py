"""The experiment file: validated, every fault at once.

`experiment` loads one, `document` reads YAML with the line of each key, `sections` are the keys as pydantic knows
them, `faults` its complaints in our words, `checks` what it cannot know.
"""

from cellbench.experiment.experiment import Experiment, load
from cellbench.experiment.sections import schema

__all__ = ["Experiment", "load", "schema"]
