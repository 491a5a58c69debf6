"""Try lanes on every cell of the PyPI package torchrecurrent and on the built-in ones: a Markdown table.

    python benchmarks/generality.py [STEPS]

The columns are, for each cell: the largest difference of a loss from the reference engine's over STEPS training steps
(300) at hidden 20, bits 8, batch 16, Adam with rate 0.01 and clipping to 1; the same between torch's own float32 and
float64; the error of the proof; seconds for tracing and for the C++ compiler. Or the reason for which the cell is
refused.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import peers
import torch
import torchrecurrent
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from cellbench.cell import Cell
from cellbench.engines import OPTIMIZERS, Refused, lanes, reference
from cellbench.engines.lanes.cache import FOLDER_VARIABLE
from cellbench.errors import CellError
from cellbench.model import Blueprint
from tests.helpers.oracle import plain_loop_in_double

SETTING = peers.Setting(time=8, batch=16, replicas=1)
ADAM = OPTIMIZERS["adam"]


class Adapted(Cell):
    """A cell of torchrecurrent, whose state is one tensor or several."""

    def __init__(self, module: nn.Module, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.module = module
        with torch.no_grad():
            state = module(torch.zeros(1, input_size))
        self.several = isinstance(state, tuple | list)
        self.widths = [leaf.shape[-1] for leaf in (state if self.several else [state])]
        self.output_size = self.widths[0]

    def initial_state(self, batch_size: int) -> Any:
        leaves = tuple(torch.zeros(batch_size, width) for width in self.widths)
        return leaves if self.several else leaves[0]

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        state = self.module(x, state)
        return (state[0], tuple(state)) if self.several else (state, state)


def blueprints() -> dict[str, Blueprint]:
    """Return one blueprint per cell."""

    def adapted(kind: Any) -> Any:
        return lambda input_size, hidden_size: Adapted(kind(input_size, hidden_size), input_size, hidden_size)

    factories = dict(peers.CELLS)
    factories |= {n: adapted(getattr(torchrecurrent, n)) for n in dir(torchrecurrent) if n.endswith("Cell")}
    return {name: Blueprint(factory, name, (), 2, SETTING.hidden, 1) for name, factory in factories.items()}


def row(name: str, plan: Blueprint, steps: int) -> str:
    """Write one line of the table."""
    try:
        plan.build("bench", 0)
    except CellError as error:
        return f"| {name} | not made: {str(error.__cause__).splitlines()[0]} | | | | |"
    try:
        engine: Any = lanes.prepare(plan, optimizer=ADAM, clip_norm=1.0)
    except Refused as refusal:
        return f"| {name} | refused: {refusal} | | | | |"
    x, y = peers.data(SETTING, steps, 1)
    which = np.zeros(1, np.int64)
    plain = reference.prepare(plan, optimizer=ADAM, clip_norm=1.0).begin([plan.build("bench", 0)], [0.01])
    want = plain.advance(x, y, which).losses[0]
    got = engine.begin([plan.build("bench", 0)], [0.01]).advance(x, y, which).losses[0]
    true = plain_loop_in_double(plan.build("bench", 0), (x, y))
    entry = engine.program.entry
    return (
        f"| {name} | {np.abs(got - want).max():.0e} | {np.abs(want - true).max():.0e} | {entry.proved:.0e} "
        f"| {entry.seconds[0]:.2f} | {entry.seconds[1]:.2f} |"
    )


def main() -> None:
    torch.set_num_threads(1)
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    print("| cell | lanes from reference | float32 from float64 | proof | trace, s | compile, s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, plan in blueprints().items():
        print(row(name, plan, steps), flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ[FOLDER_VARIABLE] = folder
        main()
