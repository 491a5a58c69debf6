"""The contract of a cell, and the adapter for cells of torch's own convention.

Axes, everywhere in cellbench: replicas, time, batch, then input, hidden or output.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

State = Any
"""Any nesting of tuples, lists or dicts of tensors whose first axis is the batch."""


class Cell(nn.Module):
    """One recurrent cell: the equations of one time step, and the initial weights.

    A subclass is made by `factory(input_size, hidden_size, **options)` and defines `forward`. It must run at any batch
    size and for any number of steps. Subclassing is a convenience: any `torch.nn.Module` with the same `forward` and
    `initial_state` is a cell.

    Attributes:
        input_size: features of `x`.
        hidden_size: units.
        output_size: features of the output; `hidden_size` unless the cell says otherwise.
    """

    def __init__(self, input_size: int, hidden_size: int, output_size: int | None = None) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.output_size = hidden_size if output_size is None else output_size

    def initial_state(self, batch_size: int) -> State:
        """Make the state before the first step: zeros of shape (batch, hidden_size), unless a subclass overrides this.

        Override it for a state of another shape, or for one that is computed from the cell's parameters, which are
        then trained through it.
        """
        return torch.zeros(batch_size, self.hidden_size)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one time step.

        Args:
            x: shape (batch, input_size).
            state: nested tensors, batch first, built as `initial_state` builds them.

        Returns:
            The output, shape (batch, output_size), and the next state, nested like `state`.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no forward(x, state)")


class TorchCell(Cell):
    """A cell from a module of torch's convention: `h = module(x, h)` or `(h, c) = module(x, (h, c))`.

    The output is `h`, the first (or only) tensor of the state.

    Args:
        module: called with `x` of shape (batch, input_size) and the state; has `input_size` and `hidden_size`.
        states: how many tensors of shape (batch, hidden_size) the state holds. By default the module is called to find
            out, first with 1, then with 2.

    Raises:
        TypeError: the module takes neither `h` nor `(h, c)`; the message says what each call raised.

    Example:
        >>> lstm = TorchCell(nn.LSTMCell(2, 20))
        >>> output, (h, c) = lstm(torch.zeros(3, 2), lstm.initial_state(3))
        >>> tuple(output.shape)
        (3, 20)
    """

    def __init__(self, module: nn.Module, states: int | None = None) -> None:
        super().__init__(int(module.input_size), int(module.hidden_size))  # type: ignore[arg-type]
        self.module = module
        self.states = self._count_states() if states is None else states

    def _count_states(self) -> int:
        """Find out how many tensors the module's state has: the first number that goes in and comes out again."""
        x = torch.zeros(1, self.input_size)
        refusals = []
        for states in (1, 2):
            try:
                with torch.no_grad():
                    after = self.module(x, self._zeros(1, states))
            except Exception as error:
                refusals.append(f"with {states}: {type(error).__name__}: {error}")
                continue
            if len(pytree.tree_leaves(after)) == states:
                return states
            refusals.append(f"with {states}: returned {len(pytree.tree_leaves(after))} tensors")
        raise TypeError(
            f"{type(self.module).__name__} takes neither h nor (h, c) as its state ({'; '.join(refusals)}); "
            "subclass cellbench.Cell instead"
        )

    def _zeros(self, batch_size: int, states: int) -> State:
        if states == 1:
            return torch.zeros(batch_size, self.hidden_size)
        return tuple(torch.zeros(batch_size, self.hidden_size) for _ in range(states))

    def initial_state(self, batch_size: int) -> State:
        """Make zeros: one tensor, or a tuple of `states` of them, each of shape (batch, hidden_size)."""
        return self._zeros(batch_size, self.states)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one step of the module; the output is the first tensor of its new state."""
        after = self.module(x, state)
        return (after if self.states == 1 else after[0]), after
