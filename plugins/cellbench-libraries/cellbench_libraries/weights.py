"""Draw initial weights by the rules that Keras and JAX's libraries share, into tensors of shape (in, out).

Those libraries store a kernel as (in, out), torch as (out, in). Each rule changes the tensor in place.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

CUT = 0.87962566103423978
"""Standard deviation of a standard normal cut at ±2, by which the libraries correct (jax.nn.initializers)."""


def glorot_uniform_(kernel: Tensor) -> None:
    """Draw uniformly in ±sqrt(6 / (in + out)): Glorot & Bengio 2010, equation 16."""
    nn.init.xavier_uniform_(kernel)


def lecun_normal_(kernel: Tensor) -> None:
    """Draw from a normal cut at 2 deviations, of variance 1/in after the cut: LeCun et al. 1998, equation 16."""
    truncated_normal_(kernel, 1 / math.sqrt(kernel.shape[0]) / CUT)


def truncated_normal_(kernel: Tensor, deviation: float) -> None:
    """Draw from normal(0, deviation²) cut at 2 deviations; the cut leaves 0.88 of the deviation."""
    nn.init.trunc_normal_(kernel, std=deviation, a=-2 * deviation, b=2 * deviation)


def orthogonal_(kernel: Tensor) -> None:
    """Draw one matrix over all gates, shape (hidden, gates * hidden), with orthonormal rows: Saxe et al. 2014.

    A gate's own part of it is not orthogonal: its singular values are below 1.
    """
    nn.init.orthogonal_(kernel)


def orthogonal_per_gate_(kernel: Tensor) -> None:
    """Draw an orthogonal matrix for each gate of a kernel of shape (hidden, gates * hidden)."""
    for gate in kernel.split(kernel.shape[0], dim=1):
        square = torch.empty(kernel.shape[0], kernel.shape[0], dtype=kernel.dtype)
        with torch.no_grad():
            gate.copy_(nn.init.orthogonal_(square))
