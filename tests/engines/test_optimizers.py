"""What `train:` sets of an optimizer: every engine against torch.optim and its schedulers in a plain loop."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import lr_scheduler

from cellbench import Cell
from cellbench.cells.lstm import lstm
from cellbench.engines import Refused, lanes, prepare
from cellbench.engines.optimizers import optimizer_of
from cellbench.records import Train
from tests.helpers.lanes import addition, blueprint

STEPS, RATE, BATCH = 200, 0.01, 4
ENGINES = ("reference", "stack", "lanes")
FIRST = {"max_steps": STEPS, "clip_norm": None, "stop_when_solved": False, "timeout": 60.0}
Makers = tuple[dict[str, Any], Any, Any]


def warmed(warmup: int, rest: Any = None) -> Any:
    """torch's own schedulers: a linear warm-up, then another one."""

    def make(by: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        rise = lr_scheduler.LinearLR(by, start_factor=1 / warmup, total_iters=warmup - 1)
        after = rest(by) if rest else lr_scheduler.ConstantLR(by, factor=1.0)
        return lr_scheduler.SequentialLR(by, [rise, after], [warmup])

    return make


WAYS: dict[str, Makers] = {
    # keys of train:; the same of torch; its schedulers
    "adam, L2 penalty, cosine after a warm-up": (
        {"optimizer": "adam", "weight_decay": 0.1, "betas": [0.8, 0.95], "eps": 1e-6, "clip_norm": 0.5,
         "schedule": "cosine", "warmup_steps": 20, "end_factor": 0.1},
        lambda p: torch.optim.Adam(p, RATE, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1),
        warmed(20, lambda by: lr_scheduler.CosineAnnealingLR(by, STEPS - 20, eta_min=0.1 * RATE)),
    ),
    "adam without a first moment": (
        {"optimizer": "adam", "betas": [0.0, 0.9], "eps": 1e-3},
        lambda p: torch.optim.Adam(p, RATE, betas=(0.0, 0.9), eps=1e-3), None,
    ),
    "adam with a short memory": (
        {"optimizer": "adam", "betas": [0.4, 0.9], "eps": 1e-3},
        lambda p: torch.optim.Adam(p, RATE, betas=(0.4, 0.9), eps=1e-3), None,
    ),
    "adamw, a strong decay, linear": (
        {"optimizer": "adamw", "weight_decay": 3, "schedule": "linear"},
        lambda p: torch.optim.AdamW(p, RATE, weight_decay=3),
        lambda by: lr_scheduler.LinearLR(by, 1.0, 0.0, STEPS),
    ),
    "adamw without decay, a warm-up alone": (
        {"optimizer": "adamw", "weight_decay": 0.0, "warmup_steps": 50},
        lambda p: torch.optim.AdamW(p, RATE, weight_decay=0.0), warmed(50),
    ),
    "sgd, L2 penalty, clipped by value": (
        {"optimizer": "sgd", "momentum": 0.5, "weight_decay": 0.02, "clip_value": 0.003},
        lambda p: torch.optim.SGD(p, RATE, momentum=0.5, weight_decay=0.02), None,
    ),
    "sgd without momentum, linear to a share": (
        {"optimizer": "sgd", "momentum": 0, "schedule": "linear", "end_factor": 0.25},
        lambda p: torch.optim.SGD(p, RATE), lambda by: lr_scheduler.LinearLR(by, 1.0, 0.25, STEPS),
    ),
    "rmsprop with momentum, cosine": (
        {"optimizer": "rmsprop", "alpha": 0.9, "momentum": 0.7, "weight_decay": 0.05, "eps": 1e-2, "clip_norm": 1.0,
         "schedule": "cosine"},
        lambda p: torch.optim.RMSprop(p, RATE, alpha=0.9, eps=1e-2, momentum=0.7, weight_decay=0.05),
        lambda by: lr_scheduler.CosineAnnealingLR(by, STEPS),
    ),
    "rmsprop, clipped by value": (
        {"optimizer": "rmsprop", "eps": 1e-2, "clip_value": 0.01},
        lambda p: torch.optim.RMSprop(p, RATE, eps=1e-2), None,
    ),
}  # fmt: skip


def training(**keys: Any) -> Train:
    return Train.read({**FIRST, **keys})


@functools.cache
def data() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return addition(1, STEPS, bits=3, batch=BATCH)


def losses(engine: str, how: Train, blocks: tuple[int, ...] = (STEPS,)) -> NDArray[np.float64]:
    """The losses of one replica that is trained block by block."""
    plan = blueprint(lstm)
    ready = prepare(engine, plan, optimizer_of(how), how.clip_norm, (BATCH,))
    replicas = ready.begin([plan.build("optimizers", 0)], [RATE])
    x, y = data()
    done, found = 0, []
    for count in blocks:
        block = slice(done, done + count)
        found.append(replicas.advance(x[:, block], y[:, block], np.zeros(1, np.int64)).losses)
        done += count
    return np.concatenate(found, 1)[0]


def by_torch(how: Train, make: Any, scheduler: Any = None) -> NDArray[np.float64]:
    """The same by torch alone, as its documentation writes it."""
    model = blueprint(lstm).build("optimizers", 0)
    by = make(model.parameters())
    schedule = scheduler(by) if scheduler else None
    found = []
    for x, y in zip(*(torch.from_numpy(given[0]) for given in data()), strict=True):
        by.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(model(x), y)
        loss.backward()
        if how.clip_norm:
            nn.utils.clip_grad_norm_(model.parameters(), how.clip_norm)
        if how.clip_value:
            nn.utils.clip_grad_value_(model.parameters(), how.clip_value)
        by.step()
        if schedule is not None:
            schedule.step()
        found.append(loss.item())
    return np.array(found)


@functools.cache
def wanted(way: str) -> NDArray[np.float64]:
    keys, make, scheduler = WAYS[way]
    return by_torch(training(**keys), make, scheduler)


QUICK = {"adam, L2 penalty, cosine after a warm-up", "rmsprop with momentum, cosine"}


@pytest.mark.parametrize(
    ("engine", "way"),
    [
        pytest.param(engine, way, marks=[] if engine == "lanes" or way in QUICK else [pytest.mark.slow])
        for engine in ENGINES
        for way in WAYS
    ],
)
def test_follows_torch(engine: str, way: str) -> None:
    """Within a millionth over 200 steps; and what is set makes a difference, or the test would show nothing."""
    keys = WAYS[way][0]
    found = losses(engine, training(**keys))
    np.testing.assert_allclose(found, wanted(way), rtol=0, atol=1e-6)
    if engine == "reference":
        assert np.abs(losses(engine, training(optimizer=keys["optimizer"])) - found).max() > 1e-4


@pytest.mark.parametrize("engine", ENGINES)
def test_blocks_make_no_difference(engine: str) -> None:
    """Cut into blocks anywhere, a schedule goes on where it was: the same bits."""
    how = training(optimizer="rmsprop", momentum=0.5, schedule="cosine", warmup_steps=7, clip_value=0.1)
    whole = losses(engine, how, (60,))
    assert np.array_equal(losses(engine, how, (1, 5, 2, 12, 40)), whole)


EVERYTHING = {"momentum": 0.5, "weight_decay": 0.1, "schedule": "linear", "warmup_steps": 5, "clip_value": 0.1}


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
def test_company_makes_no_difference(optimizer: str) -> None:
    """Replicas that share a vector have the bits that each has alone, in vectors of its own."""
    how, plan, rates = training(optimizer=optimizer, **EVERYTHING), blueprint(lstm), [0.003, 0.01, 0.3, 0.1, 0.03]
    x, y = (given[:, :30] for given in data())
    alone, shared = (
        lanes.prepare(plan, optimizer=optimizer_of(how), clip_norm=None, batch_sizes=(BATCH,), replicas=packed)
        for packed in (1, None)
    )
    model = plan.build("optimizers", 0)
    together = shared.begin([model] * len(rates), rates).advance(x, y, np.zeros(len(rates), np.int64)).losses
    for row, rate in enumerate(rates):
        one = alone.begin([model], [rate]).advance(x, y, np.zeros(1, np.int64)).losses[0]
        assert np.array_equal(one, together[row])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_break_leaves_the_others_alone(engine: str) -> None:
    """A replica whose data are not finite breaks at that step, clipped by value or not; its neighbour goes on."""
    how, plan = training(optimizer="adam", weight_decay=0.1, schedule="cosine", clip_value=0.1), blueprint(lstm)
    ready = prepare(engine, plan, optimizer_of(how), None, (BATCH,))
    x, y = (np.concatenate([given[:, :12]] * 2) for given in data())
    x[1, 7, 0, 0, 0] = np.inf
    found = ready.begin([plan.build("optimizers", 0) for _ in range(2)], [RATE] * 2).advance(x, y, np.arange(2))
    assert found.broke.tolist() == [-1, 7]
    assert np.isfinite(found.losses[0]).all()
    assert np.array_equal(found.losses[1, :7], found.losses[0, :7])


class Rotating(Cell):
    """A linear recurrence of complex numbers, with complex weights."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.angle = nn.Parameter(3 * torch.rand(hidden_size))
        self.x = nn.Parameter(torch.randn(hidden_size, input_size, dtype=torch.complex64))
        self.out = nn.Linear(2 * hidden_size, hidden_size)

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, self.hidden_size, dtype=torch.complex64)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = torch.polar(torch.full_like(self.angle, 0.9), self.angle) * state + x.to(torch.complex64) @ self.x.T
        return torch.tanh(self.out(torch.view_as_real(state).flatten(1))), state


@pytest.mark.parametrize("optimizer", ["adam", "torch.optim.Adagrad"])
def test_complex_gradients_are_clipped_as_two_reals(optimizer: str) -> None:
    """torch clips no complex gradient by value: real and imaginary parts are bounded, as its optimizers see them."""
    how, plan, (x, y) = training(optimizer=optimizer, clip_value=0.002), blueprint(Rotating), data()
    x, y = x[:, :40], y[:, :40]
    model = plan.build("optimizers", 0)
    by = (torch.optim.Adam if optimizer == "adam" else torch.optim.Adagrad)(model.parameters(), RATE)
    wanted = []
    for inputs, targets in zip(torch.from_numpy(x[0]), torch.from_numpy(y[0]), strict=True):
        by.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(model(inputs), targets)
        loss.backward()
        for parameter in model.parameters():
            assert parameter.grad is not None
            reals = torch.view_as_real(parameter.grad) if parameter.is_complex() else parameter.grad
            reals.clamp_(-0.002, 0.002)
        by.step()
        wanted.append(loss.item())
    for engine in ("reference", "lanes") if optimizer == "adam" else ("reference",):
        ready = prepare(engine, plan, optimizer_of(how), None, (BATCH,))
        found = ready.begin([plan.build("optimizers", 0)], [RATE]).advance(x, y, np.zeros(1, np.int64)).losses[0]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [("Adafactor", {}), ("SGD", {"fused": True}), ("AdamW", {"fused": True}), ("Adagrad", {"fused": True})],
)
def test_torchs_optimizers_that_take_no_complex_numbers_are_refused(optimizer: str, options: dict[str, Any]) -> None:
    """Before anything is trained, in one line that names the optimizer, though the first step alone would show it."""
    how = training(optimizer=f"torch.optim.{optimizer}", optimizer_options=options)
    with pytest.raises(Refused, match=f"torch.optim.{optimizer} does not train the model's parameters: .*[Cc]omplex"):
        prepare("reference", blueprint(Rotating), optimizer_of(how), None, (BATCH,))
    assert prepare("reference", blueprint(lstm), optimizer_of(how), None, (BATCH,)).name == "reference"
