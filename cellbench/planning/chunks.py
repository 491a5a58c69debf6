"""The replicas to train, cut into chunks of a few seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from cellbench.engines import Choice, together
from cellbench.experiment import Experiment
from cellbench.planning import devices
from cellbench.planning.cost import Guess
from cellbench.records import CPU, Chunk, Planned

CHUNK_SECONDS = 4.0
"""Seconds that a chunk should take: long compared with handing it out, short compared with a whole run."""


_MOST = {"lanes": 256, "stack": 32, "reference": 8}
"""Replicas that a chunk may hold."""


def _width(seconds: float, rates: int, group: int, most: int) -> int:
    """Choose how many replicas a chunk should hold.

    Args:
        seconds: that one replica takes.
        rates: learning rates; whole seeds share their data.
        group: replicas that the engine trains at a time; fewer take as long, so a chunk holds whole groups.
        most: replicas that it may hold.
    """
    affordable = min(int(CHUNK_SECONDS / seconds), most)
    whole = math.lcm(rates, group)
    if whole <= affordable:
        return affordable // whole * whole
    # no whole seeds and groups together: a group is a matter of speed, a seed one of drawing its data twice
    return max(1, affordable // group) * group if group > 1 else min(rates, most)


def chunks(
    experiment: Experiment, selected: Sequence[Planned], engines: Mapping[str, Choice], done: frozenset[str]
) -> list[Chunk]:
    """Cut the replicas to train into chunks of a few seconds, the longest first, so that workers stay busy."""
    cut: list[Chunk] = []
    guess = Guess(experiment.task, experiment.settings)
    seen = set(done)
    for p in selected:
        missing = []
        for r in p.replicas:
            if r.key not in seen:
                seen.add(r.key)  # two labels may ask for one replica
                missing.append(r)
        if not missing:
            continue
        engine, device = engines[p.cell.label].engine, engines[p.cell.label].device
        seconds = guess.seconds(p, engine)
        if engine == "stack" and device != CPU:
            width = devices.stack_width(experiment, p, device)
        else:
            group = together(engine, p.point.batch_size)
            width = _width(seconds, len(experiment.rates(p.cell)), group, _MOST[engine])
        for start in range(0, len(missing), width):
            replicas = tuple(missing[start : start + width])
            cost = seconds * len(replicas)
            cut.append(
                Chunk(
                    p.cell, p.point, p.fit.hidden_size, experiment.settings, engine, replicas, cost=cost,
                    keep_weights=experiment.keys.keep == "weights", device=device,
                )
            )  # fmt: skip
    return longest_first(cut)


def longest_first(cut: Sequence[Chunk]) -> list[Chunk]:
    """Sort chunks by their cost."""
    return sorted(cut, key=lambda chunk: -chunk.cost)
