"""Try lanes and stack on cells that each have one trait of cells that people write: a Markdown table.

    python benchmarks/traits.py [STEPS]

The columns are, for each cell of tests/helpers/trait_cells.py: the largest difference of a loss from the reference
engine's over STEPS training steps (200) at hidden 20, bits 8, batch 16, Adam with rate 0.003 and clipping to 1; that of
the reference engine from a plain loop in double precision, which is what rounding alone does (empty: the cell asks for
single precision); the steps of all replicas per second of a core, by lanes and by stack (32 replicas, the better of two
runs in one process); and how many times as fast lanes is. Or the reason for which an engine refuses the cell.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from cellbench.engines import OPTIMIZERS, Refused, prepare
from cellbench.engines.lanes.cache import FOLDER_VARIABLE
from cellbench.model import Blueprint
from tests.helpers.lanes import addition
from tests.helpers.oracle import plain_loop_in_double as exact
from tests.helpers.trait_cells import TRAITS

REPLICAS, BITS, BATCH, HIDDEN, RATE = 32, 8, 16, 20, 0.003


def speed(ready: Any, plan: Blueprint, steps: int) -> float:
    """Time a block of steps; the better of two runs."""
    x, y = addition(1, steps, bits=BITS, batch=BATCH)
    which = np.zeros(REPLICAS, np.int64)
    best = np.inf
    for _ in range(2):
        replicas = ready.begin([plan.build("speed", seed) for seed in range(REPLICAS)], [RATE] * REPLICAS)
        replicas.advance(x[:, :1], y[:, :1], which)
        begun = time.process_time()
        replicas.advance(x, y, which)
        best = min(best, time.process_time() - begun)
    return REPLICAS * steps / best


def row(cell: Any, steps: int) -> str:
    """Write one line of the table."""
    plan = Blueprint(cell, cell.__name__, (), 2, HIDDEN, 1)
    x, y = addition(1, steps, bits=BITS, batch=BATCH)
    losses, speeds = {}, {}
    for engine, timed in (("reference", 0), ("lanes", 40), ("stack", 6)):
        try:
            ready = prepare(engine, plan, OPTIMIZERS["adam"], 1.0)
        except Refused as refusal:
            speeds[engine] = str(refusal)
            continue
        if engine != "stack":
            alone = ready.begin([plan.build("test", 0)], [RATE])
            losses[engine] = alone.advance(x, y, np.zeros(1, np.int64)).losses[0]
        if timed:
            speeds[engine] = speed(ready, plan, timed)
    both = [speeds["lanes"], speeds["stack"]]
    if "lanes" not in losses:
        return f"| {cell.__name__} | refused: {both[0]} | | | | |"
    gap = np.abs(losses["lanes"] - losses["reference"]).max()
    try:
        rounding = f"{np.abs(exact(plan.build('test', 0), (x, y), rate=RATE) - losses['reference']).max():.0e}"
    except RuntimeError as error:  # types that do not go together
        rounding = ""
        print(f"{cell.__name__}: {str(error).splitlines()[0]}", file=sys.stderr)
    if isinstance(both[1], float):
        stack = f"{both[1]:,.0f} | {both[0] / both[1]:.0f}"
    else:
        stack = f"refused: {both[1].splitlines()[0].split(' (')[0]} | "
    return f"| {cell.__name__} | {gap:.0e} | {rounding} | {both[0]:,.0f} | {stack} |"


def main() -> None:
    torch.set_num_threads(1)
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print("| cell | lanes from reference | reference from double precision | lanes, steps/s | stack, steps/s | times |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for cell in TRAITS:
        print(row(cell, steps), flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ[FOLDER_VARIABLE] = folder
        main()
