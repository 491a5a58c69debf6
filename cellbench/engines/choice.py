"""Which engine trains a cell: the one asked for, or the fastest that can carry it, with the reason."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass

from cellbench.engines.device import FAILURES
from cellbench.engines.engine import LONGEST, USUAL_BATCHES, Engine, Refused
from cellbench.engines.optimizers import Optimizer
from cellbench.errors import CellError
from cellbench.model import Blueprint, generators_kept
from cellbench.plugins import contained, kept
from cellbench.records import CPU
from cellbench.wording import described


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
) -> Engine:
    """Make the named engine ready for one model, at these batch sizes and on sequences of up to `longest` steps.

    Args:
        name: of the engine.
        blueprint, optimizer, clip_norm, batch_sizes, longest: see `cellbench.engines.engine`.
        device: `cpu` or `cuda`; lanes computes on the CPU alone.

    Raises:
        Refused: the engine cannot carry the cell.
    """
    module = importlib.import_module(f"cellbench.engines.{name}")
    elsewhere = {} if device == CPU else {"device": device}
    if elsewhere and name == "lanes":
        raise Refused("it computes on the CPU alone")
    with kept(blueprint.origin), generators_kept():
        engine: Engine = module.prepare(
            blueprint,
            optimizer=optimizer,
            clip_norm=clip_norm,
            batch_sizes=batch_sizes,
            longest=longest,
            **elsewhere,
        )
    return engine


def choose(
    wanted: str,
    blueprints: Sequence[Blueprint],
    optimizer: Optimizer,
    clip_norm: float | None,
    batch_sizes: Sequence[int] = USUAL_BATCHES,
    longest: int = LONGEST,
    device: str = CPU,
) -> Choice:
    """Choose one engine for a cell at all its hidden sizes, so that two engines never train one cell.

    Args:
        wanted: `auto`, or an engine's name.
        blueprints: one per hidden size.
        optimizer, clip_norm, batch_sizes: of the experiment.
        longest: time steps of the longest sequence that is trained or evaluated.
        device: that it computes on.

    Raises:
        CellError: the engine asked for refuses, or none can carry the cell.
    """
    reasons = []
    # all hidden sizes must be carried by one engine; the largest decides the order
    largest = max(blueprint.hidden_size for blueprint in blueprints)
    for name in fastest_first(largest, device) if wanted == "auto" else (wanted,):
        try:
            with contained():
                for blueprint in blueprints:
                    prepare(name, blueprint, optimizer, clip_norm, batch_sizes, longest, device)
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
