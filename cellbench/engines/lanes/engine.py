"""The lanes engine: finds or builds the program of a cell, and trains replicas with it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cellbench.engines.engine import LONGEST, Advanced, Engine, Refused, RefusedOnce, Scores, Trained
from cellbench.engines.lanes import build, cache
from cellbench.engines.lanes.cache import Cache, CacheEntry
from cellbench.engines.lanes.graph.script import unoptimised
from cellbench.engines.lanes.graph.steady import refuse_memory
from cellbench.engines.lanes.identity import identity, short
from cellbench.engines.lanes.program import Program, Rows, Rule, aligned
from cellbench.engines.lanes.proof import prove
from cellbench.engines.optimizers import Optimizer
from cellbench.model import Blueprint, Model
from cellbench.task import Floats

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

    def __init__(self, program: Program, isa: str, optimizer: Optimizer, clip_norm: float | None) -> None:
        self.program = program
        self.isa = isa
        self.compiler = program.entry.compiler
        self._slots = optimizer.slots
        kind, names = _CONSTANTS[optimizer.name]
        self._rule = Rule(kind, np.array([optimizer.constants[name] for name in names]), clip_norm or 0.0)

    def begin(self, models: Sequence[Model], learning_rates: Sequence[float]) -> LaneReplicas:
        """Start replicas at the weights of `models`, each with its learning rate."""
        shapes = [(name, tuple(p.shape)) for name, p in models[0].named_parameters()] if models else []
        return self._replicas([self.program.row_of(model) for model in models], learning_rates, shapes)

    def resume(self, trained: Sequence[Trained]) -> LaneReplicas:
        """Take trained replicas back, to evaluate them."""
        rows = [row for row in trained if isinstance(row, np.ndarray)]
        assert len(rows) == len(trained)
        return self._replicas(rows, [0.0] * len(rows), [])

    def _replicas(
        self, rows: Sequence[Floats], rates: Sequence[float], shapes: Sequence[tuple[str, tuple[int, ...]]]
    ) -> LaneReplicas:
        entry = self.program.entry
        weights = aligned(len(rows), entry.row)
        for place, row in zip(weights, rows, strict=True):
            place[:] = row
        slots = aligned(len(rows), self._slots * entry.trained_row)
        return LaneReplicas(self.program, Rows(self._rule, weights, slots, np.array(rates, dtype=np.float64)), shapes)


class LaneReplicas:
    """Replicas in training; see `cellbench.engines.engine.Replicas`.

    Args:
        program: the compiled cell.
        replicas: their numbers.
        shapes: name and shape of each parameter.
    """

    def __init__(self, program: Program, replicas: Rows, shapes: Sequence[tuple[str, tuple[int, ...]]]) -> None:
        self._program = program
        self._replicas = replicas
        self._shapes = shapes
        self._dead = np.zeros(len(replicas.rates), dtype=bool)

    def advance(self, inputs: Floats, targets: Floats, which: NDArray[np.int64]) -> Advanced:
        """Train every replica through a block of steps."""
        count, steps = len(self._dead), inputs.shape[1]
        # a replica that broke in an earlier block counts as broken at the first step of this one, and is not trained
        found = Advanced(np.full((count, steps), np.nan), np.where(self._dead, 0, -1).astype(np.int64))
        for seed in range(inputs.shape[0]):
            rows = np.flatnonzero(which == seed)
            if len(rows):
                x, y = _block(inputs[seed]), _block(targets[seed])
                self._program.train(rows, x, y, self._replicas, into=found)
        self._replicas.done += steps
        self._dead |= found.broke >= 0
        return found

    def evaluate(self, inputs: Floats, targets: Floats, which: NDArray[np.int64]) -> Scores:
        """Score every replica."""
        count = len(self._dead)
        scores = Scores(np.zeros(count), np.zeros(count), np.zeros(count))
        for seed in range(inputs.shape[0]):
            rows = np.flatnonzero(which == seed)
            if len(rows):
                x, y = _block(inputs[seed]), _block(targets[seed])
                self._program.evaluate(rows, x, y, self._replicas.weights, into=scores)
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
        entry = self._program.entry
        places: dict[str, tuple[int, int]] = {}
        for layout, offset in ((entry.trained, 0), (entry.frozen, entry.trained_row)):
            for name, count in layout:
                places[name] = (offset, offset + count)
                offset += count
        return [
            {name: row[slice(*places[name])].reshape(shape).copy() for name, shape in self._shapes}
            for row in self._replicas.weights
        ]


def _block(array: Floats) -> Floats:
    return np.ascontiguousarray(array, dtype=np.float32)


def program_for(
    blueprint: Blueprint, isa_name: str | None = None, longest: int = LONGEST
) -> tuple[Program | None, build.Isa]:
    """Get the compiled program of a model: from the cache, or else traced, built and proved now.

    Args:
        blueprint: the model's structure.
        isa_name: the instruction set, if not the one of `build.chosen_isa`.
        longest: time steps of the longest sequence that is trained or evaluated.

    Returns:
        The program (None if it was built for another processor than this one), and its instruction set.

    Raises:
        Refused: the engine cannot carry the cell, or nothing can be built on this machine.
    """
    isa = build.chosen_isa(isa_name)
    with unoptimised(blueprint.build("lanes", 0)):
        return _program(blueprint, isa, longest), isa


def _program(blueprint: Blueprint, isa: build.Isa, longest: int) -> Program | None:
    """Do what `program_for` does, for one instruction set."""
    what = identity(blueprint, isa)
    compiler = build.find_compiler()
    name = None if compiler is None else f"{what}-{short(' '.join((compiler.version, *compiler.flags(isa))))}"
    # look for it: under its full key, or by whichever compiler it was built, if there is none here
    user = cache.user_cache()
    for place in (user, cache.temporary_cache() if user is None else None):
        entry = None if place is None else place.find(name) if name else place.find_any(what)
        if place is not None and entry is not None:
            return _loaded(place, name, _checked(place, name, entry, blueprint, longest), blueprint, isa)
    if compiler is None or name is None:
        raise Refused(_without_compiler(user))
    refuse_memory(blueprint.build("lanes", 0), blueprint.input_size, longest)
    # build it: in the user's folder, or in a temporary one if that has no room
    problem = "no folder to build in"
    for place in (user, cache.temporary_cache()):
        if place is None:
            continue
        try:
            return _loaded(place, name, _built(place, name, blueprint, compiler, isa, longest), blueprint, isa)
        except OSError as error:
            problem = f"no room to build in ({error})"
    raise Refused(problem)


def _without_compiler(user: Cache | None) -> str:
    """Say what to do where nothing can be compiled."""
    old = ""
    if user is not None and user.older():
        old = (
            f"; what {user.folder} holds is of an older format than {cache.FORMAT}: `cellbench build` on a machine "
            "with a compiler fills it anew"
        )
    return f"no C++ compiler: install g++ or clang++, or `pip install ziglang`, to be ten times faster{old}"


def _checked(place: Cache, name: str | None, entry: CacheEntry, blueprint: Blueprint, longest: int) -> CacheEntry:
    """Check the steps of the longest sequence, if an entry was only checked for shorter ones.

    Raises:
        Refused: they are not alike. It is not stored: shorter sequences may be.
    """
    if entry.refused is not None or entry.steps >= longest:
        return entry
    refuse_memory(blueprint.build("lanes", 0), blueprint.input_size, longest)
    entry = replace(entry, steps=longest)
    _remember(place, name, entry)
    return entry


def _built(
    place: Cache, name: str, blueprint: Blueprint, compiler: build.Compiler, isa: build.Isa, longest: int
) -> CacheEntry:
    """Trace, lower and compile a cell, and store the entry; a refusal is stored, too."""
    # imported here, because tracing takes long to import and a cell in the cache does not need it
    from cellbench.engines.lanes.code.lower import lower
    from cellbench.engines.lanes.graph.trace import trace

    begun = time.perf_counter()
    try:
        lowered = lower(trace(blueprint.build("lanes", 0), blueprint.input_size))
        traced = time.perf_counter()
        with place.workshop() as folder:
            shared_object = build.compile_program(build.program_texts(lowered.source), compiler, isa, folder)
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
        steps=longest,
        seconds=(traced - begun, time.perf_counter() - traced),
    )
    place.store(name, entry, shared_object)
    return entry


def _loaded(place: Cache, name: str | None, entry: CacheEntry, blueprint: Blueprint, isa: build.Isa) -> Program | None:
    """Load the program of an entry, and prove it now if it was never proved."""
    if entry.refused is not None:
        raise Refused(entry.refused)
    # built for another processor: it can be neither loaded nor proved here
    if not build.runs_here(isa):
        return None
    content = place.object(entry)
    if content is None:
        raise OSError("the shared object is gone")
    program = Program(content, entry)
    # the first process that can run it proves it, and stores the result for all others
    if entry.proved is None:
        try:
            proved = prove(program, blueprint)
        except RefusedOnce:
            raise
        except Refused as refusal:
            _remember(place, name, CacheEntry(refused=str(refusal)))
            raise
        program.entry = replace(entry, proved=proved)
        _remember(place, name, program.entry)
    return program


def _remember(place: Cache, name: str | None, entry: CacheEntry) -> None:
    """Store the result of a proof. With a cache that can only be read, each process proves again."""
    if name is not None:
        try:
            place.store(name, entry)
        except OSError:
            return


def prepare(
    blueprint: Blueprint,
    *,
    optimizer: Optimizer,
    clip_norm: float | None,
    longest: int = LONGEST,
    isa: str | None = None,
) -> Engine:
    """Make the lanes engine ready for one model: from the cache in milliseconds, or built in a second or two.

    Args:
        blueprint: the model's structure.
        optimizer, clip_norm: how it is trained; one compiled program serves all optimizers.
        longest: time steps of the longest sequence that is trained or evaluated.
        isa: an instruction set other than this processor's widest (or that of CELLBENCH_ISA).

    Raises:
        Refused: the engine cannot carry the cell here; the message is the reason in one line.
    """
    program, chosen = program_for(blueprint, isa, longest)
    if program is None:
        raise Refused(f"this processor has no {chosen.name}")
    return LaneEngine(program, str(chosen), optimizer, clip_norm)


def build_ahead(blueprint: Blueprint, *, isa: str | None = None, longest: int = LONGEST) -> str:
    """Compile a cell into the cache, for this processor or for another one; see `prepare`.

    Returns:
        The instruction set, and whether the program was proved or will be where it runs.

    Raises:
        Refused: the cell cannot be compiled; the message is the reason in one line.
    """
    program, chosen = program_for(blueprint, isa, longest)
    return f"{chosen}, {'proved' if program is not None else 'to be proved where it runs'}"
