"""The CPU engine: a cell is traced once, becomes C++, and trains any number of replicas as fast as hand-written code.

The way of a cell through the modules: `tape` (what does it compute, and is it in the cache?), `trace` (two graphs),
`lower` with the tables of `operations` and `products` (C++), `build` (a shared object), `cache` (kept), `program`
(loaded), `proof` (checked against autograd), `engine` (trains).
"""

from __future__ import annotations

from cellbench.engines.engine import Engine, Refused
from cellbench.engines.optimizers import Optimizer
from cellbench.model.model import Blueprint


def prepare(blueprint: Blueprint, *, optimizer: Optimizer, clip_norm: float | None, isa: str | None = None) -> Engine:
    """The engine for one model: from the cache in milliseconds, else built in a second or two.

    Args:
        blueprint: the model's structure.
        optimizer, clip_norm: how it is trained; the compiled program serves all of them.
        isa: an instruction set other than this processor's widest (or that of CELLBENCH_ISA).

    Raises:
        Refused: in one line, what stands in the way.
    """
    from cellbench.engines.lanes.engine import LaneEngine, program_for

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
    from cellbench.engines.lanes.engine import program_for

    program, chosen = program_for(blueprint, isa)
    return f"{chosen}, {'proved' if program is not None else 'to be proved where it runs'}"
