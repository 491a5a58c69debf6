"""One training step of a stack as a function of tensors alone, so that a card can record and replay it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from cellbench.engines.optimizers import Optimizer, clip


class Step:
    """The step: gradient, clipping, update.

    Args:
        gradient: (rows, own tensors by path, *batch) -> gradients and losses of a stack.
        paths: of each replica's own tensors.
        optimizer, clip_norm: how it is trained.
        moves: which numbers of a row are updated, shape (trained numbers,); None for all.
    """

    def __init__(
        self,
        gradient: Callable[..., Any],
        paths: Sequence[str],
        optimizer: Optimizer,
        clip_norm: float | None,
        moves: Tensor | None,
    ) -> None:
        self._gradient, self._paths, self._moves = gradient, paths, moves
        self._optimizer, self._clip_norm = optimizer, clip_norm

    def __call__(
        self, rows: Tensor, ok: Tensor, rates: Tensor, number: int | Tensor, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        """Make one step.

        Args:
            rows: trained parameters, shape (replicas, trained numbers).
            ok: whether each replica is finite so far, shape (replicas, 1).
            rates: learning rates in float32, shape (replicas, 1).
            number: of the step, from 1.
            *rest: the optimizer's slots, the replicas' own tensors, and their batches.

        Returns:
            Rows, `ok` and slots after the step, between them the losses before it: rows, ok, losses, *slots.
        """
        slots, rest = rest[: self._optimizer.slots], rest[self._optimizer.slots :]
        own = dict(zip(self._paths, rest, strict=False))
        gradients, losses = self._gradient(rows, own, *rest[len(own) :])
        norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
        ok = ok & torch.isfinite(losses)[:, None] & torch.isfinite(norms)
        if self._clip_norm is not None:
            gradients = clip(gradients, norms, self._clip_norm)
        after, after_slots = self._optimizer.update(rows, gradients, slots, rates, number)
        # a replica whose loss or gradient was not finite keeps its weights from now on
        moves = ok if self._moves is None else ok & self._moves
        rows = torch.where(moves, after, rows)
        return rows, ok, losses, *(torch.where(ok, a, b) for a, b in zip(after_slots, slots, strict=True))
