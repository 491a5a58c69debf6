"""The lanes engine: finds or builds the program of a cell, and trains replicas with it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellbench.engines.engine import LONGEST, USUAL_BATCHES, Advanced, Engine, Refused, RefusedOnce, Scores, Trained
from cellbench.engines.lanes import build, cache
from cellbench.engines.lanes.cache import Cache, CacheEntry
from cellbench.engines.lanes.graph.script import unoptimised
from cellbench.engines.lanes.graph.steady import refuse_memory
from cellbench.engines.lanes.identity import identity, short
from cellbench.engines.lanes.program import Program, Rows, Rule, aligned
from cellbench.engines.lanes.proof import prove
from cellbench.engines.lanes.units import EVALUATION, Unit, sharing, training
from cellbench.engines.optimizers import Optimizer
from cellbench.model import Blueprint, Model
from cellbench.task import Floats

if TYPE_CHECKING:  # what lowers imports what traces, and that takes long
    from cellbench.engines.lanes.code.lower import Lowered

WIDTH = 64
"""Replicas in a chunk. Any number is as fast; with more, more share a seed's data; with fewer, a killed worker loses
less."""
_CONSTANTS = {
    "adam": (0, ("beta1", "beta2", "eps")),
    "adamw": (1, ("beta1", "beta2", "eps", "weight_decay")),
    "sgd": (2, ("momentum",)),
    "rmsprop": (3, ("alpha", "eps")),
}
"""The number of each optimizer in train.h, and the order of its constants there."""


class LaneEngine:
    """One compiled cell with its optimizer; see `cellbench.engines.engine.Engine`."""

    name = "lanes"
    width = WIDTH
    padded = 1
    owns_models = False

    def __init__(self, programs: Programs, optimizer: Optimizer, clip_norm: float | None) -> None:
        self.programs = programs
        self.isa = str(programs.isa)
        self.compiler = programs.of(EVALUATION).entry.compiler
        self._slots = optimizer.slots
        kind, names = _CONSTANTS[optimizer.name]
        self._rule = Rule(kind, np.array([optimizer.constants[name] for name in names]), clip_norm or 0.0)

    def begin(self, models: Sequence[Model], learning_rates: Sequence[float]) -> LaneReplicas:
        """Start replicas at the weights of `models`, each with its learning rate."""
        row_of = self.programs.of(EVALUATION).row_of
        shapes = [(name, tuple(p.shape)) for name, p in models[0].named_parameters()] if models else []
        return self._replicas([row_of(model) for model in models], learning_rates, shapes)

    def resume(self, trained: Sequence[Trained]) -> LaneReplicas:
        """Take trained replicas back, to evaluate them."""
        rows = [row for row in trained if isinstance(row, np.ndarray)]
        assert len(rows) == len(trained)
        return self._replicas(rows, [0.0] * len(rows), [])

    def _replicas(
        self, rows: Sequence[Floats], rates: Sequence[float], shapes: Sequence[tuple[str, tuple[int, ...]]]
    ) -> LaneReplicas:
        entry = self.programs.of(EVALUATION).entry
        weights = aligned(len(rows), entry.row)
        for place, row in zip(weights, rows, strict=True):
            place[:] = row
        slots = aligned(len(rows), self._slots * entry.trained_row)
        return LaneReplicas(self.programs, Rows(self._rule, weights, slots, np.array(rates, dtype=np.float64)), shapes)


class LaneReplicas:
    """Replicas in training; see `cellbench.engines.engine.Replicas`.

    Args:
        programs: the compiled cell.
        replicas: their numbers.
        shapes: name and shape of each parameter.
    """

    def __init__(self, programs: Programs, replicas: Rows, shapes: Sequence[tuple[str, tuple[int, ...]]]) -> None:
        self._programs = programs
        self._replicas = replicas
        self._shapes = shapes
        self._dead = np.zeros(len(replicas.rates), dtype=bool)

    def advance(self, inputs: Floats, targets: Floats, which: NDArray[np.int64]) -> Advanced:
        """Train every replica through a block of steps."""
        count, steps, batch_size = len(self._dead), inputs.shape[1], inputs.shape[3]
        # a replica that broke in an earlier block counts as broken at the first step of this one, and is not trained
        found = Advanced(np.full((count, steps), np.nan), np.where(self._dead, 0, -1).astype(np.int64))
        alive = np.flatnonzero(~self._dead)
        rows = alive[np.argsort(which[alive], kind="stable")]
        program = self._programs.of(self._programs.training(batch_size))
        program.train(rows, which[rows], inputs, targets, self._replicas, into=found)
        self._replicas.done += steps
        self._dead |= found.broke >= 0
        return found

    def evaluate(self, inputs: Floats, targets: Floats, which: NDArray[np.int64]) -> Scores:
        """Score every replica."""
        count = len(self._dead)
        program = self._programs.of(EVALUATION)
        scores = Scores(np.zeros(count), np.zeros(count), np.zeros(count))
        for seed in range(inputs.shape[0]):
            rows = np.flatnonzero(which == seed)
            if len(rows):
                x, y = _block(inputs[seed]), _block(targets[seed])
                program.evaluate(rows, x, y, self._replicas.weights, into=scores)
        return scores

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these replicas alone, in this order."""
        chosen = list(rows)
        self._replicas = self._replicas.keep(chosen)
        self._dead = self._dead[chosen]

    def trained(self, rows: Sequence[int]) -> list[Trained]:
        """Copy some replicas, each as a row of all its tensors."""
        return [self._replicas.weights[row].copy() for row in rows]

    def parameters(self) -> list[dict[str, Floats]]:
        """Copy each replica's parameters, by name."""
        entry = self._programs.of(EVALUATION).entry
        places: dict[str, tuple[int, int]] = {}
        for layout, offset in ((entry.trained, 0), (entry.frozen, entry.trained_row)):
            for name, count in layout:
                places[name] = (offset, offset + count)
                offset += count
        return [
            {name: row[slice(*places[name])].reshape(shape).copy() for name, shape in self._shapes}
            for row in self._replicas.weights
        ]

    def tensors(self, rows: Sequence[int]) -> list[dict[str, NDArray[np.generic]]]:
        """Copy the tensors of some replicas by path; beside parameters, a program has constants alone."""
        found = self.parameters()
        return [dict(found[row]) for row in rows]


def _block(array: Floats) -> Floats:
    return np.ascontiguousarray(array, dtype=np.float32)


class Programs:
    """The units of one model: each found in the cache, or else traced, built and proved, when it is first needed.

    Args:
        blueprint: the model's structure.
        isa_name: the instruction set, if not the one of `build.chosen_isa`.
        replicas: how many share a vector, if not as many as `units.sharing` says.
        longest: time steps of the longest sequence that is trained or evaluated.

    Attributes:
        isa: the instruction set.

    Raises:
        Refused: the engine cannot carry the cell.
    """

    def __init__(
        self, blueprint: Blueprint, isa_name: str | None = None, replicas: int | None = None, longest: int = LONGEST
    ) -> None:
        self.isa = build.chosen_isa(isa_name)
        self._blueprint = blueprint
        self._replicas = replicas
        self._longest = longest
        self._model = blueprint.build("lanes", 0)
        with unoptimised(self._model):
            self._what = identity(blueprint, self.isa)
        self._lowered: Lowered | None = None
        self._steady = False
        self._seconds = 0.0
        self._ready: dict[Unit, Program] = {}

    def training(self, batch_size: int) -> Unit:
        """Choose the unit that trains batches of this size."""
        return training(batch_size, self.isa.name, self._replicas)

    def of(self, unit: Unit) -> Program:
        """Get the program of a unit.

        Raises:
            Refused: the engine cannot carry the cell, or this processor lacks the instruction set.
        """
        if unit not in self._ready:
            program = self.made(unit)
            if program is None:
                raise Refused(f"this processor has no {self.isa.name}")
            self._ready[unit] = program
        return self._ready[unit]

    def made(self, unit: Unit) -> Program | None:
        """Get the program of a unit; None if it was built for another processor than this one.

        Raises:
            Refused: the engine cannot carry the cell, or nothing can be built on this machine.
        """
        with unoptimised(self._model):
            return self._made(unit)

    def _made(self, unit: Unit) -> Program | None:
        compiler = build.find_compiler()
        what = f"{self._what}-{unit.name}"
        name = None if compiler is None else f"{what}-{short(' '.join((compiler.version, *compiler.flags(self.isa))))}"
        # look for it: under its full key, or by whichever compiler it was built, if there is none here
        user = cache.user_cache()
        for place in (user, cache.temporary_cache() if user is None else None):
            entry = None if place is None else place.find(name) if name else place.find_any(f"{what}-")
            if place is not None and entry is not None:
                return self._loaded(place, name, self._checked(place, name, entry), unit)
        if compiler is None or name is None:
            raise Refused(_without_compiler(user))
        self._refuse_memory()
        # build it: in the user's folder, or in a temporary one if that has no room
        problem = "no folder to build in"
        for place in (user, cache.temporary_cache()):
            if place is None:
                continue
            try:
                return self._loaded(place, name, self._built(place, name, compiler, unit), unit)
            except OSError as error:
                problem = f"no room to build in ({error})"
        raise Refused(problem)

    def _refuse_memory(self) -> None:
        """Look at every step of the longest sequence: once, for all units.

        Raises:
            Refused: they are not alike.
        """
        if not self._steady:
            refuse_memory(self._blueprint.build("lanes", 0), self._blueprint.input_size, self._longest)
            self._steady = True

    def _checked(self, place: Cache, name: str | None, entry: CacheEntry) -> CacheEntry:
        """Check the steps of the longest sequence, if an entry was only checked for shorter ones.

        Raises:
            Refused: they are not alike. It is not stored: shorter sequences may be.
        """
        if entry.refused is not None or entry.steps >= self._longest:
            return entry
        self._refuse_memory()
        entry = replace(entry, steps=self._longest)
        _remember(place, name, entry)
        return entry

    def _built(self, place: Cache, name: str, compiler: build.Compiler, unit: Unit) -> CacheEntry:
        """Trace, lower and compile a unit, and store the entry; a refusal is stored, too."""
        try:
            lowered = self._text()
            begun = time.perf_counter()
            with place.workshop() as folder:
                shared_object = build.compile_program(unit.texts(lowered.source), compiler, self.isa, folder)
        except RefusedOnce:
            raise  # not stored: it may not happen again
        except Refused as refusal:
            place.store(name, CacheEntry(refused=str(refusal)))
            raise
        except OSError:
            raise  # the caller tries another folder
        except Exception as error:  # a fault of lanes itself must not end an experiment that `stack` can run
            raise Refused(f"lanes could not compile it ({type(error).__name__}: {error})".splitlines()[0]) from error
        entry = CacheEntry(
            object=hashlib.sha256(shared_object).hexdigest(),
            compiler=compiler.version,
            trained=tuple(lowered.trained),
            frozen=tuple(lowered.frozen),
            row=lowered.row,
            trained_row=lowered.trained_row,
            steps=self._longest,
            seconds=(self._seconds, time.perf_counter() - begun),
        )
        place.store(name, entry, shared_object)
        return entry

    def _text(self) -> Lowered:
        """Trace and lower the model: once, for all units."""
        if self._lowered is None:
            # imported here, because tracing takes long to import and a cell in the cache does not need it
            from cellbench.engines.lanes.code.lower import lower
            from cellbench.engines.lanes.graph.trace import trace

            begun = time.perf_counter()
            self._lowered = lower(trace(self._blueprint.build("lanes", 0), self._blueprint.input_size))
            self._seconds = time.perf_counter() - begun
        return self._lowered

    def _loaded(self, place: Cache, name: str | None, entry: CacheEntry, unit: Unit) -> Program | None:
        """Load the program of an entry, and prove it now if it was never proved."""
        if entry.refused is not None:
            raise Refused(entry.refused)
        # built for another processor: it can be neither loaded nor proved here
        if not build.runs_here(self.isa):
            return None
        content = place.object(entry)
        if content is None:
            raise OSError("the shared object is gone")
        program = Program(content, entry, unit)
        # the first process that can run it proves it, and stores the result for all others
        if entry.proved is None:
            try:
                proved = prove(program, self._blueprint)
            except RefusedOnce:
                raise
            except Refused as refusal:
                _remember(place, name, CacheEntry(refused=str(refusal)))
                raise
            program.entry = replace(entry, proved=proved)
            _remember(place, name, program.entry)
        return program


def _without_compiler(user: Cache | None) -> str:
    """Say what to do where nothing can be compiled."""
    old = ""
    if user is not None and user.older():
        old = (
            f"; what {user.folder} holds is of an older format than {cache.FORMAT}: `cellbench build` on a machine "
            "with a compiler fills it anew"
        )
    return f"no C++ compiler: install g++ or clang++, or `pip install ziglang`, to be ten times faster{old}"


def _remember(place: Cache, name: str | None, entry: CacheEntry) -> None:
    """Store the result of a proof. With a cache that can only be read, each process proves again."""
    if name is not None:
        try:
            place.store(name, entry)
        except OSError:
            return


def together(batch_size: int) -> int:
    """Count the replicas that are trained at a time on this machine: those that share a vector."""
    return sharing(batch_size, build.chosen_isa().name)


def prepare(
    blueprint: Blueprint,
    *,
    optimizer: Optimizer,
    clip_norm: float | None,
    batch_sizes: Sequence[int] = USUAL_BATCHES,
    longest: int = LONGEST,
    isa: str | None = None,
    replicas: int | None = None,
) -> Engine:
    """Make the lanes engine ready for one model: from the cache in milliseconds, or built in a second or two.

    Args:
        blueprint: the model's structure.
        optimizer, clip_norm: how it is trained; one compiled program serves all optimizers.
        batch_sizes: those that it will be trained at. Another one is made ready when it comes.
        longest: time steps of the longest sequence that is trained or evaluated.
        isa: an instruction set other than this processor's widest (or that of CELLBENCH_ISA).
        replicas: how many share a vector, in place of as many as fill it; 1 to compare with.

    Raises:
        Refused: the engine cannot carry the cell here; the message is the reason in one line.
    """
    programs = Programs(blueprint, isa, replicas, longest)
    for unit in _units(programs, batch_sizes):
        programs.of(unit)
    return LaneEngine(programs, optimizer, clip_norm)


def build_ahead(
    blueprint: Blueprint,
    *,
    batch_sizes: Sequence[int] = USUAL_BATCHES,
    isa: str | None = None,
    longest: int = LONGEST,
) -> str:
    """Compile a cell into the cache, for this processor or for another one; see `prepare`.

    Returns:
        The instruction set, and whether the programs were proved or will be where they run.

    Raises:
        Refused: the cell cannot be compiled; the message is the reason in one line.
    """
    programs = Programs(blueprint, isa, longest=longest)
    made = [programs.made(unit) for unit in _units(programs, batch_sizes)]
    return f"{programs.isa}, {'to be proved where it runs' if None in made else 'proved'}"


def _units(programs: Programs, batch_sizes: Sequence[int]) -> list[Unit]:
    """List the units for some batch sizes; what trains comes first, since its proof says more."""
    return [*dict.fromkeys(programs.training(batch_size) for batch_size in batch_sizes), EVALUATION]
