"""A sound cell, and cells made from it that break one law each."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cellbench import Cell, State


class Sound(Cell):
    """h' = tanh(W x + U h + b): what the broken cells below are made from."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.linear = nn.Linear(input_size + hidden_size, hidden_size)

    def next(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.linear(torch.cat([x, state], dim=1)))

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = self.next(x, state)
        return h, h


class NoInitialState(nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.module = nn.RNNCell(input_size, hidden_size)


class Raises(Sound):
    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        raise RuntimeError("not today")


class ReturnsOneTensor(Sound):
    def forward(self, x: Tensor, state: State) -> Any:
        return self.next(x, state)


class ClaimsAnotherOutput(Sound):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.output_size = hidden_size - 1

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = self.next(x, state)
        return torch.cat([h[:, :-1], h[:, :1]], dim=1), h


class HalfPrecisionState(Sound):
    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = self.next(x, state.float())
        return h, h.to(torch.float16)


class StateHasNoBatch(Sound):
    def initial_state(self, batch_size: int) -> State:
        return torch.zeros(self.hidden_size)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = self.next(x, state.expand(len(x), self.hidden_size))
        return h, h[0]


class ChangesNesting(Sound):
    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = self.next(x, state[0] if isinstance(state, tuple) else state)
        return h, (h,)


class Grows(Sound):
    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = self.next(x, state[:, : self.hidden_size])
        return h, torch.cat([h, state], dim=1)


class RemembersByItself(Sound):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.last = torch.zeros(1, hidden_size)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = self.next(x, state + 0.1 * self.last.mean())
        self.last = h.detach()
        return h, h


class MixesSequences(Sound):
    """Keeps a memory of its own, emptied at a state of zeros: only sequences taken in turns show it."""

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        if not bool(state.any()):
            self.own = state
        self.own = self.next(x, self.own)
        return self.own, self.own.detach() + 1e-3


class DropsUnits(Sound):
    def next(self, x: Tensor, state: Tensor) -> Tensor:
        return nn.functional.dropout(super().next(x, state), 0.5)


class WritesIntoItsState(Sound):
    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = self.next(x, state.clone())
        state.mul_(0.5)
        return h, h


class CountsItsCalls(Sound):
    calls: Tensor

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        self.calls += 1
        return super().forward(x, state)


class SubtractsTheBatchMean(Sound):
    def next(self, x: Tensor, state: Tensor) -> Tensor:
        return super().next(x, state - 1e-4 * state.mean(dim=0))


class IgnoresItsState(Sound):
    def next(self, x: Tensor, state: Tensor) -> Tensor:
        return super().next(x, 0 * state)


class IgnoresItsInput(Sound):
    def next(self, x: Tensor, state: Tensor) -> Tensor:
        return super().next(0 * x, state)


class BeginsWithoutMemory(Sound):
    """Sound: its memory has a trained weight that begins at 0."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.memory = nn.Parameter(torch.zeros(hidden_size))

    def next(self, x: Tensor, state: Tensor) -> Tensor:
        return super().next(x, self.memory * state)


class KnowsTheBatchSize(Sound):
    def next(self, x: Tensor, state: Tensor) -> Tensor:
        return super().next(x / len(x), state)


class HasAnUnusedWeight(Sound):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.spare = nn.Parameter(torch.ones(3))


class HasADeadWeight(HasAnUnusedWeight):
    def next(self, x: Tensor, state: Tensor) -> Tensor:
        return super().next(x, state) + 0 * self.spare.sum()


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return 1.01 * gradients[0]


class HasAWrongGradient(Sound):
    def next(self, x: Tensor, state: Tensor) -> Tensor:
        doubled: Tensor = _Doubled.apply(super().next(x, state))  # type: ignore[no-untyped-call]
        return doubled


class IsFloat32Only(Sound):
    def next(self, x: Tensor, state: Tensor) -> Tensor:
        weight = self.linear.weight.float()
        return torch.tanh(torch.cat([x, state], dim=1).to(torch.float32) @ weight.T + self.linear.bias.float())


class ComputesInBfloat16(Sound):
    """Sound, by scripted code that no other precision can be asked of."""

    def next(self, x: Tensor, state: Tensor) -> Tensor:
        return _narrowed(super().next(x, state))


@torch.jit.script
def _narrowed(x: Tensor) -> Tensor:
    return x.to(torch.bfloat16).to(torch.float32)


class Explodes(Sound):
    def next(self, x: Tensor, state: Tensor) -> Tensor:
        return super().next(x, state) + 1.1 * state + 0.01


class DrawsByItself(Sound):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        noise = np.random.default_rng(int.from_bytes(os.urandom(4), "little")).normal(size=hidden_size)
        self.linear.bias.data += torch.from_numpy(noise).float()


class CannotBePickled(Sound):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.squash = lambda x: torch.tanh(x)


class SharesWeightsWithItsCopies(Sound):
    def __deepcopy__(self, memo: dict[int, Any]) -> SharesWeightsWithItsCopies:
        return self


class ForgetsItsInitialState(Sound):
    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = self.next(x, state.detach())
        return h, h


class StartsByBatchSize(Sound):
    def initial_state(self, batch_size: int) -> State:
        return torch.full((batch_size, self.hidden_size), 1.0 / batch_size)
