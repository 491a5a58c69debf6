"""A stack of cells as one cell: the lowest reads the input, each further layer the output of the one below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from cellbench.cell import SequenceCell, State


class Layers(nn.Module):
    """Several cells as one, each with parameters and a state of its own; the output is that of the top one.

    The readout reads the top layer alone, as with `nn.LSTM(num_layers=2)`, and nothing is dropped between layers.

    Args:
        cells: from the lowest to the top one.

    Attributes:
        layers: the cells, in the same order.
    """

    def __init__(self, cells: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(cells)

    def initial_state(self, batch_size: int) -> State:
        """Make each layer's state before the first step, as a tuple, the lowest first."""
        return tuple(cell.initial_state(batch_size) for cell in self.layers)  # type: ignore[operator]

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one time step through all layers.

        Args:
            x: shape (batch, input_size).
            state: one per layer.

        Returns:
            The top layer's output, and the next states.
        """
        after = []
        for cell, own in zip(self.layers, state, strict=True):
            x, own = cell(x, own)
            after.append(own)
        return x, tuple(after)


def sequence_of(cell: nn.Module, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Run a cell, or each layer of a stack, over a whole sequence; see `SequenceCell.sequence`."""
    if isinstance(cell, SequenceCell):
        return cell.sequence(inputs, state)
    if takes_sequences(cell):
        after = []
        for layer, own in zip(layers_of(cell), state, strict=True):
            inputs, own = sequence_of(layer, inputs, own)
            after.append(own)
        return inputs, tuple(after)
    outputs = []
    for x in inputs:
        output, state = cell(x, state)
        outputs.append(output)
    return torch.stack(outputs), state


def takes_sequences(cell: nn.Module) -> bool:
    """Tell whether a cell, or a layer of it, is a module that takes whole sequences."""
    return any(isinstance(layer, SequenceCell) for layer in layers_of(cell))


def takes_steps(cell: nn.Module) -> bool:
    """Tell whether a cell can be run step by step: all can but those whose module carries no state."""
    return all(layer.carries for layer in layers_of(cell) if isinstance(layer, SequenceCell))


def layers_of(cell: nn.Module) -> Iterator[nn.Module]:
    """Yield the cells of a stack from the lowest to the top one; a cell that is no stack is its own only layer."""
    yield from cell.layers if isinstance(cell, Layers) else (cell,)
