"""The LSTM with one bias per gate and the initial weights of torch: the control beside those of Keras and Flax."""

from __future__ import annotations

import torch
from torch import nn

from cellbench_libraries.lstm import LSTM


class OneBiasLSTM(LSTM):
    """LSTM with torch's initial weights: K and R uniform in ±1/sqrt(hidden size), b the sum of two such draws.

    Beside the built-in lstm it shows what torch's second bias does, beside lstm-keras and lstm-flax what initial
    weights do. `kernel_deviation` changes one thing more: the size of K.

    Args:
        input_size: features of x.
        hidden_size: units.
        kernel_deviation: the standard deviation of K, uniform too; torch's, 1/sqrt(3 hidden size), when not given.

    Raises:
        ValueError: `kernel_deviation` is not positive.
    """

    def __init__(self, input_size: int, hidden_size: int, *, kernel_deviation: float | None = None) -> None:
        super().__init__(input_size, hidden_size)
        if kernel_deviation is not None:
            if not kernel_deviation > 0:
                raise ValueError(f"kernel_deviation must be positive, not {kernel_deviation}")
            nn.init.uniform_(self.kernel, -kernel_deviation * 3**0.5, kernel_deviation * 3**0.5)

    def reset_parameters(self) -> None:
        """Draw the initial weights in place."""
        limit = self.hidden_size**-0.5
        self.kernel.uniform_(-limit, limit)
        self.recurrent_kernel.uniform_(-limit, limit)
        self.bias.uniform_(-limit, limit)
        self.bias += torch.empty_like(self.bias).uniform_(-limit, limit)
