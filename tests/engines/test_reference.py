"""Reference: what a plain loop does with the very module that the factory made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cellbench.engines import OPTIMIZERS, Refused, prepare, reference
from tests.helpers import awkward
from tests.helpers.oracle import Loop, blueprint, data, started

ALL = (awkward.Bare, *awkward.FROZEN, *awkward.OWN, *awkward.CHANGING, *awkward.LATE, *awkward.HOOKS, *awkward.UNCOPIED)


@pytest.mark.parametrize("factory", ALL)
def test_it_is_a_plain_loop(factory: Any) -> None:
    """For every kind of cell, losses of training and evaluation in turns are a plain loop's, and parameters too."""
    plan, (x, y), which = blueprint(factory), data(), np.zeros(2, np.int64)
    replicas = started("reference", plan, 2)
    assert not isinstance(replicas, Refused)
    parts = ((x[:, :7], y[:, :7]), (x[:, 7:], y[:, 7:]))
    found = [(replicas.advance(*part, which).losses, replicas.evaluate(x[:, 0], y[:, 0], which).loss) for part in parts]
    for seed in range(2):
        loop = Loop(plan.build("oracle", seed))
        for (losses, score), part in zip(found, parts, strict=True):
            np.testing.assert_array_equal(losses[seed], loop.train(part))
            assert score[seed] == pytest.approx(loop.evaluate((x, y)), abs=1e-7)
        for name, parameter in loop.model.named_parameters():
            assert np.array_equal(replicas.parameters()[seed][name], parameter.detach().numpy()), name


def test_it_trains_the_modules_it_is_given() -> None:
    """Not copies of them; two replicas cannot share one."""
    plan, given = blueprint(awkward.Plain), data()
    ready = prepare("reference", plan, OPTIMIZERS["adam"], 1.0)
    model = plan.build("oracle", 0)
    replicas = ready.begin([model], [0.01])
    replicas.advance(*given, np.zeros(1, np.int64))
    (trained,) = replicas.trained([0])
    assert isinstance(trained, reference.ReferenceReplica)
    assert trained.model is model
    assert trained.steps == 15
    shared = ready.begin([model, model], [0.01, 0.1])
    with pytest.raises(ValueError, match="two replicas share one module"):
        shared.advance(*given, np.zeros(2, np.int64))


def test_hooks_forbid_what_they_forbid() -> None:
    """A hook keeps the diagonal of the recurrent weights at zero, as norse does."""
    replicas = started("reference", blueprint(awkward.Apart), 1)
    replicas.advance(*data(), np.zeros(1, np.int64))
    weight = replicas.parameters()[0]["cell.h.weight"]
    assert not np.diag(weight).any()
    assert weight.any()
