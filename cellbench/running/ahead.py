"""Compile the cells of an experiment ahead of its run, perhaps for another machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellbench.engines import Refused, lanes
from cellbench.experiment import Experiment
from cellbench.model import blueprint_of, one_thread
from cellbench.planning import lay_out
from cellbench.records import models
from cellbench.training.data import longest

if TYPE_CHECKING:
    from cellbench.engines.lanes import Programs


@dataclass(frozen=True)
class _Begun:
    """One cell at one hidden size: its name, its batch sizes, and its programs or why there are none."""

    what: str
    batch_sizes: list[int]
    programs: Programs | Refused

    def end(self) -> tuple[str, bool]:
        """Wait for the compilers; returns a line about the cell, and whether it was built."""
        try:
            if isinstance(self.programs, Refused):
                raise self.programs
            return f"{self.what}: {lanes.build_ahead(self.programs, self.batch_sizes)}", True
        except Refused as refusal:
            return f"{self.what}: not built: {refusal}", False


def build(experiment: Experiment, isa: str | None = None) -> list[tuple[str, bool]]:
    """Compile every cell of an experiment, at every hidden size, into the cache, on all cores.

    Args:
        experiment: the one to run, perhaps on another machine.
        isa: the instruction set to compile for; default: this processor's.

    Returns:
        One line per cell and hidden size, and whether it was built.
    """
    with one_thread(), lanes.compilers() as pool:
        # all are traced first, while compilers work on those that are
        return [begun.end() for begun in list(_begin(experiment, isa, pool))]


def _begin(experiment: Experiment, isa: str | None, pool: lanes.Compilers) -> Iterator[_Begun]:
    planned = lay_out(experiment)
    steps = longest(experiment.task, experiment.settings, (p.point.parameters for p in planned))
    for cell in experiment.cells:
        for model in models(p for p in planned if p.cell.label == cell.label):
            one, hidden = model
            stacked = f", {one.layers} layers" if one.layers > 1 else ""
            batch_sizes = sorted({p.point.batch_size for p in planned if (p.cell, p.fit.hidden_size) == model})
            keys: dict[str, Any] = {"batch_sizes": batch_sizes, "longest": steps, "isa": isa}
            programs: Programs | Refused
            try:
                programs = lanes.begin(blueprint_of(one, hidden, experiment.task), pool, **keys)
            except Refused as refusal:
                programs = refusal
            yield _Begun(f"{cell.label}, hidden size {hidden}{stacked}", batch_sizes, programs)
