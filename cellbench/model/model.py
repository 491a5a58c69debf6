"""The model that is trained: a cell, its initial state and the readout, over any length and batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, SupportsInt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from cellbench import streams
from cellbench.cell import State, WholeSequencesAlone
from cellbench.model.layers import sequence_of, takes_sequences, takes_steps
from cellbench.model.objective import BITS, Objective
from cellbench.task import Floats, one_hot


class Model(nn.Module):
    """A cell with its readout; one set of logits per step.

    The input determines the number of steps and the batch size, so a trained model runs at any of them.

    Args:
        cell: keeps the contract of `cellbench.Cell`.
        output_size: outputs of the task per step.
        readout_hidden: units of one more layer (tanh) before the linear readout; none by default.
        learn_initial_state: train the initial state. It starts as the cell's own at batch 1, and is tiled along the
            batch.
        features: outputs of the cell per step; its `output_size` or `hidden_size` if they are not given.

    Attributes:
        stream: the name of the random numbers that the cell draws while it runs: factory, options, point and seed, as
            for the initial weights.
        input_size: features of one step's input, where they are known.
        tokens: whether its task's inputs are tokens.
        objective: what it is trained for, by which it answers.
    """

    stream: tuple[streams.Axis, ...] = ("noise",)
    input_size: int | None = None
    tokens: bool = False
    objective: Objective = BITS

    def __init__(
        self,
        cell: nn.Module,
        output_size: int,
        *,
        readout_hidden: int | None = None,
        learn_initial_state: bool = False,
        features: int | None = None,
    ) -> None:
        super().__init__()
        self.cell = cell
        if features is None:
            features = declared_features(cell)
        if features is None:
            raise AttributeError(f"{type(cell).__name__} has neither output_size nor hidden_size")
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
            if not leaves and not takes_steps(cell):
                raise WholeSequencesAlone("learn_initial_state: its module takes whole sequences and carries no state")
            self.initial = nn.ParameterList(nn.Parameter(leaf.detach().clone()) for leaf in leaves)
            # the nesting of the state, with numbers in place of its leaves: parameters must be in a flat list
            numbers = iter(range(len(leaves)))
            self._nesting: State = pytree.tree_map(lambda _: next(numbers), state)

    def initial_state(self, batch_size: int) -> State:
        """Make the state before the first step; learnt leaves are tiled along the batch."""
        if self.initial is None:
            return self.cell.initial_state(batch_size)  # type: ignore[operator]
        leaves = [leaf.expand(batch_size, *leaf.shape[1:]) for leaf in self.initial]
        return pytree.tree_map(lambda number: leaves[number], self._nesting)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one time step, from x (batch, input_size) to logits (batch, output_size) and the next state."""
        output, state = self.cell(x, state)
        return self.readout(output), state

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute logits (time, batch, output_size) from inputs (time, batch, input_size)."""
        state = self.initial_state(inputs.shape[1])
        if takes_sequences(self.cell):
            outputs, _ = sequence_of(self.cell, inputs, state)
            answers: Tensor = self.readout(outputs)
            return answers
        logits = []
        for x in inputs:
            y, state = self.step(x, state)
            logits.append(y)
        return torch.stack(logits)

    def logits(self, inputs: Tensor | NDArray[np.generic]) -> Floats:
        """Compute logits in `eval()` mode, without gradients.

        Args:
            inputs: shape (time, batch, input_size), of any type of number; or tokens, whole numbers of shape (time,
                batch), if its task has them.

        Returns:
            Logits of shape (time, batch, output_size).

        Raises:
            ValueError: the inputs have another shape.
        """
        expected = self.input_size
        if self.tokens and inputs.ndim == 2 and expected is not None:
            inputs = one_hot(np.asarray(inputs, np.int64), expected)
        given = inputs if isinstance(inputs, Tensor) else torch.from_numpy(np.array(inputs, np.float32))
        if given.ndim != 3 or (expected is not None and given.shape[2] != expected):
            wanted = f"(time, batch, {expected if expected is not None else 'input_size'})"
            raise ValueError(f"inputs have the shape {tuple(given.shape)}, expected {wanted}")
        # not the module's own type: a cell may hold float64 beside float32
        with torch.no_grad(), evaluating(self):
            found: Floats = self(given.detach().float()).numpy()
        return found

    def predict(self, inputs: Tensor | NDArray[np.generic]) -> Tensor | NDArray[Any]:
        """Answer as the targets of its task are; see `logits`.

        Args:
            inputs: shape (time, batch, input_size), a tensor or an array; or tokens, as for `logits`.

        Returns:
            A tensor or an array like the inputs. Bits: shape (time, batch, output_size), 1 where the logit is above 0.
            Classes: shape (time, batch), the class of the largest logit. Numbers: the logits themselves.
        """
        answers = self.objective.answers(self.logits(inputs))
        return torch.from_numpy(answers) if isinstance(inputs, Tensor) else answers


def declared_features(cell: nn.Module) -> int | None:
    """Return how many outputs a cell says it has per step; None if it does not say, as any module may be a cell."""
    found = getattr(cell, "output_size", None) or getattr(cell, "hidden_size", None)
    return int(found) if isinstance(found, SupportsInt) else None


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Set a model to `eval()` within this block; each module's own mode comes back afterwards.

    Modules train in the mode that the factory left them in: `train()`, unless it set a part to `eval()`.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        model.train()
        for module, mode in modes:
            if module.training != mode:
                module.training = mode
