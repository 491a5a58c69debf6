"""The programs in benchmarks/ that no other test runs: they must still do what they are said to."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.lanes import engine

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.slow
def test_the_floor_has_the_losses_of_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The LSTM written by hand, which engines.py calls the speed to hope for, compiles and computes the same thing."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    peers = import_module("peers")
    setting, steps = peers.Setting(cell="lstm", hidden=20, time=8, batch=16, replicas=2), 20
    floor = peers.floor(setting, steps).run()
    plan = peers.blueprint(setting)
    ready = engine("lanes", plan, batch_sizes=(setting.batch,))
    replicas = ready.begin([plan.build("bench", r) for r in range(setting.replicas)], [0.01] * setting.replicas)
    lanes = replicas.advance(*peers.data(setting, steps, 1), np.zeros(setting.replicas, np.int64)).losses
    np.testing.assert_allclose(floor, lanes, rtol=0, atol=1e-5)
