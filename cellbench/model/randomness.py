"""The generators of the whole process: those of torch, numpy and Python, set from named streams and put back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from cellbench import streams


def set_generators(*axes: streams.Axis) -> None:
    """Set the global generators of torch, numpy and Python from a name."""
    number = streams.seed(*axes)
    # not by torch.manual_seed: it asks for every kind of device, which takes longer than a small cell's step
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed(number)
    np.random.seed(number % 2**32)
    random.seed(number)


@contextmanager
def generators_kept() -> Iterator[None]:
    """Put the global generators back, after this block, as they were before it."""
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    on_card = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    card_state = torch.cuda.get_rng_state() if on_card else None
    try:
        yield
    finally:
        if card_state is not None:
            torch.cuda.set_rng_state(card_state)
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)


@contextmanager
def seeded(*axes: streams.Axis) -> Iterator[None]:
    """Set the global generators from a name within this block, and put them back afterwards.

    A cell may draw its weights, and whatever it draws while it runs, from any of the three.
    """
    with generators_kept():
        set_generators(*axes)
        yield


def generator_states() -> dict[str, object]:
    """Write down the state of each global generator; equal values mean that nothing was drawn in between."""
    kind, words, *rest = np.random.get_state()
    return {
        "torch's": torch.get_rng_state().numpy().tobytes(),
        "numpy's": (kind, np.asarray(words).tobytes(), *rest),
        "Python's": random.getstate(),
    }
