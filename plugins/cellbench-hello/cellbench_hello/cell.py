import torch
from torch import Tensor, nn

from cellbench import Cell, State


class Hello(Cell):
    """h' = (h + tanh(W x + U h + b)) / 2."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.linear = nn.Linear(input_size + hidden_size, hidden_size)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = (state + torch.tanh(self.linear(torch.cat([x, state], dim=1)))) / 2
        return h, h
