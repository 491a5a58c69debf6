"""What is trained: a cell, its initial state and the readout, over any length and batch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from cellbench.cell import State


class Model(nn.Module):
    """A cell with its readout; one set of logits a step.

    Steps and batch size are those of the input, so a trained model runs at any of either.

    Args:
        cell: keeps the contract of `cellbench.Cell`.
        output_size: the task's outputs a step.
        readout_hidden: units of one more layer (tanh) before the linear readout; none by default.
        learn_initial_state: train the initial state, one copy of it tiled along the batch, from where the cell's own
            initial state starts.
    """

    def __init__(
        self, cell: nn.Module, output_size: int, *, readout_hidden: int | None = None, learn_initial_state: bool = False
    ) -> None:
        super().__init__()
        self.cell = cell
        features = int(getattr(cell, "output_size", None) or cell.hidden_size)  # type: ignore[arg-type]
        self.readout: nn.Module
        if readout_hidden is None:
            self.readout = nn.Linear(features, output_size)
        else:
            self.readout = nn.Sequential(
                nn.Linear(features, readout_hidden), nn.Tanh(), nn.Linear(readout_hidden, output_size)
            )
        self.initial: nn.ParameterList | None = None
        if learn_initial_state:
            state = cell.initial_state(1)  # type: ignore[operator]
            leaves = pytree.tree_leaves(state)
            self.initial = nn.ParameterList(nn.Parameter(leaf.detach().clone()) for leaf in leaves)
            # the state's nesting, with the number of each leaf in its place
            numbers = iter(range(len(leaves)))
            self._nesting: State = pytree.tree_map(lambda _: next(numbers), state)

    def initial_state(self, batch_size: int) -> State:
        """The state before the first step; learnt leaves are tiled along the batch."""
        if self.initial is None:
            return self.cell.initial_state(batch_size)  # type: ignore[operator]
        leaves = [leaf.expand(batch_size, *leaf.shape[1:]) for leaf in self.initial]
        return pytree.tree_map(lambda number: leaves[number], self._nesting)

    def put(self, values: Mapping[str, NDArray[np.float32]]) -> None:
        """Set each parameter, by its name in `named_parameters`."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(torch.from_numpy(values[name]))

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One time step: x (batch, input_size) and the state to logits (batch, output_size) and the next state."""
        output, state = self.cell(x, state)
        return self.readout(output), state

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (time, batch, output_size) for inputs (time, batch, input_size)."""
        state = self.initial_state(inputs.shape[1])
        logits = []
        for x in inputs:
            y, state = self.step(x, state)
            logits.append(y)
        return torch.stack(logits)


def loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy a bit, from logits."""
    return nn.functional.binary_cross_entropy_with_logits(logits, targets)
