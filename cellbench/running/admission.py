"""Ask cells what they must answer before anything of them is trained, and refuse those that cannot go on."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cellbench.conformance import quick
from cellbench.errors import CellError
from cellbench.experiment import Experiment
from cellbench.records import STEP, Answer, CellSpec, Law, Planned
from cellbench.store import FILE, Store
from cellbench.store.answers import given

Say = Callable[[str], object]
"""Shows a line about what is being done."""


@dataclass
class Admission:
    """The questions to the cells of one run.

    Attributes:
        experiment, folder: of the run.
        planned: everything that the experiment plans.
        trust: whether a cell that breaks a law may be trained even if the command line added it.
        fresh: whether to ask as if nothing were stored.
        say: called with a line before each cell that is asked.
        answers: the new answers, by the cell's digest.
    """

    experiment: Experiment
    folder: Path
    planned: Sequence[Planned]
    trust: bool = False
    fresh: bool = False
    say: Say = lambda text: None
    answers: dict[str, list[Answer]] = field(default_factory=dict)

    def ask(self, cells: Sequence[CellSpec]) -> None:
        """Ask cells for a step and a gradient at each of their hidden sizes, and for the quick laws.

        A cell that gave its answers already, by the same text and versions, is not asked again. One that is trained,
        but broke a law which is another one today, is asked again, and refused nothing.

        Args:
            cells: those of which something is to be trained.

        Raises:
            CellError: the only new cell cannot be trained, or one that the command line added breaks a law; nothing was
                trained, and the message says where and what to do.
        """
        stored = _stored(self.folder) if not self.fresh else {}
        known = {digest: _current(answers) for digest, answers in stored.items()}
        again = [cell for cell in self.experiment.cells if cell not in cells and _broke(stored, known, cell)]
        missing = [cell for cell in (*cells, *again) if not _answered(known.get(cell.digest, ()), self._sizes(cell))]
        for number, cell in enumerate(missing, 1):
            self.say(f"checking {number} of {len(missing)}: {cell.label}")
            seconds = min(60.0, self.experiment.settings.train.timeout)
            self.answers[cell.digest] = quick.ask(cell, self.experiment.task, self._sizes(cell), seconds)
        everything = {**known, **self.answers}
        _refuse(self.experiment, {cell: everything[cell.digest] for cell in cells}, self.trust)

    def _sizes(self, cell: CellSpec) -> list[int]:
        """List the hidden sizes that are planned for a cell, smallest first."""
        return sorted({p.fit.hidden_size for p in self.planned if p.cell.label == cell.label})


def todays_laws() -> Collection[Law]:
    """Return all laws that cells are asked today."""
    return quick.laws().values()


def _stored(folder: Path) -> Mapping[str, list[Answer]]:
    if not (folder / FILE).exists():
        return {}
    with Store(folder, write=False) as store:
        return given(store)


def _broke(stored: Mapping[str, list[Answer]], known: Mapping[str, list[Answer]], cell: CellSpec) -> bool:
    """Tell whether a cell broke a law that is not asked today, or not as it was."""
    return any(a.status == "fail" and a not in known[cell.digest] for a in stored.get(cell.digest, ()))


def _current(answers: Iterable[Answer]) -> list[Answer]:
    """Select the answers to today's laws, by their text, with the versions of torch and cellbench that are here."""
    here = quick.versions()
    laws = quick.laws()
    return [a for a in answers if (a.torch, a.cellbench) == here and laws.get(a.law.name) == a.law]


def _answered(answers: Sequence[Answer], sizes: Sequence[int]) -> bool:
    """Tell whether a cell has answered everything: a step at each size, and each law if these were sound."""
    steps = {a.hidden_size: a.status for a in answers if a.law.name == STEP}
    if not set(sizes) <= set(steps):
        return False
    unsound = any(steps[size] != "pass" for size in sizes)
    return unsound or {a.law.name for a in answers} == set(quick.laws())


def _refuse(experiment: Experiment, answers: Mapping[CellSpec, Sequence[Answer]], trust: bool) -> None:
    """Raise if the new cell, or all cells, cannot be trained, or if an added cell breaks a law and is not trusted."""
    raised = [cell for cell, given in answers.items() if any(a.status == "raised" for a in given)]
    labels = {cell.label for cell in raised}
    new = set(experiment.added) or {cell.label for cell in experiment.cells}
    if raised and new <= labels:
        raise CellError("\n".join([*(_cannot_start(cell, answers[cell]) for cell in raised), MEND]))
    breaking = [cell for cell in answers if cell.label in experiment.added and _broken(answers[cell])]
    if breaking and not trust:
        said = [_breaks(cell, _broken(answers[cell])) for cell in breaking]
        raise CellError("\n".join([*said, f"{MEND} To train all the same: --trust"]))


MEND = "Nothing was trained. Mend it, and run the same command again."


def _broken(answers: Iterable[Answer]) -> list[Answer]:
    return [a for a in answers if a.status == "fail"]


def _cannot_start(cell: CellSpec, answers: Sequence[Answer]) -> str:
    first = next(a for a in answers if a.status == "raised")
    lines = [f"{cell.label} cannot take a step at hidden size {first.hidden_size}: {first.message}"]
    if first.place:
        lines.append(first.place)
    return "\n".join([*lines, _alone(cell)])


def _breaks(cell: CellSpec, broken: Sequence[Answer]) -> str:
    laws = list(dict.fromkeys(a.law for a in broken))
    lines = [f"{cell.label} breaks {'a law' if len(laws) == 1 else f'{len(laws)} laws'} of cells:"]
    for law in laws:
        first = next(a for a in broken if a.law == law)
        lines.append(f"  {law.name}: {law.shows}\n    but {first.message} (hidden size {first.hidden_size})")
        if first.place:
            lines.append("\n".join(f"    {line}" for line in first.place.splitlines()))
    return "\n".join([*lines, _alone(cell)])


def _alone(cell: CellSpec) -> str:
    """Say which command asks the cell alone."""
    if not cell.from_file:
        return f"`cellbench check {cell.name}` asks it alone."
    return f"`cellbench check {seen(cell.provider)}:{cell.factory.rpartition(':')[2]}` asks it alone."


def seen(file: str) -> str:
    """Write the path of a file as it is seen from the current folder."""
    path = os.path.relpath(file)
    return file if path.startswith("..") else f"./{path}"
