"""Cells of packages that people use, trained by every engine and in a plain loop by the package's own stepping.

Run by another Python, which has the packages: prints, as JSON, each cell's largest difference of a loss per engine, or
why an engine refuses it.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cellbench import Cell, TorchCell
from cellbench.engines import OPTIMIZERS, Refused, prepare
from cellbench.model import Blueprint, loss

HIDDEN, STEPS, TIME, BATCH, SEEDS = 12, 8, 7, 6, 2
Outputs = Iterator[Tensor]


class _Adapter(Cell):
    """A cell that holds one of a package; `own` steps that one as the package's documentation does, from its start."""

    cell: nn.Module

    def own(self, inputs: Tensor) -> Outputs:
        state: Any = torch.zeros(inputs.shape[1], self.hidden_size)
        for x in inputs:
            output, state = self.cell(x, state)
            yield output


class CfC(_Adapter):
    """ncps: closed-form continuous-time."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        from ncps.torch import CfCCell

        super().__init__(input_size, hidden_size)
        self.cell = CfCCell(input_size, hidden_size, backbone_units=32)

    def forward(self, x: Tensor, h: Tensor) -> Any:
        return self.cell(x, h, 1.0)

    def own(self, inputs: Tensor) -> Outputs:
        state = torch.zeros(inputs.shape[1], self.hidden_size)
        for x in inputs:
            output, state = self.cell(x, state, 1.0)
            yield output


class WiredCfC(CfC):
    """ncps: the same with frozen masks of a wiring."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        from ncps.torch import WiredCfCCell
        from ncps.wirings import AutoNCP

        Cell.__init__(self, input_size, hidden_size, output_size=hidden_size // 4)
        self.cell = WiredCfCCell(input_size, AutoNCP(hidden_size, hidden_size // 4))


class LTC(_Adapter):
    """ncps: liquid time constants; reads its parameters through a dict of its own."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        from ncps.torch import LTCCell
        from ncps.wirings import FullyConnected

        super().__init__(input_size, hidden_size)
        self.cell = LTCCell(FullyConnected(hidden_size), input_size)

    def forward(self, x: Tensor, h: Tensor) -> Any:
        return self.cell(x, h)


class LIF(_Adapter):
    """norse: leaky integrate-and-fire; a hook forbids connections of a neuron with itself."""

    kind = "LIFRecurrentCell"

    def __init__(self, input_size: int, hidden_size: int) -> None:
        import norse.torch as norse

        super().__init__(input_size, hidden_size)
        self.cell = getattr(norse, self.kind)(input_size, hidden_size, dt=0.01)

    def initial_state(self, batch_size: int) -> Any:
        return self.cell.initial_state(torch.zeros(batch_size, self.input_size))  # type: ignore[operator]

    def forward(self, x: Tensor, state: Any) -> Any:
        return self.cell(x, state)

    def own(self, inputs: Tensor) -> Outputs:
        state = None  # norse makes it
        for x in inputs:
            output, state = self.cell(x, state)
            yield output


class LSNN(LIF):
    """norse: with adaptive thresholds."""

    kind = "LSNNRecurrentCell"


class Orthogonal(TorchCell):
    """geotorch: an Elman network whose recurrent matrix stays orthogonal, by buffers of its own."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        import geotorch

        cell = nn.RNNCell(input_size, hidden_size)
        geotorch.orthogonal(cell, "weight_hh")
        super().__init__(cell)
        self.one = [cell]

    def own(self, inputs: Tensor) -> Outputs:
        h = None  # torch makes it
        for x in inputs:
            h = self.one[0](x, h)
            yield h


class LowRank(Orthogonal):
    """geotorch: a GRU whose recurrent matrix has rank 4."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        import geotorch

        cell = nn.GRUCell(input_size, hidden_size)
        geotorch.low_rank(cell, "weight_hh", 4)
        TorchCell.__init__(self, cell)
        self.one = [cell]


class RLeaky(_Adapter):
    """snntorch: a recurrent leaky neuron, behind a linear layer."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        import snntorch

        super().__init__(input_size, hidden_size)
        self.fc = nn.Linear(input_size, hidden_size)
        self.cell = snntorch.RLeaky(beta=0.9, linear_features=hidden_size)

    def initial_state(self, batch_size: int) -> Any:
        return torch.zeros(batch_size, self.hidden_size), torch.zeros(batch_size, self.hidden_size)

    def forward(self, x: Tensor, state: Any) -> Any:
        spikes, membrane = self.cell(self.fc(x), *state)
        return spikes, (spikes, membrane)

    def own(self, inputs: Tensor) -> Outputs:
        spikes, membrane = self.cell.init_rleaky()  # type: ignore[operator]
        for x in inputs:
            spikes, membrane = self.cell(self.fc(x), spikes, membrane)
            yield spikes


class ESN(_Adapter):
    """auto_esn: a frozen reservoir, which keeps its state in an attribute."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        from auto_esn.esn.reservoir.cell import ESNCell

        super().__init__(input_size, hidden_size)
        self.cell = ESNCell(input_size, hidden_size)

    def forward(self, x: Tensor, h: Tensor) -> Any:
        self.cell.hx = h
        h = self.cell(x)
        return h, h

    def own(self, inputs: Tensor) -> Outputs:
        self.cell.hx = None  # type: ignore[assignment]  # auto_esn makes it
        for x in inputs:
            yield self.cell(x)


CELLS: tuple[Callable[..., Any], ...] = (CfC, WiredCfC, LTC, LIF, LSNN, Orthogonal, LowRank, RLeaky, ESN)


def plain_loop(model: Any, x: Tensor, y: Tensor) -> list[float]:
    """Train by torch's Adam, with outputs by the package's own stepping."""
    by, losses = torch.optim.Adam(model.parameters(), lr=0.01), []
    for inputs, targets in zip(x, y, strict=True):
        by.zero_grad()
        value = loss(torch.stack([model.readout(output) for output in model.cell.own(inputs)]), targets)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        by.step()
        losses.append(value.item())
    return losses


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    draw = np.random.default_rng(3)
    x, y = (draw.integers(0, 2, (1, STEPS, TIME, BATCH, n)).astype(np.float32) for n in (2, 1))
    found: dict[str, dict[str, Any]] = {}
    for factory in CELLS:
        plan = Blueprint(factory, factory.__name__, (), 2, HIDDEN, 1)
        models = [plan.build(seed) for seed in range(SEEDS)]
        wanted = np.array([plain_loop(model, torch.from_numpy(x[0]), torch.from_numpy(y[0])) for model in models])
        found[factory.__name__] = {"learns": float(np.abs(wanted[:, -1] - wanted[:, 0]).max())}
        for engine in ("reference", "stack", "lanes"):
            try:
                ready = prepare(engine, plan, OPTIMIZERS["adam"], 1.0, longest=TIME)
            except Refused as refusal:
                found[factory.__name__][engine] = str(refusal)
                continue
            replicas = ready.begin([plan.build(seed) for seed in range(SEEDS)], [0.01] * SEEDS)
            losses = replicas.advance(x, y, np.zeros(SEEDS, np.int64)).losses
            found[factory.__name__][engine] = float(np.abs(losses - wanted).max())
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
