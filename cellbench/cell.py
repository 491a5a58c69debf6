"""The contract of a cell, and the adapters for modules of torch's own conventions: one step, or whole sequences.

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


class WholeSequencesAlone(TypeError):
    """A module that takes whole sequences was asked for one step, and carries no state to take it from."""


class SequenceCell(Cell):
    """A cell from a module that takes whole sequences: `outputs = module(inputs)` or `outputs, state = module(inputs)`.

    Whether its state can be carried is tried: if `module(inputs, state)` goes on from the state that it returned, and
    from zeros as from nothing, then it is a cell like any other, with a state, which may start at learnt numbers, and
    single steps. If not, it has no state here: it is trained and evaluated on whole sequences from their first step, at
    any length that the module takes.

    Args:
        module: called with inputs of shape (time, batch, input_size); returns outputs of shape (time, batch,
            output_size), alone or in a tuple before its state.
        input_size: features of a step's input; by default the module's own.
        batch_first: whether it takes and returns (batch, time, features); by default what the module says, else no.

    Attributes:
        carries: whether its state can be carried.

    Raises:
        TypeError: the module does not take such inputs; or an output depends on later steps or on other examples.

    Example:
        >>> cell = SequenceCell(nn.GRU(2, 20, num_layers=2))
        >>> outputs, state = cell.sequence(torch.zeros(7, 3, 2), cell.initial_state(3))
        >>> tuple(outputs.shape), tuple(state.shape), cell.carries
        ((7, 3, 20), (3, 2, 20), True)
    """

    def __init__(self, module: nn.Module, input_size: int | None = None, *, batch_first: bool | None = None) -> None:
        own = getattr(module, "input_size", None) if input_size is None else input_size
        if own is None:
            raise TypeError(f"{type(module).__name__} does not say its input_size: SequenceCell(module, input_size)")
        super().__init__(int(own), 1)
        self.module = module
        self.batch_first = bool(getattr(module, "batch_first", False) if batch_first is None else batch_first)
        for part in module.modules():
            if isinstance(part, nn.RNNBase) and not part.dropout:
                part.eval()  # the mode is an argument of its operation, where engines would see a difference
        modes = [(part, part.training) for part in module.modules()]
        module.eval()
        try:
            with torch.no_grad():
                self._try()
        finally:
            for part, mode in modes:
                part.training = mode

    def _try(self) -> None:
        """Find out how many outputs the module has, what it depends on, and whether its state can be carried."""
        name, (time, batch) = type(self.module).__name__, (5, 3)
        x = torch.randn(time, batch, self.input_size, generator=torch.Generator().manual_seed(0))
        order = ("batch", "time") if self.batch_first else ("time", "batch")
        try:
            whole, after = self._call(x)
        except Exception as error:
            shape = f"({', '.join(order)}, {self.input_size})"
            raise TypeError(f"{name} does not take inputs of shape {shape}: {type(error).__name__}: {error}") from error
        if whole.ndim != 3 or whole.shape[:2] != (time, batch):
            raise TypeError(f"{name} returns outputs of shape {tuple(whole.shape)}, not {order} first, then features")
        self.output_size = int(whole.shape[2])
        self.hidden_size = int(getattr(self.module, "hidden_size", self.output_size))
        others, later = x.clone(), x.clone()
        others[:, 0] += 1
        later[3:] += 1
        if not torch.allclose(self._call(others)[0][:, 1:], whole[:, 1:], atol=1e-5, equal_nan=True):
            wrong = "True: does it take the time first?" if self.batch_first else "False: does it take the batch first?"
            raise TypeError(f"{name}: an example's output depends on other examples. batch_first is {wrong}")
        if not torch.allclose(self._call(later)[0][:3], whole[:3], atol=1e-5, equal_nan=True):
            raise TypeError(
                f"{name}: an output depends on later steps, as with two directions or attention without a mask; a cell "
                "answers at each step by what it has read"
            )
        leaves = pytree.tree_leaves(after)
        # the nesting of the state, with numbers in place of its tensors: a TreeSpec warns when it is copied
        numbers = iter(range(len(leaves)))
        self._nesting: State = pytree.tree_map(lambda _: next(numbers), after)
        self._shapes: list[tuple[list[int], int]] = []
        self.carries = bool(leaves) and all(isinstance(leaf, Tensor) for leaf in leaves) and self._carries(x, whole)

    def _carries(self, x: Tensor, whole: Tensor) -> bool:
        """Tell whether zeros are the state before the first step, and a sequence in two parts is the whole."""
        three, two = (pytree.tree_leaves(self._call(x[:, :batch])[1]) for batch in (3, 2))
        for a, b in zip(three, two, strict=True):
            differing = [axis for axis, (m, n) in enumerate(zip(a.shape, b.shape, strict=False)) if m != n]
            if a.ndim != b.ndim or len(differing) != 1 or a.shape[differing[0]] != 3 or b.shape[differing[0]] != 2:
                return False
            axis = differing[0]
            self._shapes.append(([*a.shape[:axis], *a.shape[axis + 1 :]], axis))
        try:
            first, state = self.sequence(x[:2], self._zeros(3))
            second, _ = self.sequence(x[2:], state)
        except Exception:
            return False
        return torch.allclose(torch.cat([first, second]), whole, atol=1e-5, equal_nan=True)

    def _call(self, inputs: Tensor, *state: State) -> tuple[Tensor, State]:
        """Call the module; axes are time, batch, features on both sides, and the state is the module's own."""
        answer = self.module(inputs.transpose(0, 1) if self.batch_first else inputs, *state)
        outputs, after = (answer[0], answer[1]) if isinstance(answer, tuple) and len(answer) == 2 else (answer, ())
        if not isinstance(outputs, Tensor):
            raise TypeError(f"it returned {type(answer).__name__}, neither outputs nor (outputs, state)")
        return (outputs.transpose(0, 1) if self.batch_first else outputs), after

    def _zeros(self, batch_size: int) -> State:
        return self._nested([torch.zeros(batch_size, *shape) for shape, _ in self._shapes])

    def _nested(self, leaves: list[Tensor]) -> State:
        return pytree.tree_map(lambda number: leaves[number], self._nesting)

    def initial_state(self, batch_size: int) -> State:
        """Make zeros, batch first, nested as the module nests its state; an empty tuple if it is not carried."""
        return self._zeros(batch_size) if self.carries else ()

    def sequence(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run the module over a whole sequence.

        Args:
            inputs: shape (time, batch, input_size).
            state: before its first step, batch first; an empty tuple if it is not carried.

        Returns:
            Outputs of shape (time, batch, output_size), and the state after the last step.
        """
        leaves = pytree.tree_leaves(state)
        if not leaves:
            return self._call(inputs)[0], ()
        axes = [axis for _, axis in self._shapes]
        own = [leaf.movedim(0, axis).contiguous() for leaf, axis in zip(leaves, axes, strict=True)]
        outputs, after = self._call(inputs, self._nested(own))
        moved = [leaf.movedim(axis, 0) for leaf, axis in zip(pytree.tree_leaves(after), axes, strict=True)]
        return outputs, self._nested(moved)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one step, as a sequence of length 1.

        Raises:
            WholeSequencesAlone: the module's state cannot be carried.
        """
        if not self.carries:
            name = type(self.module).__name__
            raise WholeSequencesAlone(
                f"{name} takes whole sequences alone: no state of it goes from one call to the next"
            )
        outputs, after = self.sequence(x[None], state)
        return outputs[0], after
