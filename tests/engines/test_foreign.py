"""Classes of torch.optim by their paths: the reference engine trains by them, the others say why they do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cellbench.cells.rnn import rnn
from cellbench.engines import Choice, OptimizerError, Refused, choose, prepare
from cellbench.engines.optimizers import optimizer_of
from cellbench.records import Train
from tests.helpers import oracle
from tests.helpers.oracle import blueprint, data, plain_loop

FIRST = {"max_steps": 15, "clip_norm": 1.0, "stop_when_solved": False, "timeout": 60.0}
OPTIONS: dict[str, dict[str, Any]] = {
    "Adadelta": {"rho": 0.8}, "Adafactor": {"eps": [None, 1e-3]}, "Adagrad": {"lr_decay": 0.1},
    "Adam": {"amsgrad": True}, "AdamW": {}, "Adamax": {"betas": [0.8, 0.9]}, "ASGD": {"t0": 3},
    "NAdam": {"momentum_decay": 0.1}, "RAdam": {},
    "RMSprop": {"centered": True}, "Rprop": {"etas": [0.4, 1.3]}, "SGD": {"nesterov": True, "momentum": 0.9},
}  # fmt: skip


def made(name: str, **keys: Any) -> Any:
    return optimizer_of(Train.read({**FIRST, "optimizer": f"torch.optim.{name}", **keys}))


def tuples(options: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


@pytest.mark.parametrize("name", OPTIONS)
def test_reference_trains_by_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit as a plain loop does."""
    options = OPTIONS[name]
    monkeypatch.setitem(oracle.MAKERS, name, lambda p, rate: getattr(torch.optim, name)(p, lr=rate, **tuples(options)))
    plan = blueprint(rnn)
    ready = prepare("reference", plan, made(name, optimizer_options=options), 1.0)
    replicas = ready.begin([plan.build("oracle", 0)], [0.01])
    found = replicas.advance(*data(), np.zeros(1, np.int64)).losses[0]
    want = plain_loop(plan.build("oracle", 0), data(), optimizer=name)
    assert np.array_equal(found, want)
    assert found[0] != found[-1]


def test_none_is_left_out() -> None:
    """Each class that torch has is trained by above, or refused below."""
    classes = {n for n, c in vars(torch.optim).items() if isinstance(c, type) and issubclass(c, torch.optim.Optimizer)}
    assert classes - {"Optimizer"} <= {*OPTIONS, "LBFGS", "SparseAdam", "Muon"}


@pytest.mark.parametrize(
    ("name", "options", "key", "said"),
    [
        ("LBFGS", {}, "optimizer", "not offered: torch.optim.LBFGS needs a closure"),
        ("SparseAdam", {}, "optimizer", "SparseAdam does not support dense gradients"),
        ("Adagard", {}, "optimizer", "has no optimizer 'torch.optim.Adagard'. Did you mean Adagrad?"),
        ("Optimizer", {}, "optimizer", "has no optimizer 'torch.optim.Optimizer'"),
        ("lr_scheduler", {}, "optimizer", "has no optimizer"),
        ("Adagrad", {"lr_dekay": 1}, "lr_dekay", "takes no 'lr_dekay'. Did you mean lr_decay?"),
        ("Adagrad", {"lr_decay": -1}, "optimizer_options", "refuses them: ValueError: Invalid lr_decay value: -1"),
        ("Adagrad", {"lr_decay": None}, "optimizer_options", "TypeError"),
        ("Adagrad", {"lr_decay": "x"}, "optimizer_options", "TypeError"),
        ("Adam", {"differentiable": True}, "optimizer_options", "cannot train: "),
    ],
)
def test_what_cannot_train_is_refused(name: str, options: dict[str, Any], key: str, said: str) -> None:
    """Before anything is trained, with the key that is to blame."""
    with pytest.raises(OptimizerError) as caught:
        made(name, optimizer_options=options)
    assert caught.value.key == key
    assert said in str(caught.value)


@pytest.mark.parametrize("engine", ["lanes", "stack"])
def test_the_others_refuse_them(engine: str) -> None:
    with pytest.raises(Refused, match=r"only reference trains by torch\.optim\.Adagrad"):
        prepare(engine, blueprint(rnn), made("Adagrad"), 1.0)


def test_auto_takes_reference() -> None:
    """And says why; an optimizer that does not take the model's parameters is refused by its own words."""
    choice = choose("auto", [blueprint(rnn)], made("Adagrad"), 1.0)
    why = "only reference trains by torch.optim.Adagrad"
    assert choice == Choice("reference", f"not lanes: {why}; not stack: {why}")
    with pytest.raises(Refused, match=r"torch\.optim\.Muon does not train the model's parameters: ValueError: Muon o"):
        prepare("reference", blueprint(rnn), made("Muon"), 1.0)
