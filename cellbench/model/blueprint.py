"""Making a model, from a cell's name or text to its initial weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from cellbench import streams
from cellbench.cell import SequenceCell, TorchCell
from cellbench.errors import CellError
from cellbench.model.layers import Layers
from cellbench.model.model import Model, declared_features
from cellbench.model.objective import BITS, Objective
from cellbench.model.randomness import seeded
from cellbench.plugins import contained, kept, load_factory, own_tasks, registry, sources
from cellbench.records import CellSpec, TaskSpec
from cellbench.task import Task
from cellbench.wording import did_you_mean


@contextmanager
def double_precision() -> Iterator[None]:
    """Make float64 the type of new tensors within this block, unless they are made with another."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@dataclass(frozen=True)
class Blueprint:
    """Everything that the structure of a model depends on.

    Attributes:
        factory: makes the cell from (input_size, hidden_size, **options).
        origin: the factory as text; names the cell in messages and its random stream.
        options: passed to the factory, as sorted pairs.
        input_size: features of one step's input.
        hidden_size: units of the cell.
        output_size: raw outputs per step.
        readout_hidden: units of the layer before the readout, or None.
        learn_initial_state: whether the initial state is trained.
        texts: SHA-256 of the modules that the cell's numbers depend on, where they are known.
        layers: how many cells are stacked, each with weights of its own; see `cellbench.model.layers`.
        objective: what the model is trained for.
        tokens: whether the task's inputs are tokens.
    """

    factory: Callable[..., Any]
    origin: str
    options: tuple[tuple[str, Any], ...]
    input_size: int
    hidden_size: int
    output_size: int
    readout_hidden: int | None = None
    learn_initial_state: bool = False
    texts: tuple[str, ...] = ()
    layers: int = 1
    objective: Objective = BITS
    tokens: bool = False

    def build(self, *axes: streams.Axis) -> Model:
        """Build a model with the initial weights that belong to these axes (the point and the seed).

        Raises:
            CellError: the factory or the initial state raises, or it does not return a torch module.
        """
        own: tuple[streams.Axis, ...] = (self.origin, _frozen(self.options), *axes)
        name = ("weights", *own)
        # a stream for each layer and for the readout, so that a cell that draws more numbers keeps its readout, and
        # the first layer of a stack has the weights that it has alone
        cells: list[nn.Module] = []
        features = self.input_size
        for layer in range(1, self.layers + 1):
            stream = (*name, "cell") if layer == 1 else (*name, "cell", layer)
            cells.append(self._cell(features, layer, stream))
            features = self._features(cells[-1], features, stream)
        try:
            with contained(), seeded(*name, "readout"):
                model = Model(
                    cells[0] if self.layers == 1 else Layers(cells),
                    self.output_size,
                    readout_hidden=self.readout_hidden,
                    learn_initial_state=self.learn_initial_state,
                    features=features,
                )
        except Exception as error:
            raise self._unmade(error) from error
        model.stream = ("noise", *own)
        model.input_size, model.tokens, model.objective = self.input_size, self.tokens, self.objective
        return model

    def _cell(self, input_size: int, layer: int, stream: tuple[streams.Axis, ...]) -> nn.Module:
        """Make the cell of one layer, with the initial weights of a stream."""
        try:
            with contained(), kept(self.origin), seeded(*stream):
                cell = self.factory(input_size, self.hidden_size, **dict(self.options))
        except Exception as error:
            of_layer = f" of layer {layer}" if layer > 1 else ""
            raise CellError(
                f"{self.origin}: making the cell{of_layer} with input_size={input_size}, "
                f"hidden_size={self.hidden_size}, options {dict(self.options)} raised {type(error).__name__}: {error}"
            ) from error
        # these would fail later with an error that does not name the cell
        if not isinstance(cell, nn.Module):
            raise CellError(f"{self.origin}: the factory returned {type(cell).__name__}, not a torch.nn.Module")
        if not hasattr(cell, "initial_state"):
            lacks = f"{type(cell).__name__} has no initial_state(batch_size)"
            raise CellError(f"{self.origin}: {lacks}. {self._adapter(cell, input_size)}")
        return cell

    def _adapter(self, cell: nn.Module, input_size: int) -> str:
        """Say what makes a cell of a module that is none: the adapter that takes it."""
        file, _, name = self.origin.rpartition(":")
        ours = f"{name or type(cell).__name__}(input_size, hidden_size)"
        known = "" if hasattr(cell, "input_size") else ", input_size"
        for takes, adapt, written in (
            ("one step as torch's cells do", lambda: TorchCell(cell), f"TorchCell({ours})"),
            ("whole sequences", lambda: SequenceCell(cell, input_size), f"SequenceCell({ours}{known})"),
            (
                "whole sequences, the batch first",
                lambda: SequenceCell(cell, input_size, batch_first=True),
                f"SequenceCell({ours}{known}, batch_first=True)",
            ),
        ):
            with suppress(Exception), contained(), seeded("adapter"):
                adapt()
                adapter = written.partition("(")[0]
                return (
                    f"It takes {takes}. Write beside it: `from cellbench import {adapter}` and "
                    f"`def adapted(input_size, hidden_size): return {written}`; then give {file or 'FILE'}:adapted"
                )
        return (
            "Subclass cellbench.Cell, or wrap a module of torch's conventions: one step in cellbench.TorchCell, whole "
            "sequences in cellbench.SequenceCell"
        )

    def _features(self, cell: nn.Module, input_size: int, stream: tuple[streams.Axis, ...]) -> int:
        """Return how many outputs a cell has; if it does not say, measure it on a twin, which leaves it as it is."""
        try:
            found = declared_features(cell)
            if found is not None:
                return found
            with contained(), seeded(*stream):
                twin = self.factory(input_size, self.hidden_size, **dict(self.options)).eval()
                with torch.no_grad():
                    output, _ = twin(torch.zeros(2, input_size), twin.initial_state(2))
            return int(output.shape[-1])
        except Exception as error:
            raise self._unmade(error) from error

    def _unmade(self, error: Exception) -> CellError:
        return CellError(f"{self.origin}: making its initial state and readout raised {type(error).__name__}: {error}")


def refused_option(factory: Callable[..., Any], options: Iterable[str]) -> str:
    """Say which option a factory's signature does not take, and what it takes; empty if it takes all."""
    parameters = _parameters(factory)
    if parameters is None or any(p.kind is p.VAR_KEYWORD for p in parameters):
        return ""
    taken = own_options(factory)
    for name in options:
        if name not in taken:
            known = did_you_mean(name, taken) if taken else "It takes none."
            return f"takes no option {name!r}. {known}"
    return ""


def own_options(factory: Callable[..., Any]) -> list[str]:
    """List the options that a factory's signature names, after input size and hidden size."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in _parameters(factory) or () if p.kind in named][2:]


def _parameters(factory: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """List the parameters of a factory; None if it does not tell them."""
    try:
        return list(inspect.signature(factory).parameters.values())
    except (TypeError, ValueError):
        return None


def _frozen(value: Any) -> streams.Axis:
    """Turn options into an axis of a stream's name."""
    if isinstance(value, dict):
        return tuple((str(k), _frozen(v)) for k, v in sorted(value.items()))
    if isinstance(value, list | tuple):
        return tuple(_frozen(v) for v in value)
    return value if isinstance(value, str | int | float) or value is None else repr(value)


@lru_cache(maxsize=8)
def task_of(name: str, own: TaskSpec | None = None) -> Task:
    """Make a task, once per process: the registered one of this name, or the user's own."""
    if own is not None:
        return own_tasks.make(own)
    task: Task = load_factory(registry().find("task", name))()
    return task


def blueprint_of(cell: CellSpec, hidden_size: int, task: Task) -> Blueprint:
    """Make the blueprint of a cell's model for a task.

    Raises:
        CellError, PluginError: the factory cannot be loaded.
    """
    if cell.from_file:
        factory = sources.load(cell.sources, cell.factory.rpartition(":")[2])
    else:
        factory = load_factory(registry().find("cell", cell.name))
    return Blueprint(
        factory=factory,
        origin=cell.factory,
        options=cell.options,
        input_size=task.input_size,
        hidden_size=hidden_size,
        output_size=task.output_size,
        readout_hidden=cell.readout_hidden,
        learn_initial_state=cell.learn_initial_state,
        texts=tuple(source.sha256 for source in cell.sources),
        layers=cell.layers,
        objective=Objective(task.kind, task.tolerance),
        tokens=task.tokens,
    )
