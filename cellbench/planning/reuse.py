"""Replicas that need no training because another folder of the experiment holds them, to the bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cellbench.engines import Choice, optimizer_of, prepare
from cellbench.errors import StoreError
from cellbench.experiment import Experiment
from cellbench.planning.judging import judge
from cellbench.plugins import contained
from cellbench.records import VERSIONS, CellSpec, Planned, rounds_as
from cellbench.store.earlier import Earlier
from cellbench.store.neighbours import Arithmetic, beside, offered
from cellbench.training.data import longest
from cellbench.wording import one_line


@dataclass(frozen=True)
class Reused:
    """Replicas to be copied from another folder: what is planned there, each with these replicas alone."""

    folder: Path
    planned: tuple[Planned, ...]

    @property
    def keys(self) -> frozenset[str]:
        """Their keys."""
        return frozenset(r.key for p in self.planned for r in p.replicas)

    @property
    def labels(self) -> list[str]:
        """The labels of their cells, in order."""
        return list(dict.fromkeys(p.cell.label for p in self.planned))


class Neighbours:
    """What the other folders of an experiment hold of what is to be trained.

    Args:
        experiment: to be run.
        folder: its own.
        wanted: what is to be trained.

    Attributes:
        passed_over: the folders that cannot be read, one line each.
        right: the version of its engine that would give the same bits, by the key of each replica that an earlier one
            trained.
    """

    def __init__(self, experiment: Experiment, folder: Path, wanted: Sequence[Planned]) -> None:
        self.passed_over: list[str] = []
        self.right: dict[str, int] = {}
        self._wanted = {r.key: p for p in wanted for r in p.replicas}
        self._offers: list[tuple[Path, dict[str, Arithmetic]]] = []
        parts = _parts(self._wanted, set(self._wanted))
        for other in beside(folder, experiment.base) if parts else ():
            try:
                found = offered(other, parts)
            except StoreError as error:
                self.passed_over.append(f"{other} was passed over: {one_line(error, 160)}")
                continue
            if found:
                self._offers.append((other, self._today(experiment, wanted, found)))

    def _today(
        self, experiment: Experiment, wanted: Sequence[Planned], found: Mapping[str, Arithmetic]
    ) -> dict[str, Arithmetic]:
        """Give replicas today's version where an earlier one gave the same bits, as is found out about their cells."""
        before = {
            key: Earlier(engine, version, "")
            for key, (engine, version, *_) in found.items()
            if version < (now := VERSIONS.get(engine, 0)) and rounds_as(engine, version) == rounds_as(engine, now)
        }
        right = judge(experiment, wanted, before).right if before else {}
        self.right |= right
        return {key: (how[0], right.get(key, how[1]), *how[2:]) for key, how in found.items()}

    @property
    def cells(self) -> set[str]:
        """The labels of the cells of which something was found."""
        return {self._wanted[key].cell.label for _, found in self._offers for key in found}

    def taken(self, alike: Callable[[Planned, Arithmetic], bool]) -> tuple[Reused, ...]:
        """Choose what to copy: each replica once, from the first folder that has it as this machine would train it.

        Args:
            alike: whether replicas of a cell at a point would be trained by this arithmetic here.
        """
        chosen: list[Reused] = []
        seen: set[str] = set()
        for folder, found in self._offers:
            keys = {key for key, how in found.items() if key not in seen and alike(self._wanted[key], how)}
            if keys:
                seen |= keys
                chosen.append(Reused(folder, tuple(_parts(self._wanted, keys))))
        return tuple(chosen)


class Alike:
    """Tells whether a cell's replicas at a point would be trained by an arithmetic here: each cell and size asked once.

    Args:
        experiment: whose cells are meant.
        engines: each label's engine.
    """

    def __init__(self, experiment: Experiment, engines: Mapping[str, Choice]) -> None:
        self._experiment, self._engines = experiment, engines
        self._here: dict[tuple[CellSpec, int], Arithmetic | None] = {}

    def __call__(self, planned: Planned, arithmetic: Arithmetic) -> bool:
        """Tell whether the arithmetic is this machine's."""
        at = planned.cell, planned.fit.hidden_size
        if at not in self._here:
            self._here[at] = self._of(planned)
        return self._here[at] == arithmetic

    def _of(self, planned: Planned) -> Arithmetic | None:
        from cellbench.model import blueprint_of

        cell, task, settings = planned.cell, self._experiment.task, self._experiment.settings
        choice, train = self._engines[cell.label], settings.train
        name = choice.engine
        try:
            blueprint = blueprint_of(cell, planned.fit.hidden_size, task)
            # as it was made ready when its engine was chosen: for another batch size it would be compiled anew
            batch_sizes, steps = (planned.point.batch_size,), longest(task, settings, [planned.point.parameters])
            with contained():
                engine = prepare(
                    name, blueprint, optimizer_of(train), train.clip_norm, batch_sizes, steps, device=choice.device
                )
        except Exception:  # a cell that cannot be made here is not alike; its own replicas will say why
            return None
        return name, VERSIONS[name], engine.isa, engine.compiler, engine.device


def _parts(wanted: dict[str, Planned], keys: set[str]) -> Sequence[Planned]:
    """Cut what is planned down to the replicas with these keys, each once."""
    parts = {id(p): p for p in wanted.values()}
    cut = []
    for p in parts.values():
        replicas = tuple(r for r in p.replicas if r.key in keys and wanted[r.key] is p)
        if replicas:
            cut.append(replace(p, replicas=replicas))
    return cut
