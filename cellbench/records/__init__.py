"""The records that travel between grid, workers and store: frozen dataclasses that import nothing of ours.

`settings` is what an experiment asks for, `seeds` how its seeds are stored, `optimizers` names the optimizers of every
engine, `key` is the contract between results and code, `replicas` what is to be trained, `outcome` what became of it;
`answer` is what a cell answered to a law before that; `versions` what earlier versions of the engines trained wrongly.
"""

from cellbench.records.answer import STEP, Answer, Law
from cellbench.records.key import NUMBERS_VERSION, ReplicaKey, family_of
from cellbench.records.optimizers import HYPERPARAMETERS, NAMES, TORCH
from cellbench.records.outcome import Cause, CurvePoint, Evaluation, Outcome, Status
from cellbench.records.replicas import Chunk, Fit, Planned, Replica, models
from cellbench.records.seeds import seeds_of, staged, stages_of
from cellbench.records.settings import (
    CPU,
    LAYERS,
    MOST_EVALUATIONS,
    MOST_LAYERS,
    TUNED,
    CellSpec,
    Evaluate,
    Final,
    Pairs,
    Point,
    Settings,
    Solved,
    Source,
    TaskSpec,
    Train,
    Value,
    is_own,
    pairs,
    sha256_of,
)
from cellbench.records.versions import RIGHT_SINCE, TRAINED_BY, VERSIONS, failed_wrongly, rounds_as, wrongs

__all__ = [
    "CPU",
    "HYPERPARAMETERS",
    "LAYERS",
    "MOST_EVALUATIONS",
    "MOST_LAYERS",
    "NAMES",
    "NUMBERS_VERSION",
    "RIGHT_SINCE",
    "STEP",
    "TORCH",
    "TRAINED_BY",
    "TUNED",
    "VERSIONS",
    "Answer",
    "Cause",
    "CellSpec",
    "Chunk",
    "CurvePoint",
    "Evaluate",
    "Evaluation",
    "Final",
    "Fit",
    "Law",
    "Outcome",
    "Pairs",
    "Planned",
    "Point",
    "Replica",
    "ReplicaKey",
    "Settings",
    "Solved",
    "Source",
    "Status",
    "TaskSpec",
    "Train",
    "Value",
    "failed_wrongly",
    "family_of",
    "is_own",
    "models",
    "pairs",
    "rounds_as",
    "seeds_of",
    "sha256_of",
    "staged",
    "stages_of",
    "wrongs",
]
