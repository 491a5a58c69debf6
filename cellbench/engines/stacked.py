"""A model as a function of one replica's tensors, which vmap applies to a stack of replicas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from cellbench.engines.alignment import Aligned
from cellbench.engines.device import making_on, moved
from cellbench.engines.engine import Refused
from cellbench.engines.projection import Projection
from cellbench.errors import CellError
from cellbench.model import Contents, Model, replaced, spelt_out
from cellbench.records import CPU

WIDTH = 32
"""Replicas in a stack."""


class Stacked:
    """The model as a function of one replica's tensors.

    Args:
        model: the module that all replicas are run through, with their own tensors in the places of its own.
        examples: models of other seeds; tensors that differ between any of them are each replica's own.
        changing: paths of other tensors that replicas change, each its own.

    Attributes:
        names, shapes, sizes: of the trained parameters, in the order of a row.
        own: paths of the other tensors that each replica has for itself.
        projection: what a replica's cell does after each update, if it does something.
        moves: which numbers of a row the optimizer updates, shape (trained numbers,); None for all.
        device: where it is run; the tensors that `constants` and `row` give are the CPU's.

    Raises:
        Refused: such a tensor is kept where no other can take its place.
    """

    projection: Projection | None = None
    moves: Tensor | None = None
    device: str = CPU

    def __init__(self, model: Model, examples: Sequence[Model], changing: Sequence[str] = ()) -> None:
        self.model = model
        self._aligns: dict[tuple[tuple[torch.Size, torch.dtype], ...], bool] = {}
        trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.names, self.shapes = list(trained), [p.shape for p in trained.values()]
        self.sizes = [p.numel() for p in trained.values()]
        self.contents = Contents(model)
        constants = {path: place.tensor for path, place in self.contents.constants(model).items()}
        self.own: list[str] = []
        others = [Contents(m).tensors for m in examples]
        for path, tensor in constants.items():
            if any(path not in tensors for tensors in others):
                raise Refused(f"{path} is there in some replicas only")
            if path in changing or any(not _same(tensor, tensors[path].tensor) for tensors in others):
                self.own.append(path)
        self._shared = {path: constants[path] for path in constants if path not in self.own}
        for path in (*self.names, *self.own):
            if not self.contents.tensors[path].put:
                raise Refused(f"{path} differs between replicas, and no other tensor can take its place")
        self._example = self.row(examples[0]), self.constants(examples[0])

    def leave_out(self, has_gradient: Sequence[bool]) -> None:
        """Keep the parameters that have no gradient as they are; one truth value per trained parameter."""
        self.moves = torch.tensor(has_gradient).repeat_interleave(torch.tensor(self.sizes))

    def to(self, device: str) -> None:
        """Move the module, and with it what all replicas share, to a device."""
        moved(self.model, device)
        self.device = device
        if self.moves is not None:
            self.moves = self.moves.to(device)

    def aligned(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Let a function of stacks multiply at aligned places, where a replica's bits would depend on its place.

        Whether they would is found out once per shape, on copies of one model, and takes as long as one step. On a
        card they may, and the function stays as it is.
        """
        if self.device != CPU:
            return function

        def run(rows: Tensor, own: Mapping[str, Tensor], *given: Tensor) -> Any:
            shapes = tuple((tensor.shape, tensor.dtype) for tensor in given)
            if shapes not in self._aligns:
                generator = torch.Generator().manual_seed(0)
                bits = [_any(tensor[0], generator) for tensor in given]
                of_one = (self._example[0], dict(self._example[1]), *bits)
                copies = pytree.tree_map(lambda one: torch.stack([one] * WIDTH), of_one)
                found = pytree.tree_leaves(function(*copies))
                self._aligns[shapes] = any(not _same(each, each[:1].expand_as(each)) for each in found)
            with Aligned() if self._aligns[shapes] else nullcontext():
                return function(rows, own, *given)

        return run

    def row(self, model: Model) -> Tensor:
        """Join a model's trained parameters to a row, shape (trained numbers,)."""
        return torch.cat([p.detach().reshape(-1) for p in model.parameters() if p.requires_grad])

    def constants(self, model: Model) -> dict[str, Tensor]:
        """Copy a model's own other tensors, by path.

        Raises:
            CellError: a tensor that was the same in all examples is another one here.
        """
        tensors = Contents(model).tensors
        for path, tensor in self._shared.items():
            if path not in tensors or not _same(tensor, tensors[path].tensor):
                raise CellError(f"{path} differs between some replicas, and is equal in most: use `engine: reference`")
        return {path: tensors[path].tensor.detach().clone() for path in self.own}

    def named(self, row: Tensor) -> dict[str, Tensor]:
        """Divide a row into parameters by name, as views in their own shapes."""
        parts = torch.split(row, self.sizes)
        return {n: p.view(s) for n, p, s in zip(self.names, parts, self.shapes, strict=True)}

    def parameters(self, row: Tensor, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give all parameters of a replica by name, those that are not trained included."""
        known = {**self._shared, **self.named(row), **own}
        return {name: known[name] for name, _ in self.model.named_parameters()}

    def logits(self, row: Tensor, own: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Compute logits (time, batch, output_size) with a replica's tensors."""
        with making_on(self.device), spelt_out(), replaced(self.contents, {**self.named(row), **own}):
            out: Tensor = self.model(inputs)
        return out


def _any(like: Tensor, generator: torch.Generator) -> Tensor:
    """Make data like some: bits, the first of the classes, or a mask of steps that all count."""
    if like.dtype == torch.bool:
        return torch.ones_like(like)
    if not like.is_floating_point():
        return torch.zeros_like(like)
    return torch.randint(0, 2, like.shape, generator=generator).float()


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and bool(torch.equal(a.detach(), b.detach()))
