"""The part of an experiment that the command line asks for: `--only` and `--shard`, read and applied."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cellbench.errors import CellbenchError
from cellbench.experiment import Choice, Experiment
from cellbench.records import LAYERS, Planned, Replica
from cellbench.wording import cut, did_you_mean

_OF_REPLICA = ("seed", "learning_rate")
"""The keys of `--only` that select replicas of a cell at a point, not points."""


def only(experiment: Experiment, assignments: Sequence[str]) -> dict[str, list[str]]:
    """Read `--only`: the values that each key is limited to.

    Args:
        experiment: whose cells and grid are meant.
        assignments: KEY=VALUE, or several with commas between them.

    Raises:
        CellbenchError: one is not an assignment, or its key is unknown to the experiment.
    """
    axes = (name for name, _ in experiment.axes)
    known = ["cell", *_OF_REPLICA, LAYERS, "batch_size", "size", "hidden_size", *axes]
    part: dict[str, list[str]] = {}
    for assignment in (a for text in assignments for a in text.split(",")):
        key, equals, value = assignment.partition("=")
        if not equals or not value:
            raise CellbenchError(f"--only {cut(assignment)}: must be KEY=VALUE, such as cell=gru")
        if key not in known:
            raise CellbenchError(f"--only {cut(assignment)}: no such key. {did_you_mean(key, known)}")
        part.setdefault(key, []).append(value)
    return part


def only_tasks(experiments: Mapping[str, Experiment], texts: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Read `--only` of a profile: its tasks, and of each the part that is meant.

    Args:
        experiments: those of the profile, by the name of the task.
        texts: TASK or KEY=VALUE, or several with commas between them. Without a task all are meant; a key holds for
            every task that is meant.

    Raises:
        CellbenchError: there is no such task, or an experiment that is meant does not know a key.
    """
    items = [item for text in texts for item in text.split(",")]
    tasks = [item for item in items if "=" not in item]
    for task in tasks:
        if task not in experiments:
            known = did_you_mean(task, list(experiments))
            raise CellbenchError(f"--only {cut(task)}: no such task in the profile, and no KEY=VALUE. {known}")
    meant = {task: one for task, one in experiments.items() if not tasks or task in tasks}
    found = {}
    for task, experiment in meant.items():
        try:
            found[task] = only(experiment, [item for item in items if "=" in item])
        except CellbenchError as error:
            raise CellbenchError(f"{error}\nThis is of the task {task}; --only TASK,KEY=VALUE names others") from None
    return found


def select(
    planned: Sequence[Planned], part: Mapping[str, Sequence[str]], tuned: Mapping[str, Choice] | None = None
) -> list[Planned]:
    """Take the part that `--only` names: each key's value must be among those given.

    Args:
        planned: the whole plan.
        part: `cell` (label or name), `seed`, `learning_rate`, `layers`, `batch_size`, `size`, `hidden_size`, or a
            parameter of the task, to values as text.
        tuned: the experiment's; a cell whose options are tuned is named with them, or without: then all of its choices.
    """
    kept, choices = [], tuned or {}
    wanted = {name: _Among(values) for name, values in part.items()}
    for p in planned:
        facts: dict[str, Iterable[object]] = {
            "cell": (p.cell.label, p.cell.name, *([choices[p.cell.label].cell] if p.cell.label in choices else [])),
            LAYERS: (p.cell.layers,),
            "batch_size": (p.point.batch_size,),
            "size": (p.point.size,),
            "hidden_size": (p.fit.hidden_size,),
            **{name: (value,) for name, value in p.point.parameters},
        }
        if all(any(map(among.holds, facts[name])) for name, among in wanted.items() if name in facts):
            own = [(name, among) for name, among in wanted.items() if name in _OF_REPLICA]
            replicas = tuple(r for r in p.replicas if all(among.holds(getattr(r, name)) for name, among in own))
            if replicas:
                kept.append(replace(p, replicas=replicas))
    return kept


class _Among:
    """The values of one key of `--only`, as text and as numbers: `0.10` selects 0.1."""

    def __init__(self, values: Iterable[str]) -> None:
        self._texts = frozenset(values)
        self._numbers = frozenset(number for text in self._texts if (number := _number(text)) is not None)

    def holds(self, fact: object) -> bool:
        """Tell whether a fact is one of the values."""
        return str(fact) in self._texts or (isinstance(fact, int | float) and _number(fact) in self._numbers)


def _number(value: str | float) -> float | None:
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True)
class Stage:
    """A stage of seeds until decided.

    Attributes:
        number: the look that it trains for; from 1.
        targets: the seeds that each cell is to have, by label.
        most: those that it has at most, if nothing more is decided.
    """

    number: int
    targets: Mapping[str, int]
    most: Mapping[str, int]


def upto(planned: Sequence[Planned], seeds: Mapping[str, int]) -> list[Planned]:
    """Take the first seeds of each cell.

    Args:
        planned: the whole plan, or a part of it.
        seeds: how many, by label.
    """
    cut = (replace(p, replicas=tuple(r for r in p.replicas if r.seed < seeds[p.cell.label])) for p in planned)
    return [p for p in cut if p.replicas]


def shard(text: str | None) -> tuple[int, int] | None:
    """Read `--shard I/N` as I and N.

    Raises:
        CellbenchError: the text is not of this form.
    """
    if text is None:
        return None
    number, _, of = text.partition("/")
    decimal = number.isdecimal() and of.isdecimal() and len(text) < 20
    if not (decimal and 1 <= int(number) <= int(of) <= 100_000):
        raise CellbenchError(f"--shard {text[:40]}: must be I/N with I from 1 to N, such as 3/8")
    return int(number), int(of)


def deal(planned: Sequence[Planned], number: int, of: int) -> list[Planned]:
    """Take one shard of several. Whole seeds of a cell at a point are dealt out in turn.

    Args:
        planned: the whole plan.
        number: from 1 to `of`.
        of: how many shards.
    """
    kept, dealt = [], 0
    for p in planned:
        replicas: list[Replica] = []
        for _, group in itertools.groupby(p.replicas, key=lambda r: r.seed):
            if dealt % of == number - 1:
                replicas.extend(group)
            dealt += 1
        if replicas:
            kept.append(replace(p, replicas=tuple(replicas)))
    return kept
