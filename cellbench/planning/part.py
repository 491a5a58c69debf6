"""Which part of an experiment the command line asks for: `--only` and `--shard`."""

from __future__ import annotations

from collections.abc import Sequence

from cellbench.errors import CellbenchError
from cellbench.experiment.experiment import Experiment
from cellbench.experiment.sections import did_you_mean
from cellbench.planning.grid import only_keys


def only(experiment: Experiment, assignments: Sequence[str]) -> dict[str, list[str]]:
    """The values that each key is limited to.

    Args:
        experiment: whose cells and grid are meant.
        assignments: KEY=VALUE, or several with commas between them.

    Raises:
        CellbenchError: one is no assignment, or its key is none of the experiment's.
    """
    known = only_keys(experiment)
    part: dict[str, list[str]] = {}
    for assignment in (a for text in assignments for a in text.split(",")):
        key, equals, value = assignment.partition("=")
        if not equals or not value:
            raise CellbenchError(f"--only {assignment}: must be KEY=VALUE, such as cell=gru")
        if key not in known:
            raise CellbenchError(f"--only {assignment}: no such key. {did_you_mean(key, known)}")
        part.setdefault(key, []).append(value)
    return part


def shard(text: str | None) -> tuple[int, int] | None:
    """I and N of I/N.

    Raises:
        CellbenchError: it is something else.
    """
    if text is None:
        return None
    number, _, of = text.partition("/")
    decimal = number.isdecimal() and of.isdecimal() and len(text) < 20
    if not (decimal and 1 <= int(number) <= int(of) <= 100_000):
        raise CellbenchError(f"--shard {text[:40]}: must be I/N with I from 1 to N, such as 3/8")
    return int(number), int(of)
