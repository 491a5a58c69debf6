"""`--until-decided`: a fixed number of seeds becomes the first look of seeds until decided."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from cellbench.errors import Fault
from cellbench.experiment.document import Document
from cellbench.records import staged
from cellbench.wording import short

if TYPE_CHECKING:
    from cellbench.experiment.experiment import Experiment

PLACE = "--until-decided"
LEAST, LEAST_OF_FEW_POINTS, FEW_POINTS = 5, 20, 3
"""The least seeds of a first look, and the least below three points: there a rate that is late for 1 seed in 8 makes a
look at ten seeds wrong too often."""
TIMES = 8
"""The cap is so many times the first look."""


def until_decided(document: Document) -> list[Fault]:
    """Stage the seeds of a document: from its number of seeds, below 3 points at least 20, to eight times as many.

    A document whose seeds are staged already stays as it is.

    Returns:
        A fault if its seeds are neither; else nothing.
    """
    if not isinstance(document.data, dict):
        return []
    seeds = document.data.get("seeds", 10)
    if isinstance(seeds, Mapping):
        return []
    number = _number(seeds)
    if number is None:
        said = "seeds until decided are 0, 1, 2 and so on: give their number, as in `--set seeds=10`"
        return [Fault(PLACE, "seeds", f"is {short(seeds)}; {said}")]
    document.data["seeds"] = staged(*_plan(number, document.data.get("grid")))
    for path in [path for path in document.places if path[:1] == ("seeds",)]:
        del document.places[path]
    document.places["seeds",] = PLACE
    return []


def plan_of(experiment: Experiment) -> tuple[int, int] | None:
    """Return the first look and the cap that fixed seeds would get; None if they are not 0, 1, 2 and so on."""
    if experiment.stages is not None or list(experiment.seeds) != list(range(len(experiment.seeds))):
        return None
    return _plan(len(experiment.seeds), experiment.keys.grid)


def _plan(number: int, grid: Any) -> tuple[int, int]:
    first = max(number, LEAST, LEAST_OF_FEW_POINTS if _points(grid) < FEW_POINTS else 0)
    return first, TIMES * first


def _number(seeds: Any) -> int | None:
    """Return n for the seeds 0 to n - 1, however they are written."""
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        return seeds
    written = re.fullmatch(r"\s*0\s*-\s*(\d{1,6})\s*", seeds) if isinstance(seeds, str) else None
    if written is not None:
        return int(written[1]) + 1
    return len(seeds) if isinstance(seeds, list) and seeds and seeds == list(range(len(seeds))) else None


def _points(grid: Any) -> int:
    """Count the grid's points; a grid of another shape has its own faults."""
    if not isinstance(grid, Mapping):
        return 0
    return prod(len(values) if isinstance(values, list) else 1 for values in grid.values())
