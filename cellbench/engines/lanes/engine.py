"""The engine behind the protocol: finds or builds the program of a cell, and trains replicas with it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cellbench.engines.engine import Advanced, Engine, Refused, RefusedOnce, Scores
from cellbench.engines.lanes import build, cache
from cellbench.engines.lanes.cache import Cache, Entry
from cellbench.engines.lanes.graph.tape import tape
from cellbench.engines.lanes.program import Program, Rows, Rule, aligned
from cellbench.engines.lanes.proof import prove
from cellbench.engines.optimizers import Optimizer
from cellbench.errors import CellbenchError
from cellbench.model import Blueprint, Model
from cellbench.task import Floats

WIDTH = 64
"""Replicas of a chunk. Any number is as fast; more share a seed's data, fewer lose less when a worker is killed."""
_CONSTANTS = {
    "adam": (0, ("beta1", "beta2", "eps")),
    "adamw": (1, ("beta1", "beta2", "eps", "weight_decay")),
    "sgd": (2, ("momentum",)),
    "rmsprop": (3, ("alpha", "eps")),
}
"""Each optimizer's number in train.h, and the order of its constants there."""


class LaneEngine:
    """One compiled cell with its optimizer; see `cellbench.engines.engine.Engine`."""

    name = "lanes"
    width = WIDTH
    padded = 1

    def __init__(self, program: Program, isa: str, optimizer: Optimizer, clip_norm: float | None) -> None:
        self.program = program
        self.isa = isa
        self.compiler = program.entry.compiler
        self._slots = optimizer.slots
        kind, names = _CONSTANTS[optimizer.name]
        self._rule = Rule(kind, np.array([optimizer.constants[name] for name in names]), clip_norm or 0.0)

    def begin(self, models: Sequence[Model], learning_rates: Sequence[float]) -> LaneReplicas:
        """Replicas at the weights of `models`, each with its learning rate."""
        entry = self.program.entry
        weights = aligned(len(models), entry.row)
        for row, model in zip(weights, models, strict=True):
            row[:] = self.program.row_of(model)
        slots = aligned(len(models), self._slots * entry.trained_row)
        rates = np.array(learning_rates, dtype=np.float64)
        shapes = [(name, tuple(p.shape)) for name, p in models[0].named_parameters()] if models else []
        return LaneReplicas(self.program, self._rule, Rows(weights, slots, rates), shapes)


class LaneReplicas:
    """Replicas in training; see `cellbench.engines.engine.Replicas`."""

    def __init__(
        self, program: Program, rule: Rule, state: Rows, shapes: Sequence[tuple[str, tuple[int, ...]]]
    ) -> None:
        self._program = program
        self._rule = rule
        self._state = state
        self._shapes = shapes
        self._done = 0
        self._dead = np.zeros(len(state.rates), dtype=bool)

    def advance(self, inputs: Floats, targets: Floats, which: NDArray[np.int64]) -> Advanced:
        """Train every replica through a block of steps."""
        count, steps = len(self._dead), inputs.shape[1]
        losses = np.full((count, steps), np.nan)
        broke = np.where(self._dead, 0, -1).astype(np.int64)
        for seed in range(inputs.shape[0]):
            rows = np.flatnonzero(which == seed)
            if len(rows):
                x, y = _block(inputs[seed]), _block(targets[seed])
                self._program.train(rows, x, y, self._state, self._rule, self._done, losses, broke)
        self._done += steps
        self._dead |= broke >= 0
        return Advanced(losses, broke)

    def evaluate(self, inputs: Floats, targets: Floats, which: NDArray[np.int64]) -> Scores:
        """Score every replica."""
        count = len(self._dead)
        scores = Scores(np.zeros(count), np.zeros(count), np.zeros(count))
        for seed in range(inputs.shape[0]):
            rows = np.flatnonzero(which == seed)
            if len(rows):
                x, y = _block(inputs[seed]), _block(targets[seed])
                self._program.evaluate(rows, x, y, self._state.weights, scores)
        return scores

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these replicas alone, in this order."""
        chosen = list(rows)
        self._state = self._state.keep(chosen)
        self._dead = self._dead[chosen]

    def parameters(self) -> list[dict[str, Floats]]:
        """Each replica's parameters by name, copied."""
        entry = self._program.entry
        places: dict[str, tuple[int, int]] = {}
        for layout, offset in ((entry.trained, 0), (entry.frozen, entry.trained_row)):
            for name, count in layout:
                places[name] = (offset, offset + count)
                offset += count
        return [
            {name: row[slice(*places[name])].reshape(shape).copy() for name, shape in self._shapes}
            for row in self._state.weights
        ]


def _block(array: Floats) -> Floats:
    return np.ascontiguousarray(array, dtype=np.float32)


def program_for(blueprint: Blueprint, isa_name: str | None = None) -> tuple[Program | None, build.Isa]:
    """The compiled program of a model: from the cache, or traced, built and proved now.

    Returns:
        The program (None if it was built for a processor unlike this one) and its instruction set.

    Raises:
        Refused: the cell cannot be carried, or nothing can be built here.
    """
    isa = build.chosen_isa(isa_name)
    what = _identity(blueprint, isa)
    compiler = build.find_compiler()
    name = None if compiler is None else f"{what}-{_short(' '.join((compiler.version, *compiler.flags(isa))))}"
    user = cache.user_cache()
    for place in (user, cache.temporary_cache() if user is None else None):
        entry = None if place is None else place.find(name) if name else place.find_any(what)
        if place is not None and entry is not None:
            return _loaded(place, name, entry, blueprint, isa)
    if compiler is None or name is None:
        raise Refused("no C++ compiler: install g++ or clang++, or `pip install ziglang`, to be ten times faster")
    problem = "no folder to build in"
    for place in (user, cache.temporary_cache()):
        if place is None:
            continue
        try:
            return _loaded(place, name, _built(place, name, blueprint, compiler, isa), blueprint, isa)
        except OSError as error:
            problem = f"no room to build in ({error})"
    raise Refused(problem)


def _identity(blueprint: Blueprint, isa: build.Isa) -> str:
    """What a compiled cell depends on, the compiler apart."""
    tapes = []
    for seed in (0, 1):
        try:
            model = blueprint.build("lanes", seed)
            tapes.append((tape(model, blueprint.input_size, batch=1), tape(model, blueprint.input_size, batch=3)))
        except (Refused, CellbenchError):
            raise
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            raise Refused(f"running the cell raised {type(error).__name__}: {lines[0][:200]}") from error
    if tapes[0] != tapes[1]:
        raise Refused("the operations it runs depend on its weights or on the data")
    return _short(repr((build.engine_text(), tapes[0], blueprint.input_size, str(isa))))


def _built(place: Cache, name: str, blueprint: Blueprint, compiler: build.Compiler, isa: build.Isa) -> Entry:
    """Trace, lower, compile; the entry is stored, refusals too."""
    # tracing is what takes long to import, and only needed here
    from cellbench.engines.lanes.code.lower import lower
    from cellbench.engines.lanes.graph.trace import trace

    begun = time.perf_counter()
    try:
        lowered = lower(trace(blueprint.build("lanes", 0), blueprint.input_size))
        traced = time.perf_counter()
        with place.workshop() as folder:
            shared_object = build.compile_program(build.program_texts(lowered.source), compiler, isa, folder)
    except RefusedOnce:
        raise
    except Refused as refusal:
        place.store(name, Entry(refused=str(refusal)))
        raise
    except OSError:
        raise
    except Exception as error:  # a graph that nobody thought of must not end an experiment that `stack` can do
        raise Refused(f"lanes could not compile it ({type(error).__name__}: {error})".splitlines()[0]) from error
    entry = Entry(
        object=hashlib.sha256(shared_object).hexdigest(),
        compiler=compiler.version,
        trained=tuple(lowered.trained),
        frozen=tuple(lowered.frozen),
        row=lowered.row,
        trained_row=lowered.trained_row,
        seconds=(traced - begun, time.perf_counter() - traced),
    )
    place.store(name, entry, shared_object)
    return entry


def _loaded(
    place: Cache, name: str | None, entry: Entry, blueprint: Blueprint, isa: build.Isa
) -> tuple[Program | None, build.Isa]:
    """A program from an entry, proved now if it never was."""
    if entry.refused is not None:
        raise Refused(entry.refused)
    if not build.runs_here(isa):
        return None, isa
    content = place.object(entry)
    if content is None:
        raise OSError("the shared object is gone")
    program = Program(content, entry)
    if entry.proved is None:
        try:
            proved = prove(program, blueprint)
        except RefusedOnce:
            raise
        except Refused as refusal:
            _remember(place, name, Entry(refused=str(refusal)))
            raise
        program.entry = replace(entry, proved=proved)
        _remember(place, name, program.entry)
    return program, isa


def _remember(place: Cache, name: str | None, entry: Entry) -> None:
    """Store a proof's result where that is possible; a cache that can only be read proves anew in each process."""
    if name is not None:
        try:
            place.store(name, entry)
        except OSError:
            return


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def prepare(blueprint: Blueprint, *, optimizer: Optimizer, clip_norm: float | None, isa: str | None = None) -> Engine:
    """The engine for one model: from the cache in milliseconds, else built in a second or two.

    Args:
        blueprint: the model's structure.
        optimizer, clip_norm: how it is trained; the compiled program serves all of them.
        isa: an instruction set other than this processor's widest (or that of CELLBENCH_ISA).

    Raises:
        Refused: in one line, what stands in the way.
    """
    program, chosen = program_for(blueprint, isa)
    if program is None:
        raise Refused(f"this processor has no {chosen.name}")
    return LaneEngine(program, str(chosen), optimizer, clip_norm)


def build_ahead(blueprint: Blueprint, *, isa: str | None = None) -> str:
    """Compile a cell into the cache, possibly for another processor than this one.

    Returns:
        What was built: the instruction set and the compiler, or that it was there already.

    Raises:
        Refused: in one line, what stands in the way.
    """
    program, chosen = program_for(blueprint, isa)
    return f"{chosen}, {'proved' if program is not None else 'to be proved where it runs'}"
