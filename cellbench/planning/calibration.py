"""How long a run may take: a few chunks trained for a few steps."""

from __future__ import annotations

import time
from dataclasses import replace

from cellbench.planning.plan import Plan
from cellbench.records.settings import Chunk

STEPS = 20


def estimate(plan: Plan) -> float:
    """Seconds of one core that the plan's chunks may take.

    The dearest chunk of each cell is trained for a few steps, twice to leave start-up out; the guessed costs of the
    others are scaled by what it took.
    """
    from cellbench.training.worker import work

    dearest: dict[str, Chunk] = {}
    for chunk in plan.todo:  # the dearest first
        dearest.setdefault(chunk.cell.label, chunk)
    seconds = 0.0
    for label, chunk in dearest.items():
        settings = chunk.settings
        short = [
            replace(
                chunk,
                settings=replace(
                    settings,
                    train=replace(settings.train, max_steps=steps, stop_when_solved=False),
                    final=replace(settings.final, examples=1, values=(), difficulty=False),
                ),
            )
            for steps in (1, STEPS)
        ]
        took = []
        for part in (short[0], *short):
            started = time.perf_counter()
            work(part)
            took.append(time.perf_counter() - started)
        a_step = max(took[2] - took[1], 1e-6) / (STEPS - 1)
        whole = a_step * settings.train.max_steps
        cost = sum(c.cost for c in plan.todo if c.cell.label == label)
        seconds += whole * cost / chunk.cost
    return seconds
