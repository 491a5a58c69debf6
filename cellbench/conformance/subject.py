"""The cell that is checked, a check, and its result; and how checks run a cell."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from cellbench import streams
from cellbench.cell import State, WholeSequencesAlone
from cellbench.errors import CellbenchError
from cellbench.model import Blueprint, Model, generator_states, seeded
from cellbench.plugins import Place, contained, place_of
from cellbench.records import pairs
from cellbench.wording import described, one_line

BATCHES = (1, 2, 7, 64)
"""Batch sizes at which shapes are checked."""


@dataclass(frozen=True)
class Subject:
    """A cell to check, given by the factory that makes it.

    Attributes:
        factory: called as `factory(input_size, hidden_size, **options)`.
        options: passed to the factory.
        name: for messages; the factory's own name if empty.
        input_size, hidden_size: the sizes at which the laws are checked.
        file: that the factory is from, for messages; empty if it is from a module.
    """

    factory: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    input_size: int = 2
    hidden_size: int = 8
    file: str = ""

    def __str__(self) -> str:
        return self.name or getattr(self.factory, "__name__", type(self.factory).__name__)

    def blueprint(self, *, hidden_size: int | None = None, learn_initial_state: bool = False) -> Blueprint:
        """Describe a model of the cell with one output per step, as the built-in task has it."""
        return Blueprint(
            factory=self.factory,
            origin=str(self),
            options=pairs(self.options.items()),
            input_size=self.input_size,
            hidden_size=hidden_size or self.hidden_size,
            output_size=1,
            learn_initial_state=learn_initial_state,
        )

    def model(self, *, learn_initial_state: bool = False) -> Model:
        """Make the cell with a readout; always the same weights, from a stream of their own."""
        return self.build("conformance", learn_initial_state=learn_initial_state)

    def build(self, *axes: streams.Axis, learn_initial_state: bool = False) -> Model:
        """Make the cell with a readout, with the weights of a stream; those that a first step makes are made too."""
        model = self.blueprint(learn_initial_state=learn_initial_state).build(*axes)
        if any(map(nn.parameter.is_lazy, model.cell.parameters())):
            unroll(model.cell, self.inputs(1, 2))
        return model

    def cell(self) -> nn.Module:
        """Make the cell alone."""
        return self.model().cell

    def evaluated(self) -> nn.Module:
        """Make the cell alone, in `eval()` mode."""
        return self.cell().eval()

    def inputs(self, time: int, batch: int, draw: int = 0) -> Tensor:
        """Draw numbers from normal(0, 1), shape (time, batch, input_size); another `draw` gives others."""
        generator = torch.Generator().manual_seed(1000 + draw)
        return torch.randn(time, batch, self.input_size, generator=generator)

    def bits(self, time: int, batch: int) -> Tensor:
        """Draw zeros and ones, as the built-in task does, shape (time, batch, input_size)."""
        generator = torch.Generator().manual_seed(2000)
        return torch.randint(0, 2, (time, batch, self.input_size), generator=generator).float()


@dataclass(frozen=True)
class Result:
    """The result of a check.

    Attributes:
        status: `pass`; `fail`; `skip` if the cell does not allow the check; `note` if the check only reports.
        message: one line.
        data: more of the finding, for the report in JSON.
        place: where the code raised or breaks the law, if that is known.
    """

    status: Literal["pass", "fail", "skip", "note"]
    message: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    place: Place | None = None

    @property
    def ok(self) -> bool:
        """Whether the check did not fail."""
        return self.status != "fail"


class Broken(Exception):
    """A law does not hold; the message says how.

    Args:
        message: how.
        place: the line that breaks it, where it is known.
    """

    def __init__(self, message: str, place: Place | None = None) -> None:
        super().__init__(message)
        self.place = place


class Asked(Protocol):
    """What a check is asked of: a cell or a task."""

    @property
    def file(self) -> str:
        """The file that it is from, for messages; empty if it is from a module."""


class CannotTell(Exception):
    """The cell does not allow this check; the message says why."""


@dataclass(frozen=True)
class Check:
    """One named check.

    Attributes:
        name: words joined by `-`.
        law: whether every cell or task must pass; otherwise the check only reports.
        shows: what the check shows, in one line.
        run: does the check; returns its message, or its message and data.
        quick: whether `run` asks it before it trains anything.
    """

    name: str
    law: bool
    shows: str
    run: Callable[[Any], str | tuple[str, Mapping[str, Any]]] = field(repr=False)
    quick: bool = False

    def __str__(self) -> str:
        return self.name

    def __call__(self, subject: Asked) -> Result:
        """Run the check on a cell or a task; never raises for what that does."""
        try:
            with contained(), seeded("conformance"):
                found = self.run(subject)
        except Broken as broken:
            return Result("fail", one_line(broken, 400), place=near(broken.place, subject.file))
        except CannotTell as cause:
            return Result("skip", one_line(cause, 400))
        except Exception as error:
            # asked for a step that no module of whole sequences can take: the law is not broken
            for one in (error, error.__cause__):
                if isinstance(one, WholeSequencesAlone):
                    return Result("skip", one_line(one, 400))
            said = one_line(error, 400) if isinstance(error, CellbenchError) else f"raised {described(error, 400)}"
            return Result("fail", said, place=near(place_of(error), subject.file))
        message, data = found if isinstance(found, tuple) else (found, {})
        return Result("pass" if self.law else "note", one_line(message, 400), data)


def near(place: Place | None, file: str) -> Place | None:
    """Give a place the path of its file, seen from the current folder.

    Args:
        place: of somebody's code.
        file: that the cell is from: a file beside it, such as one that it imports, has a name without a folder.
    """
    if place is None:
        return None
    path = place.file
    if path.startswith("<"):
        path = str(Path(file).parent / path[1:].rpartition(" ")[0])
    try:
        seen = os.path.relpath(path)
    except ValueError:  # on another drive
        seen = path
    return replace(place, file=seen if not seen.startswith("..") else path)


def leaves(state: State) -> list[Tensor]:
    """List the tensors of a state, in order; None stands for a part that the cell does not use.

    Raises:
        Broken: it holds something else that is not a tensor.
    """
    found = [leaf for leaf in pytree.tree_leaves(state) if leaf is not None]
    for leaf in found:
        if not isinstance(leaf, Tensor):
            raise Broken(f"the state holds {type(leaf).__name__}; it must be tensors, in tuples, lists or dicts")
    return found


def step(cell: nn.Module, x: Tensor, state: State) -> tuple[Tensor, State]:
    """Take one step of the cell.

    Raises:
        Broken: it does not return an output and a state.
    """
    answer = cell(x, state)
    if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], Tensor)):
        what = f"a tuple of {len(answer)}" if isinstance(answer, tuple) else type(answer).__name__
        hint = "; a module of torch's convention goes into cellbench.TorchCell" if isinstance(answer, Tensor) else ""
        raise Broken(f"forward returned {what}, not (output, state){hint}")
    return answer


def unroll(cell: nn.Module, inputs: Tensor, state: State | None = None, draw: int = 0) -> tuple[Tensor, State]:
    """Run a cell over a sequence (time, batch, input_size).

    Args:
        cell: the cell.
        inputs: the sequence.
        state: before the first step; the cell's initial state unless another is given.
        draw: what the cell draws while it runs is the same in every run of one number.

    Returns:
        Outputs (time, batch, output_size), and the last state.
    """
    with seeded("conformance", "run", draw):
        if state is None:
            state = cell.initial_state(inputs.shape[1])  # type: ignore[operator]
        outputs = []
        for x in inputs:
            y, state = step(cell, x, state)
            outputs.append(y)
    return torch.stack(outputs), state


def draws(cell: nn.Module, inputs: Tensor) -> list[str]:
    """Name the global generators that a cell draws from while it runs over a sequence."""
    with seeded("conformance", "run", 0), torch.no_grad():
        before, state = generator_states(), cell.initial_state(inputs.shape[1])  # type: ignore[operator]
        for x in inputs:
            _, state = step(cell, x, state)
        after = generator_states()
    return [f"{name} generator" for name, drawn in before.items() if drawn != after[name]]


def same(a: Sequence[Tensor], b: Sequence[Tensor], *, nan: bool = False) -> bool:
    """Return whether tensors agree to the last bit.

    Args:
        a, b: the tensors.
        nan: whether NaN agrees with NaN. If not, a law says by `finite` or `numbers` what is wrong, before it compares.
    """
    return len(a) == len(b) and all(
        x.shape == y.shape and bool(((x == y) | (x.isnan() & y.isnan()) if nan else x == y).all())
        for x, y in zip(a, b, strict=True)
    )


def finite(outputs: Tensor, what: str = "the output") -> None:
    """Check outputs (time, ...) before they are compared with others: with NaN everything would seem to agree.

    Raises:
        Broken: one is not finite; the message says when.
    """
    for number, output in enumerate(outputs, 1):
        bad = output[~output.isfinite()]
        if len(bad):
            raise Broken(f"{what} is not finite: {bad[0].item()} at step {number}")


def numbers(what: str, tensors: Sequence[Tensor]) -> None:
    """Check that no tensor holds NaN before it is compared with others; a state may hold infinities.

    Raises:
        Broken: one does.
    """
    if any(bool(tensor.isnan().any()) for tensor in tensors):
        raise Broken(f"{what} holds NaN")


@torch.no_grad()
def move(cell: nn.Module, by: float, draw: int = 0) -> None:
    """Move all weights at random, so that factors that begin at 0 hide nothing.

    Args:
        cell: changed in place.
        by: the standard deviation of what is added.
        draw: another one gives other numbers.
    """
    generator = torch.Generator().manual_seed(draw)
    for parameter in cell.parameters():
        if by and (parameter.is_floating_point() or parameter.is_complex()):
            parameter.add_(by * torch.randn(parameter.shape, dtype=parameter.dtype, generator=generator))
