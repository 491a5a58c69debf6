"""A stack of cells as one cell: the lowest reads the input, each further layer the output of the one below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from cellbench.cell import State


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


def layers_of(cell: nn.Module) -> Iterator[nn.Module]:
    """Yield the cells of a stack from the lowest to the top one; a cell that is no stack is its own only layer."""
    yield from cell.layers if isinstance(cell, Layers) else (cell,)
