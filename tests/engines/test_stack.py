"""Stack: each replica has its own tensors, what is not trained stays, and what cannot be shared is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cellbench.engines import Refused
from tests.helpers import awkward
from tests.helpers.oracle import blueprint, data, plain_loop, started


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
@pytest.mark.parametrize("factory", awkward.FROZEN)
@pytest.mark.parametrize("clip", [0.05, None])
def test_frozen_parameters_keep_their_bits(factory: Any, optimizer: str, clip: float | None) -> None:
    """Under every optimizer they stay as they were made, are no part of the norm, and losses are those of torch."""
    plan, given = blueprint(factory), data()
    replicas = started("stack", plan, optimizer=optimizer, clip=clip)
    losses = replicas.advance(*given, np.zeros(3, np.int64)).losses
    for seed, after in enumerate(replicas.parameters()):
        model = plan.build("oracle", seed)
        frozen = {n: p.detach().numpy().copy() for n, p in model.named_parameters() if not p.requires_grad}
        assert frozen
        assert all(np.array_equal(after[name], value) for name, value in frozen.items())
        np.testing.assert_allclose(losses[seed], plain_loop(model, given, optimizer=optimizer, clip=clip), atol=3e-6)
        assert list(after) == [name for name, _ in model.named_parameters()]


@pytest.mark.parametrize("factory", awkward.OWN)
def test_each_replica_has_its_own_tensors(factory: Any) -> None:
    """Buffers of any type, attributes, lists, objects and closures: losses are those of the model alone, or refused."""
    plan, given = blueprint(factory), data()
    replicas = started("stack", plan)
    if isinstance(replicas, Refused):
        assert factory in (awkward.DrawnNumber, awkward.DrawnArray, awkward.Seen), replicas
        return
    losses = replicas.advance(*given, np.zeros(3, np.int64)).losses
    for seed in range(3):
        np.testing.assert_allclose(losses[seed], plain_loop(plan.build("oracle", seed), given), atol=3e-6)
    firsts = losses[:, 0]
    assert len(set(firsts.round(6))) == 3


def test_what_one_module_cannot_be_for_many_is_refused_by_name() -> None:
    """A number that is drawn, memory across sequences, hooks: the reason names the place."""
    for factory, said in (
        (awkward.DrawnNumber, "cell.leak differs between replicas, and is no tensor"),
        (awkward.DrawnArray, "cell.shift differs between replicas"),
        (awkward.Seen, "cell.turned lies in the memory of a trained parameter"),
        (awkward.Annealed, "cell.calls is remembered from one sequence to the next"),
        (awkward.Normed, "cell.norm.running_mean is remembered"),
        (awkward.Centred, "cell.mean is remembered"),
        (awkward.Apart, "cell.h.weight has a hook on its gradient"),
        (awkward.AfterAccumulation, "cell.h.weight has a hook that runs after"),
        (awkward.ModuleHook, "cell.act has a hook on its gradient"),
    ):
        refused = started("stack", blueprint(factory))
        assert isinstance(refused, Refused), factory
        assert said in str(refused)
