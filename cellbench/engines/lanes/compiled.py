"""The compiled units of one model: each found in the cache, or else traced, built and proved."""

from __future__ import annotations

import hashlib
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from cellbench.engines.engine import LONGEST, Refused, RefusedOnce
from cellbench.engines.lanes import build, cache
from cellbench.engines.lanes.cache import Cache, CacheEntry
from cellbench.engines.lanes.graph.script import unoptimised
from cellbench.engines.lanes.graph.steady import refuse_memory
from cellbench.engines.lanes.graph.tensors import tensors_of
from cellbench.engines.lanes.identity import identity, short
from cellbench.engines.lanes.pool import Compilers
from cellbench.engines.lanes.program import Program
from cellbench.engines.lanes.proof import prove
from cellbench.engines.lanes.units import Unit, evaluation, training
from cellbench.errors import CellError
from cellbench.model import Blueprint, Model

if TYPE_CHECKING:  # what lowers imports what traces, and that takes long
    from cellbench.engines.lanes.code.lower import Lowered


class Programs:
    """The units of one model: each found in the cache, or else traced, built and proved, when it is first needed.

    Args:
        blueprint: the model's structure.
        isa_name: the instruction set, if not the one of `build.chosen_isa`.
        replicas: how many share a vector, if not as many as `units.sharing` says.
        longest: time steps of the longest sequence that is trained or evaluated.

    Attributes:
        isa: the instruction set.
        objective: what the model is trained for.
        evaluation: the unit that evaluates.
        stuck: whether `begin` could not begin: `made` says why.

    Raises:
        Refused: the engine cannot carry the cell.
    """

    def __init__(
        self, blueprint: Blueprint, isa_name: str | None = None, replicas: int | None = None, longest: int = LONGEST
    ) -> None:
        self.isa = build.chosen_isa(isa_name)
        self.objective = blueprint.objective
        self.evaluation = evaluation(self.objective.kind)
        self.stuck = False
        self._blueprint = blueprint
        self._replicas = replicas
        self._longest = longest
        self._model, other = blueprint.build("lanes", 0), blueprint.build("lanes", 1)
        with unoptimised(self._model):
            self._what = identity(blueprint, self.isa)
        # what differs between these two is read by no step, or `identity` had refused the cell
        first, second = tensors_of(self._model).constants, tensors_of(other).constants
        self._constants = {n: t for n, t in first.items() if n in second and torch.equal(t, second[n])}
        self._lowered: Lowered | None = None
        self._steady = False
        self._seconds = 0.0
        self._ready: dict[Unit, Program] = {}
        self._compiling: dict[Unit, Future[tuple[bytes, float]]] = {}

    def refuse_others(self, model: Model) -> None:
        """Check that a model has the constants that were compiled.

        Raises:
            CellError: another number of counts, truth values and the like differs from that of the traced model.
        """
        found = tensors_of(model).constants
        for name, tensor in self._constants.items():
            if name in found and not torch.equal(tensor, found[name]):
                raise CellError(
                    f"{self._blueprint.origin}: {name} differs between seeds, as was seen after it was compiled: "
                    "make it float32, or use `engine: stack`"
                )

    def training(self, batch_size: int) -> Unit:
        """Choose the unit that trains batches of this size."""
        return training(self.objective.kind, batch_size, self.isa.name, self._replicas)

    @property
    def compiling(self) -> list[Future[tuple[bytes, float]]]:
        """What compilers were begun for, and no call of `made` has asked for yet."""
        return list(self._compiling.values())

    def begin(self, unit: Unit, pool: Compilers) -> None:
        """Begin to compile a unit that is not in the cache, while this thread goes on; `made` waits for it.

        Only the compiler is run beside: tracing runs the cell's code and uses torch's generator. What goes wrong here
        is found again, and said, by `made`.
        """
        if unit in self._compiling:
            return
        compiler, place = build.find_compiler(), cache.user_cache()
        if compiler is None or place is None:
            self.stuck = True
            return
        name = self._name(unit, compiler)
        if place.find(name) is not None:
            return
        where = str(place.folder / name)
        begun = pool.begun.get(where)
        if begun is not None and not begun.cancelled():
            self._compiling[unit] = begun
            return
        try:
            with unoptimised(self._model):
                self._refuse_memory()
                lowered = self._text()
        except Exception:
            self.stuck = True
            return
        self._compiling[unit] = pool.begun[where] = pool.submit(
            self._compile, place, compiler, unit, lowered, pool.ended
        )

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
        name = None if compiler is None else self._name(unit, compiler)
        # look for it: under its full key, or by whichever compiler it was built, if there is none here
        user = cache.user_cache()
        for place in (user, cache.temporary_cache() if user is None else None):
            entry = (
                None if place is None else place.find(name) if name else place.find_any(f"{self._what}-{unit.name}-")
            )
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

    def _name(self, unit: Unit, compiler: build.Compiler) -> str:
        """Name the entry of a unit in the cache."""
        return f"{self._what}-{unit.name}-{short(' '.join((compiler.version, *compiler.flags(self.isa))))}"

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
            begun = self._compiling.pop(unit, None)
            if begun is None or begun.cancelled():  # another cell, which began it, has no use for it
                shared_object, seconds = self._compile(place, compiler, unit, lowered)
            else:
                shared_object, seconds = begun.result()
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
            seconds=(self._seconds, seconds),
        )
        place.store(name, entry, shared_object)
        return entry

    def _compile(
        self, place: Cache, compiler: build.Compiler, unit: Unit, lowered: Lowered, ended: threading.Event | None = None
    ) -> tuple[bytes, float]:
        """Compile a unit, unless `ended` is set before; returns the shared object, and the seconds that it took."""
        begun = time.perf_counter()
        with place.workshop() as folder:
            shared_object = build.compile_program(unit.texts(lowered.source), compiler, self.isa, folder, ended)
        return shared_object, time.perf_counter() - begun

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
        program = Program(content, entry, unit, self.objective.tolerance)
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
