"""What a model is trained for and scored by, from its raw outputs: one loss and one rule of right for each kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cellbench.task import Floats, Kind, Task


@dataclass(frozen=True)
class Objective:
    """The loss and the scores of a task's kind; see `cellbench.task.Task.kind`.

    Masks are truth values of shape (..., time, batch). Where one is False, nothing is trained or scored. A mask that is
    True everywhere gives the same numbers as None, to the bit, so that a replica's numbers never depend on whether
    another replica's batch has a mask.

    Attributes:
        kind: of the task's answers.
        tolerance: how far a number may be from its target and count as right.
    """

    kind: Kind = "bits"
    tolerance: float = Task.tolerance

    def loss(self, logits: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compute the mean loss over all answers that count: nats per bit, nats per class, or squared error.

        Args:
            logits: the raw outputs, shape (time, batch, output_size).
            targets: shape (time, batch, output_size); classes: whole numbers, shape (time, batch).
            mask: shape (time, batch), or None.
        """
        if mask is None and self.kind == "bits":
            return nn.functional.binary_cross_entropy_with_logits(logits, targets)
        if mask is None:
            return self._each(logits, targets).mean()
        # outputs where nothing counts may be anything, even infinite
        logits = torch.where(mask.unsqueeze(-1), logits, torch.zeros_like(logits))
        weight = (mask * (mask.numel() / mask.sum())).unsqueeze(-1).to(logits.dtype)
        if self.kind == "bits":
            return nn.functional.binary_cross_entropy_with_logits(logits, targets, weight=weight.expand_as(logits))
        return (self._each(logits, targets) * weight).mean()

    def scores(
        self, logits: Tensor, targets: Tensor, mask: Tensor | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Compute the loss, the share of right answers, and the share of examples whose answers are all right.

        Args:
            logits: shape (replicas, time, examples, output_size).
            targets: shape (replicas, time, examples, output_size); classes: whole numbers, (replicas, time, examples).
            mask: shape (replicas, time, examples), or None.

        Returns:
            Three arrays of shape (replicas,).
        """
        right = self.right(logits, targets)
        if mask is None:
            losses = self._each(logits, targets).mean(dim=(1, 2, 3))
            answers = right.double().mean(dim=(1, 2, 3))
        else:
            counts = mask.unsqueeze(-1)
            logits = torch.where(counts, logits, torch.zeros_like(logits))
            weight = mask[0].numel() / mask.sum(dim=(1, 2)).to(logits.dtype)[:, None, None, None]
            losses = (self._each(logits, targets) * counts * weight).mean(dim=(1, 2, 3))
            counted = mask.sum(dim=(1, 2)) * right.shape[3]
            answers = (right & counts).sum(dim=(1, 2, 3)).double() / counted
            right = right | ~counts
        sequences = right.all(dim=3).all(dim=1).double().mean(dim=1)
        return losses.double().cpu().numpy(), answers.cpu().numpy(), sequences.cpu().numpy()

    def right(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Tell which answers are right; one that is not a number is wrong.

        A bit is right if its logit has the target's sign (0 is wrong), a class if its logit is above all others (a tie
        is wrong), a number if it is within the tolerance.

        Args:
            logits: shape (..., output_size).
            targets: shape (..., output_size); classes: shape (...).

        Returns:
            Truth values of shape (..., output_size); classes: (..., 1).
        """
        if self.kind == "bits":
            return logits * (2 * targets - 1) > 0
        if self.kind == "numbers":
            return (logits - targets).abs() <= self.tolerance
        wanted = targets.unsqueeze(-1)
        others = logits.scatter(-1, wanted, -torch.inf).amax(dim=-1, keepdim=True)
        return logits.gather(-1, wanted) > others

    def answers(self, logits: Floats) -> NDArray[Any]:
        """Answer as the task's targets are: bits 0 or 1, the class of the largest logit, or the numbers themselves.

        Args:
            logits: shape (..., output_size).

        Returns:
            Shape (..., output_size); classes: whole numbers, shape (...).
        """
        if self.kind == "bits":
            return (logits > 0).astype(np.float32)
        return logits.argmax(axis=-1) if self.kind == "classes" else logits

    def example(self, time: int, batch: int, output_size: int, generator: torch.Generator) -> Tensor:
        """Draw targets of any task of this kind, to try a model with.

        Returns:
            Shape (time, batch, output_size), of float32; classes: whole numbers, shape (time, batch).
        """
        if self.kind == "bits":
            return torch.randint(0, 2, (time, batch, output_size), generator=generator).float()
        if self.kind == "classes":
            return torch.randint(0, output_size, (time, batch), generator=generator)
        return torch.randn(time, batch, output_size, generator=generator)

    def _each(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of each answer, shape (..., output_size); classes: (..., 1)."""
        if self.kind == "bits":
            return nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        if self.kind == "numbers":
            return (logits - targets).square()
        return -logits.log_softmax(dim=-1).gather(-1, targets.unsqueeze(-1))


BITS = Objective()
"""That of binary addition, and of every task that does not say otherwise."""


def loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute the mean cross-entropy of bits in nats; logits and targets have one shape."""
    return BITS.loss(logits, targets)
