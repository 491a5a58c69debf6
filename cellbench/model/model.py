"""What is trained: a cell, its initial state and the readout, over any length and batch."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from cellbench import streams
from cellbench.cell import State
from cellbench.errors import CellError
from cellbench.plugins.contained import contained


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


@contextmanager
def seeded(*axes: streams.Axis) -> Iterator[None]:
    """Torch's, numpy's and Python's global generators seeded from a name, and put back afterwards.

    A cell's factory draws its weights from whichever it likes.
    """
    numpy_state, python_state = np.random.get_state(), random.getstate()
    number = streams.seed(*axes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number)
        np.random.seed(number % 2**32)
        random.seed(number)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


@contextmanager
def double_precision() -> Iterator[None]:
    """Within this block, tensors made without saying of which type are float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@dataclass(frozen=True)
class Blueprint:
    """All that a model's structure depends on.

    Attributes:
        factory: makes the cell from (input_size, hidden_size, **options).
        origin: how the cell is called in messages and in the name of its random stream: its factory, as text.
        options: passed to the factory, as sorted pairs.
        input_size, hidden_size, output_size: features in, units, bits out a step.
        readout_hidden: units of the layer before the readout, or None.
        learn_initial_state: whether the initial state is trained.
    """

    factory: Callable[..., Any]
    origin: str
    options: tuple[tuple[str, Any], ...]
    input_size: int
    hidden_size: int
    output_size: int
    readout_hidden: int | None = None
    learn_initial_state: bool = False

    def build(self, *axes: streams.Axis) -> Model:
        """A model with the initial weights that belong to these axes (the point and the seed).

        Raises:
            CellError: the factory or the initial state raises, or it does not return a torch module.
        """
        name: tuple[streams.Axis, ...] = ("weights", self.origin, _frozen(self.options), *axes)
        try:
            with contained(), seeded(*name, "cell"):
                cell = self.factory(self.input_size, self.hidden_size, **dict(self.options))
        except Exception as error:
            raise CellError(
                f"{self.origin}: making the cell with input_size={self.input_size}, hidden_size={self.hidden_size}, "
                f"options {dict(self.options)} raised {type(error).__name__}: {error}"
            ) from error
        if not isinstance(cell, nn.Module):
            raise CellError(f"{self.origin}: the factory returned {type(cell).__name__}, not a torch.nn.Module")
        if not hasattr(cell, "initial_state"):
            raise CellError(
                f"{self.origin}: {type(cell).__name__} has no initial_state(batch_size). "
                "Subclass cellbench.Cell, or wrap a module of torch's convention in cellbench.TorchCell"
            )
        try:
            with contained(), seeded(*name, "readout"):
                return Model(
                    cell,
                    self.output_size,
                    readout_hidden=self.readout_hidden,
                    learn_initial_state=self.learn_initial_state,
                )
        except Exception as error:
            raise CellError(
                f"{self.origin}: making its initial state and readout raised {type(error).__name__}: {error}"
            ) from error


def _frozen(value: Any) -> streams.Axis:
    """Options as an axis of a stream's name."""
    if isinstance(value, dict):
        return tuple((str(k), _frozen(v)) for k, v in sorted(value.items()))
    if isinstance(value, list | tuple):
        return tuple(_frozen(v) for v in value)
    return value if isinstance(value, str | int | float) or value is None else repr(value)


@dataclass(frozen=True)
class Sizes:
    """Measured from the tensors of a model, never taken from a declaration.

    Attributes:
        parameters: numbers that are trained, readout and learnt initial state included.
        state: numbers of state for one example.
        multiply_adds: of one time step of one example, readout included: those of matrix products, and one for each
            element of an elementwise product.
    """

    parameters: int
    state: int
    multiply_adds: int


_ELEMENTWISE_PRODUCTS = {"mul", "addcmul", "lerp", "div"}


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.multiply_adds = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # by default a mode's first call imports torch._dynamo, which takes two seconds
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        if packet in flop_registry:
            # torch counts a multiply-add as two operations
            self.multiply_adds += flop_registry[packet](*args, **(kwargs or {}), out_val=out) // 2
        elif packet.__name__.rstrip("_") in _ELEMENTWISE_PRODUCTS and isinstance(out, Tensor):
            self.multiply_adds += out.numel()
        return out


def measure(model: Model, input_size: int) -> Sizes:
    """Sizes of a model, from one step at batch 1."""
    with torch.no_grad():
        state = model.initial_state(1)
        with _Counter() as counter:
            model.step(torch.zeros(1, input_size), state)
    return Sizes(
        parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        state=sum(leaf.numel() for leaf in pytree.tree_leaves(state) if isinstance(leaf, Tensor)),
        multiply_adds=counter.multiply_adds,
    )
