"""Cells made for tests: odd ones, an adder whose weights are known, and texts of files that hold a cell."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cellbench.cell import Cell


class Adder(Cell):
    """An exact adder, nothing of it trained: an Elman network of three steep sigmoid units.

    With s = a + b + carry the units are u1 = s >= 1, u2 = s >= 2, u3 = s >= 3; the carry is u2, and the sum's bit is
    u1 - u2 + u3, which the harness's linear readout has to find.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, 3)
        self.register_buffer("w", torch.full((2, 3), 100.0))
        self.register_buffer("u", torch.tensor([[0.0] * 3, [100.0] * 3, [0.0] * 3]))
        self.register_buffer("b", -100.0 * torch.tensor([0.5, 1.5, 2.5]))

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, 3)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.sigmoid(x @ self.w + state @ self.u + self.b)  # type: ignore[operator]
        return h, h


class Branching(Cell):
    """An `if` on the data: vmap cannot carry it."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.cell = nn.RNNCell(input_size, hidden_size)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h = self.cell(x, state)
        if h.sum() > 1e9:
            h = h * 2
        return h, h


class Item(Branching):
    """`.item()`: vmap cannot carry it."""

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h = self.cell(x, state)
        return h * (1.0 + 0.0 * h.max().item()), h


class Linear(Cell):
    """A linear recurrence, which a large learning rate blows up to infinity."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h = self.w(x) + self.u(state)
        return h, h


class Raising(Branching):
    """Raises in its first step."""

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        raise RuntimeError("the author's own mistake")


class DictState(Cell):
    """A nested state, and a learnt initial one of the cell's own."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.cell = nn.GRUCell(input_size, hidden_size)
        self.start = nn.Parameter(torch.zeros(1, hidden_size))

    def initial_state(self, batch_size: int) -> Any:
        return {"h": torch.tanh(self.start).expand(batch_size, -1), "extra": [torch.zeros(batch_size, 1)]}

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        h = self.cell(x, state["h"])
        return h, {"h": h, "extra": [state["extra"][0] + x[:, :1]]}


MINE = """\
from cellbench import TorchCell
from torch import nn


def Mine(input_size, hidden_size, nonlinearity="tanh"):
    return TorchCell(nn.RNNCell(input_size, hidden_size, nonlinearity=nonlinearity))
"""

FAILING = """\
import torch
from cellbench import Cell


class Failing(Cell):
    calls = 0

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.w = torch.nn.Linear(input_size + hidden_size, hidden_size)

    def forward(self, x, state):
        Failing.calls += 1
        if Failing.calls > 60:
            raise RuntimeError("the author's own mistake")
        h = torch.tanh(self.w(torch.cat([x, state], 1)))
        return h, h
"""

MISTAKE = 'raise RuntimeError("the author\'s own mistake")'
"""The line of it that raises."""

# after the steps that are taken before training, some 320
HANGING = (
    FAILING.replace("calls > 60", "calls > 400")
    .replace(MISTAKE, "time.sleep(60)")
    .replace("import torch\n", "import time\n\nimport torch\n")
)

SLEEP = "[time.sleep(0.01) for _ in range(6000)]"
DEAF = HANGING.replace(
    "            time.sleep(60)",
    f"""\
            try:
                {SLEEP}
            except:
                {SLEEP}
            finally:
                raise ImportError("no module")
""".rstrip(),
)
"""Swallows an interrupt, and makes of the next what libraries make of one around their imports."""
