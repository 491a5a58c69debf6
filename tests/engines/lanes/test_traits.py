"""Traits of cells that people write: each is carried, at the losses of the reference engine over 200 steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.helpers import trait_cells as cells
from tests.helpers.lanes import addition, blueprint, losses

QUICK = (cells.Spiking, cells.LinearRecurrentUnit)
"""Those that plain `pytest` compiles."""


@pytest.mark.parametrize(
    "cell", [pytest.param(c, id=c.__name__, marks=[] if c in QUICK else [pytest.mark.slow]) for c in cells.TRAITS]
)
def test_a_trait_is_carried_at_the_losses_of_reference(cell: Any) -> None:
    plan, data = blueprint(cell), addition(1, 200, batch=6)
    got, want = (losses(engine, plan, data, 0.003) for engine in ("lanes", "reference"))
    assert np.abs(got - want).max() < 1e-6
    assert np.ptp(want) > 1e-3  # it learns
