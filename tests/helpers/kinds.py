"""Tasks of every kind, drawn from the stream alone, and what torch's own losses say of a plain nn.LSTM on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from cellbench.streams import Stream
from cellbench.task import Batch, Kind, Parameters, Task, one_hot


class _Length(Task):
    parameters: ClassVar[Mapping[str, str]] = {"length": "steps"}

    def check_parameter(self, name: str, value: object) -> None:
        if not isinstance(value, int) or value < 2:
            raise ValueError(f"{name} must be a whole number of 2 or more")


class Echo(_Length):
    """Classes at every step: the token before."""

    kind: ClassVar[Kind] = "classes"
    tokens: ClassVar[bool] = True
    input_size = output_size = 5

    def batch(self, stream: Stream, examples: int, parameters: Parameters) -> Batch:
        drawn = (stream.uniform(int(parameters["length"])).T * 5).astype(np.int64)
        return drawn, np.concatenate([np.zeros_like(drawn[:1]), drawn[:-1]])


class Last(Echo):
    """One class, at the last step alone: the first token."""

    def batch(self, stream: Stream, examples: int, parameters: Parameters) -> Batch:
        drawn, _ = super().batch(stream, examples, parameters)[:2]
        mask = np.zeros(drawn.shape, np.int8)
        mask[-1] = 1
        return drawn, np.broadcast_to(drawn[0], drawn.shape).copy(), mask


class Ragged(Echo):
    """Classes, at as many first steps as each example has."""

    def batch(self, stream: Stream, examples: int, parameters: Parameters) -> Batch:
        length = int(parameters["length"])
        drawn = (stream.uniform(length + 1).T * 5).astype(np.int64)
        counts = np.arange(length)[:, None] <= drawn[-1] * length // 5
        return drawn[:-1], np.concatenate([np.zeros_like(drawn[:1]), drawn[:-2]]), counts


class Mean(_Length):
    """Numbers: the running means of both inputs."""

    kind: ClassVar[Kind] = "numbers"
    input_size = output_size = 2

    def batch(self, stream: Stream, examples: int, parameters: Parameters) -> Batch:
        length = int(parameters["length"])
        inputs = np.ascontiguousarray(stream.uniform(2 * length).reshape(examples, length, 2).swapaxes(0, 1))
        return inputs, inputs.cumsum(axis=0) / np.arange(1, length + 1)[:, None, None]


class LastMean(Mean):
    """The same at the last two steps."""

    def batch(self, stream: Stream, examples: int, parameters: Parameters) -> Batch:
        inputs, targets = super().batch(stream, examples, parameters)[:2]
        mask = np.zeros(inputs.shape[:2], np.float64)
        mask[-2:] = 1
        return inputs, targets, mask


class Parity(_Length):
    """Bits, at every other step: the parity so far."""

    input_size = output_size = 1

    def batch(self, stream: Stream, examples: int, parameters: Parameters) -> Batch:
        drawn = np.ascontiguousarray(stream.bits(int(parameters["length"])).T)
        mask = np.zeros(drawn.shape, bool)
        mask[::2] = True
        return drawn[..., None].astype(np.float32), (drawn.cumsum(axis=0) % 2)[..., None].astype(np.float32), mask


class Ones(Echo):
    """Classes at every step, said by a mask."""

    def batch(self, stream: Stream, examples: int, parameters: Parameters) -> Batch:
        inputs, targets = super().batch(stream, examples, parameters)[:2]
        return inputs, targets, np.ones(inputs.shape, np.int64)


TASKS: dict[str, Task] = {
    "echo": Echo(), "last": Last(), "ragged": Ragged(), "mean": Mean(), "last-mean": LastMean(), "parity": Parity()
}  # fmt: skip


def torchs_loss(kind: Kind, logits: Tensor, targets: Tensor, mask: Tensor | None) -> Tensor:
    """Compute the loss by torch's own functions over the steps that count, picked out one by one."""
    if mask is not None:
        logits, targets = logits[mask], targets[mask]
    if kind == "classes":
        return nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))
    if kind == "numbers":
        return nn.functional.mse_loss(logits, targets)
    return nn.functional.binary_cross_entropy_with_logits(logits, targets)


def by_hand(task: Task, name: str, length: int, batch: int, step: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Draw the batch of one step of seed 0 as tensors, without what cellbench makes of a task's arrays."""
    stream = Stream("data", name, (("length", length),), batch, 0, start=step * batch, count=batch)
    x, y, *mask = task.batch(stream, batch, {"length": length})
    inputs = torch.from_numpy(np.asarray(one_hot(x, task.input_size) if task.tokens else x, np.float32))
    targets = torch.from_numpy(np.asarray(y, np.int64 if task.kind == "classes" else np.float32))
    return inputs, targets, torch.from_numpy(np.asarray(mask[0], bool)) if mask else None


class Plain(nn.Module):
    """nn.LSTM with a linear readout, at the weights of a model of the built-in lstm."""

    def __init__(self, task: Task, model: Any) -> None:
        super().__init__()
        cell: nn.LSTMCell = model.cell.module
        self.lstm = nn.LSTM(task.input_size, cell.hidden_size)
        self.readout = nn.Linear(cell.hidden_size, task.output_size)
        self.lstm.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
        self.readout.load_state_dict(model.readout.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        """Raw outputs (time, batch, output_size)."""
        logits: Tensor = self.readout(self.lstm(x)[0])
        return logits

    def train_on(self, task: Task, name: str, length: int, batch: int, steps: int, rate: float) -> list[float]:
        """Train it with torch alone, by Adam, clipped to norm 1; the losses."""
        optimizer, losses = torch.optim.Adam(self.parameters(), lr=rate), []
        for step in range(steps):
            x, y, mask = by_hand(task, name, length, batch, step)
            optimizer.zero_grad()
            loss = torchs_loss(task.kind, self(x), y, mask)
            loss.backward()
            nn.utils.clip_grad_norm_(self.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        return losses
