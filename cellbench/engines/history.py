"""Which cells earlier versions of the engines were wrong about; see `cellbench.records.versions`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cellbench.engines.engine import Refused
from cellbench.engines.lanes.graph.steady import refuse_memory
from cellbench.model import Blueprint, Traits, seeded, traits_of
from cellbench.plugins import contained
from cellbench.records import RIGHT_SINCE


def traits_among(blueprints: Sequence[Blueprint], steps: int, engines: Iterable[str]) -> list[str]:
    """Measure which of the traits that engines were ever wrong about a cell has.

    Args:
        blueprints: the cell at its hidden sizes.
        steps: time steps of the longest sequence that was trained or evaluated.
        engines: that trained it.

    Returns:
        Names in `cellbench.records.RIGHT_SINCE`.

    Raises:
        Exception: whatever making or running the cell raises.
    """
    united = Traits()
    with contained():
        for blueprint in blueprints:
            united |= traits_of(blueprint)
        names = [name for name in RIGHT_SINCE if getattr(united, name, None)]
        if "lanes" in engines and not names:
            try:
                with seeded("memory"):
                    refuse_memory(blueprints[-1].build("lanes", 0), blueprints[-1].input_size, steps)
            except Refused:
                names.append("memory")
    return names
