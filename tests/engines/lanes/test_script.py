"""TorchScript in a cell is traced the same, however often it ran before."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cellbench.engines.lanes.graph.script import unoptimised
from cellbench.engines.lanes.graph.trace import trace
from tests.helpers import awkward
from tests.helpers.oracle import blueprint


def nodes(factory: Any) -> int:
    model = blueprint(factory).build(0)
    with unoptimised(model):
        return len(trace(model, 2).step.graph.nodes)


@pytest.mark.parametrize("factory", awkward.SCRIPTED)
def test_a_trace_does_not_depend_on_earlier_runs(factory: Any) -> None:
    """Before any run, after some with gradients, and after some without: the same operations."""
    cold = nodes(factory)
    for gradients in (True, False):
        model = blueprint(factory).build(1)
        with torch.set_grad_enabled(gradients):
            for _ in range(5):
                out = model(torch.randn(3, 4, 2)).sum()
                if gradients:
                    out.backward()
        assert nodes(factory) == cold
