"""`cellbench schema`: the JSON schema of an experiment file."""

from __future__ import annotations

import json


def schema() -> None:
    """Print the JSON schema of an experiment file, for editors."""
    from cellbench.experiment import schema as experiment_schema

    print(json.dumps(experiment_schema(), indent=2))
