"""Which engine trains a cell: the one asked for, or the fastest that can carry it, with the reason."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellbench.engines.device import FAILURES
from cellbench.engines.engine import LONGEST, USUAL_BATCHES, Engine, Refused
from cellbench.engines.optimizers import Optimizer
from cellbench.errors import CellError
from cellbench.model import Blueprint, generators_kept, one_thread
from cellbench.plugins import contained, kept
from cellbench.records import CPU
from cellbench.wording import described

if TYPE_CHECKING:  # what compiles is imported where it is asked for, as every engine
    from cellbench.engines.lanes.compiled import Programs
    from cellbench.engines.lanes.pool import Compilers


def fastest_first(hidden_size: int, device: str = CPU) -> tuple[str, ...]:
    """List the engines by their speed on a device, fastest first, for a cell whose largest hidden size is this.

    As `benchmarks/engines.py --sizes` measured (numbers in docs/engines.md), lanes leads at every size up to 768 units.
    A stack of 32 replicas is faster than one replica at a time up to 128 units.
    """
    if device != CPU:
        return ("stack", "reference")
    return ("lanes", "stack", "reference") if hidden_size <= 128 else ("lanes", "reference", "stack")


TRAINED = "trained already"
"""The reason for an engine by which all that is planned of a cell was trained before."""


@dataclass(frozen=True)
class Choice:
    """The engine of one cell, the reason for it (one line, empty if there is nothing to say), and its device."""

    engine: str
    reason: str
    device: str = CPU

    @property
    def named(self) -> str:
        """The engine, with its device if that is a card."""
        return self.engine if self.device == CPU else f"{self.engine} on {self.device}"

    @property
    def surprising(self) -> bool:
        """Whether the user should hear the reason: a faster engine refused the cell, or the cell cannot start."""
        return self.reason not in ("", "asked for", TRAINED)


def together(name: str, batch_size: int) -> int:
    """Count the replicas that the named engine trains at a time; a smaller group takes as long as a full one."""
    found: int = importlib.import_module(f"cellbench.engines.{name}").together(batch_size)
    return found


def prepare(
    name: str,
    blueprint: Blueprint,
    optimizer: Optimizer,
    clip_norm: float | None,
    batch_sizes: Sequence[int] = USUAL_BATCHES,
    longest: int = LONGEST,
    device: str = CPU,
    begun: Programs | None = None,
) -> Engine:
    """Make the named engine ready for one model, at these batch sizes and on sequences of up to `longest` steps.

    Args:
        name: of the engine.
        blueprint: the model's structure.
        optimizer, clip_norm, batch_sizes, longest: of the experiment.
        device: `cpu` or `cuda`; lanes computes on the CPU alone.
        begun: what was begun for this model, of `Begun.programs`.

    Raises:
        Refused: the engine cannot carry the cell.
    """
    module = importlib.import_module(f"cellbench.engines.{name}")
    more: dict[str, Any] = {} if device == CPU else {"device": device}
    if more and name == "lanes":
        raise Refused("it computes on the CPU alone")
    if begun is not None:
        more["begun"] = begun
    with _undisturbed(blueprint):
        engine: Engine = module.prepare(
            blueprint, optimizer=optimizer, clip_norm=clip_norm, batch_sizes=batch_sizes, longest=longest, **more
        )
    return engine


@contextmanager
def _undisturbed(blueprint: Blueprint) -> Iterator[None]:
    """Leave torch, and the cell's modules, as they were before the block."""
    with kept(blueprint.origin), generators_kept(), one_thread():
        yield


@dataclass(frozen=True)
class Begun:
    """A cell that compilers work on, at all its hidden sizes.

    Attributes:
        programs: one per hidden size.
    """

    programs: tuple[Programs, ...]

    @property
    def awaited(self) -> list[Future[Any]]:
        """The compilers that still run."""
        return [f for programs in self.programs for f in programs.compiling if not f.done()]


def begin(
    wanted: str,
    blueprints: Sequence[Blueprint],
    optimizer: Optimizer,
    batch_sizes: Sequence[int],
    longest: int,
    pool: Compilers,
) -> Begun | None:
    """Trace a cell, and begin to compile what the cache lacks of it on the threads of `pool`.

    Args:
        wanted, blueprints, optimizer, batch_sizes, longest: as for `choose`.
        pool: threads that wait for compilers.

    Returns:
        None if no engine compiles the cell, or tracing it fails: `choose` says why.
    """
    if wanted not in ("auto", "lanes") or optimizer.rule is None:
        return None
    lanes = importlib.import_module("cellbench.engines.lanes")
    found: list[Programs] = []
    try:
        with contained():
            for blueprint in blueprints:
                with _undisturbed(blueprint):
                    found.append(lanes.begin(blueprint, pool, batch_sizes=batch_sizes, longest=longest))
    except Exception:
        stuck = True
    else:
        stuck = any(programs.stuck for programs in found)
    begun = Begun(tuple(found))
    if stuck:
        for future in begun.awaited:
            future.cancel()
        return None
    return begun


def choose(
    wanted: str,
    blueprints: Sequence[Blueprint],
    optimizer: Optimizer,
    clip_norm: float | None,
    batch_sizes: Sequence[int] = USUAL_BATCHES,
    longest: int = LONGEST,
    device: str = CPU,
    begun: Begun | None = None,
) -> Choice:
    """Choose one engine for a cell at all its hidden sizes, so that two engines never train one cell.

    Args:
        wanted: `auto`, or an engine's name.
        blueprints: one per hidden size.
        optimizer, clip_norm, batch_sizes: of the experiment.
        longest: time steps of the longest sequence that is trained or evaluated.
        device: that it computes on.
        begun: what `begin` returned for the same cell; its compilers are waited for.

    Raises:
        CellError: the engine asked for refuses, or none can carry the cell.
    """
    reasons = []
    # all hidden sizes must be carried by one engine; the largest decides the order
    largest = max(blueprint.hidden_size for blueprint in blueprints)
    for name in fastest_first(largest, device) if wanted == "auto" else (wanted,):
        try:
            with contained():
                for number, blueprint in enumerate(blueprints):
                    programs = begun.programs[number] if begun is not None and name == "lanes" else None
                    prepare(name, blueprint, optimizer, clip_norm, batch_sizes, longest, device, programs)
        except Refused as refusal:
            reasons.append(f"not {name}: {refusal}")
            continue
        except FAILURES as error:
            reasons.append(f"not {name}: {described(error)}")
            continue
        except Exception as error:
            # the cell's own code raised; its replicas will fail with the traceback, whichever engine trains them
            return Choice("reference", f"its code raises {described(error, 400)}")
        return Choice(name, "asked for" if wanted != "auto" else "; ".join(reasons), device)
    what = blueprints[0].origin
    if wanted == "auto":
        raise CellError(f"{what}: no engine can carry it: {'; '.join(reasons)}")
    raise CellError(f"{what}: the engine asked for cannot carry it: {reasons[0]}. Use `engine: auto`.")
