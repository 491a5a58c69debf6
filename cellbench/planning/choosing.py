"""The engines of an experiment's cells; compilers work on some while others are chosen, or trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from cellbench.engines import TRAINED, Begun, Choice, Refused, begin, choose, optimizer_of, prepare
from cellbench.engines.device import used
from cellbench.engines.lanes import Compilers
from cellbench.errors import CellError, StoreError
from cellbench.experiment import Experiment
from cellbench.model import blueprint_of
from cellbench.planning import devices
from cellbench.planning.chunks import chunks
from cellbench.plugins import Timeout, contained
from cellbench.records import CPU, CellSpec, Chunk, Planned, models
from cellbench.training.data import longest
from cellbench.training.timeout import limit

COMPILE_SECONDS = 10.0
"""Seconds that choosing an engine may take beside the time of a chunk: a cell may have to be compiled."""


@dataclass
class Choosing:
    """Chooses the engines of an experiment's cells.

    Attributes:
        experiment: whose cells are meant.
        planned: everything that it plans, so that every part of it gets the same engines.
        done: keys that need no training.
        stored: the engines of stored results, by the cell's digest.
        pool: threads that wait for compilers; None: each cell is compiled when its engine is chosen.
    """

    experiment: Experiment
    planned: Sequence[Planned]
    done: frozenset[str]
    stored: Mapping[str, str]
    pool: Compilers | None = None
    _begun: dict[str, Begun | Choice | None] = field(default_factory=dict)

    def begin(self, cell: CellSpec) -> None:
        """Trace a cell, and begin to compile it; what goes wrong is found again, and said, by `choose`."""
        if self.pool is None or not self._on_cpu or cell.label in self._begun or self._known(cell) is not None:
            return
        blueprints, batch_sizes, steps = self._needs(cell)
        train, pool, wanted = self.experiment.settings.train, self.pool, self.experiment.engine

        def begun() -> Begun | Choice | None:
            try:
                with limit(train.timeout + COMPILE_SECONDS, begun.__code__):
                    return begin(wanted, blueprints, optimizer_of(train), batch_sizes, steps, pool)
            except Timeout:
                return self._slowest(wanted)

        self._begun[cell.label] = begun()

    def is_begun(self, cell: CellSpec) -> bool:
        """Tell whether `begin` was called for a cell."""
        return cell.label in self._begun

    def awaited(self, cell: CellSpec) -> list[Future[Any]]:
        """List the compilers that still work on a cell."""
        begun = self._begun.get(cell.label)
        return begun.awaited if isinstance(begun, Begun) else []

    def can_wait(self, cell: CellSpec) -> bool:
        """Tell whether training may begin before this cell's engine is certain.

        What an engine refuses may not end a run in which something was trained. It cannot where nothing is stored of
        the cell, and the slowest engine, which takes the place of one that refuses, carries it.
        """
        if self.experiment.engine != "auto" or not self._on_cpu or self._known(cell) is not None:
            return False
        if self.stored.get(cell.digest) is not None and any(key in self.done for key in self._keys(cell)):
            return False
        blueprints, train = self._needs(cell)[0], self.experiment.settings.train

        def carried() -> bool:
            try:
                with limit(train.timeout, carried.__code__), contained():
                    for blueprint in blueprints:
                        prepare("reference", blueprint, optimizer_of(train), train.clip_norm)
            except (Refused, Timeout):
                return False
            except Exception:  # the cell's own: its replicas will fail with it
                return True
            return True

        return carried()

    def choose(self, cell: CellSpec) -> Choice:
        """Choose a cell's engine; a stored one must stay as long as planned results come from it.

        Raises:
            CellError: the engine asked for refuses, or none can carry the cell.
            StoreError: stored results come from an engine that cannot train the rest.
        """
        if (known := self._known(cell)) is not None:
            return known
        choice = self._chosen(cell, self.experiment.engine)
        before = self.stored.get(cell.digest)
        if before is None or before == choice.engine or not any(key in self.done for key in self._keys(cell)):
            return choice
        if self.experiment.engine == "auto":
            # nobody asked for another engine: results stay comparable, and the user hears of the faster one
            with suppress(CellError):
                stays = self._chosen(cell, before)
                faster = f"; {choice.engine} could train it now, and faster, in a run with --fresh"
                why = "" if choice.engine == "reference" else faster
                return replace(stays, reason=f"its stored results come from it{why}")
        why = f" ({choice.reason})" if choice.reason else ""
        raise StoreError(
            f"{cell.label}: its stored results come from the engine {before}, but this run would train the rest with "
            f"{choice.engine}{why}. A cell's results must come from one engine. Go on with --set engine={before}, or "
            "start anew with --fresh (the old results stay in the folder, under another name)."
        )

    @property
    def _on_cpu(self) -> bool:
        return used(self.experiment.keys.device) == CPU

    def _known(self, cell: CellSpec) -> Choice | None:
        """Choose without asking an engine, where all is trained already, or nothing can be."""
        before = self.stored.get(cell.digest)
        engine = self.experiment.engine
        if before is not None and engine in ("auto", before) and all(key in self.done for key in self._keys(cell)):
            return Choice(before, TRAINED)
        broken = next((p.fit.broken for p in self._planned(cell) if p.fit.broken), "")
        return Choice("reference", f"{cell.label} cannot start: {broken}") if broken else None

    def _chosen(self, cell: CellSpec, wanted: str) -> Choice:
        """Ask the engines."""
        begun = self._begun.pop(cell.label, None)
        if isinstance(begun, Choice):
            return begun
        blueprints, batch_sizes, steps = self._needs(cell)
        train = self.experiment.settings.train

        def choose_on(engine: str, where: str) -> Choice:
            ours = begun if where == CPU else None
            return choose(engine, blueprints, optimizer_of(train), train.clip_norm, batch_sizes, steps, where, ours)

        def timed(choice: Choice) -> Chunk:
            """Make the chunk that a choice is timed by: one of the largest model's."""
            return chunks(self.experiment, self._planned(cell)[-1:], {cell.label: choice}, frozenset())[0]

        def chosen() -> Choice:
            try:
                with limit(train.timeout + COMPILE_SECONDS, chosen.__code__):
                    return devices.choose_on(used(self.experiment.keys.device), wanted, choose_on, timed)
            except Timeout:
                return self._slowest(wanted)

        return chosen()

    def _slowest(self, wanted: str) -> Choice:
        seconds = self.experiment.settings.train.timeout
        slowest = "reference" if wanted == "auto" else wanted
        return Choice(slowest, f"trying the engines took longer than train.timeout, {seconds:g} s")

    def _planned(self, cell: CellSpec) -> list[Planned]:
        return [p for p in self.planned if p.cell.label == cell.label]

    def _keys(self, cell: CellSpec) -> list[str]:
        return [r.key for p in self._planned(cell) for r in p.replicas]

    def _needs(self, cell: CellSpec) -> tuple[list[Any], list[int], int]:
        """Make a cell's models, and list the batch sizes and the most time steps that they will see."""
        mine = self._planned(cell)
        blueprints = [blueprint_of(*model, self.experiment.task) for model in models(mine)]
        batch_sizes = sorted({p.point.batch_size for p in mine})
        steps = longest(self.experiment.task, self.experiment.settings, (p.point.parameters for p in mine))
        return blueprints, batch_sizes, steps
