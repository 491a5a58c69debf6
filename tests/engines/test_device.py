"""Another device: what goes the way of a card is computed as on the CPU, and what could not go it is told before.

No card is here. `cpu:0` goes a card's way with real numbers; torch's `meta` device, which has shapes and no numbers,
shows a tensor that was left behind.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import grad_and_value, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from cellbench.cells.gru import gru
from cellbench.cells.lstm import lstm
from cellbench.cells.rnn import rnn
from cellbench.engines import OPTIMIZERS, Refused, device, footprint
from cellbench.engines.stack_step import Step
from cellbench.engines.stacked import Stacked
from cellbench.model import Contents, Objective
from tests.helpers import awkward, trait_cells
from tests.helpers.kinds import torchs_loss
from tests.helpers.lane_cells import Base
from tests.helpers.oracle import MAKERS, blueprint, data, plain_loop, started

CARD = "cpu:0"
TRAITS = [c for c in vars(trait_cells).values() if isinstance(c, type) and issubclass(c, Base) and c is not Base]


class FromNumpy(Base):
    """It makes a tensor on the CPU at each step, whatever the device of the others is."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        shift = torch.from_numpy(np.ones(self.n, np.float32))
        h = torch.tanh(self.sum(x, h) + shift)  # here they meet
        return h, h


class Fresh(Base):
    """It makes tensors where torch makes them now: on the card, while the model runs there."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        h = torch.tanh(self.sum(x, h) + 0.1 * torch.ones(self.n) + torch.arange(self.n))
        return h, h


class Listed(Base):
    """It keeps tensors where `Module.to` does not look."""

    def more(self) -> None:
        self.taps = [torch.full((self.n,), 0.1), {"deep": torch.ones(self.n)}]
        self.scale = torch.tensor(0.5)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        deep: Any = self.taps[1]
        h = torch.tanh(self.scale * self.sum(x, h) * self.taps[0] + deep["deep"])
        return h, h


class Cut(Base):
    """An `after_update` of its own."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        h = torch.tanh(self.sum(x, h))
        return h, h

    def after_update(self) -> None:
        self.h.weight.clamp_(-0.1, 0.1)


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
@pytest.mark.parametrize("cell", [rnn, lstm, gru, Fresh, Listed])
def test_a_wide_stack_trains_as_a_plain_loop(cell: Any, optimizer: str) -> None:
    """Forty replicas in one stack, some of which leave: losses and scores are those of torch, one model at a time."""
    plan, given = blueprint(cell), data(steps=12)
    replicas = started("stack", plan, 40, optimizer=optimizer, device=CARD)
    first, second = (tuple(array[:, part] for array in given) for part in (slice(0, 7), slice(7, 12)))
    losses = [replicas.advance(*first, np.zeros(40, np.int64)).losses]
    rows = [0, 39, 17]
    replicas.keep(rows)
    losses.append(replicas.advance(*second, np.zeros(3, np.int64)).losses)
    scores = replicas.evaluate(given[0][:, 0], given[1][:, 0], np.zeros(3, np.int64))
    for row, seed in enumerate(rows):
        model = plan.build("oracle", seed)
        expected = plain_loop(model, given, optimizer=optimizer)
        np.testing.assert_allclose([*losses[0][seed], *losses[1][row]], expected, atol=3e-6)
        with torch.no_grad():
            logits = model(torch.from_numpy(given[0][0, 0]))
        wanted = nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(given[1][0, 0]))
        assert scores.loss[row] == pytest.approx(wanted.item(), abs=3e-6)
        for name, value in model.named_parameters():
            np.testing.assert_allclose(replicas.parameters()[row][name], value.detach().numpy(), atol=2e-5)


def test_a_replica_that_breaks_stays_as_it_is_and_harms_none() -> None:
    """Its last weights are those before the step, its losses end there; the others are as without it."""
    plan, given = blueprint(rnn), data()
    given[0][0, 4, 0, 0, 0] = 0
    ready = started("stack", plan, 3, device=CARD)
    other = started("stack", plan, 2, device=CARD)
    seeds = np.array([0, 0, 1])
    broken = tuple(np.concatenate([array, array]) for array in given)
    broken[0][1, 4] = np.inf
    found = ready.advance(*broken, seeds)
    assert found.broke.tolist() == [-1, -1, 4]
    assert np.isfinite(found.losses[2, :4]).all()
    assert np.isnan(found.losses[2, 5:]).all()
    np.testing.assert_allclose(found.losses[:2], other.advance(*given, np.zeros(2, np.int64)).losses, atol=1e-6)
    assert all(np.isfinite(value).all() for value in ready.parameters()[2].values())


@pytest.mark.parametrize("kind", ["bits", "classes", "numbers"])
@pytest.mark.parametrize("masked", [False, True])
def test_every_kind_of_answers(kind: Any, masked: bool) -> None:
    """Losses are torch's own of the same logits, with a mask and without."""
    plan = blueprint(gru, objective=Objective(kind))
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 2, (1, 1, 6, 5, 2), generator=generator).float()
    y = Objective(kind).example(6, 5, 1, generator)[None, None]
    mask = torch.rand(1, 1, 6, 5, generator=generator) < 0.6 if masked else None
    found = started("stack", plan, 4, device=CARD).advance(
        x.numpy(), y.numpy(), np.zeros(4, np.int64), None if mask is None else mask.numpy()
    )
    for seed in range(4):
        logits = plan.build("oracle", seed)(x[0, 0])
        expected = torchs_loss(kind, logits, y[0, 0], None if mask is None else mask[0, 0])
        assert found.losses[seed, 0] == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("cell", [lstm, Fresh, Listed, Cut, *awkward.FROZEN, *awkward.OWN])
def test_reference_computes_the_same_bits(cell: Any) -> None:
    """The way of a card changes no number of the reference engine."""
    plan, given = blueprint(cell), data()
    which = np.zeros(2, np.int64)
    here, there = (started("reference", plan, 2, device=device) for device in ("cpu", CARD))
    if isinstance(here, Refused) or isinstance(there, Refused):
        assert "lies in the memory of a trained parameter" in str(there) or "torch.from_numpy(self.shift)" in str(there)
        return
    np.testing.assert_array_equal(here.advance(*given, which).losses, there.advance(*given, which).losses)
    first = given[0][:, 0], given[1][:, 0]
    np.testing.assert_array_equal(here.evaluate(*first, which).loss, there.evaluate(*first, which).loss)


@pytest.mark.parametrize("cell", [rnn, lstm, gru, Fresh, Listed, *TRAITS])
def test_every_tensor_of_a_model_moves(cell: Any) -> None:
    """Parameters, buffers, attributes, lists, dicts and closures."""
    model = blueprint(cell).build("moves")
    device.moved(model, "meta")
    assert {place.tensor.device.type for place in Contents(model).tensors.values()} == {"meta"}


@pytest.mark.parametrize("cell", [rnn, lstm, gru, Fresh, Listed, *TRAITS])
def test_a_cell_that_runs_where_its_input_is_is_not_refused(cell: Any) -> None:
    """Cells of every kind that people write."""
    device.refuse_strays(blueprint(cell))


@pytest.mark.parametrize("engine", ["stack", "reference"])
def test_a_tensor_made_on_the_cpu_is_told_with_its_line(engine: str) -> None:
    """The reason has the cell's own line, before anything is trained."""
    refused = started(engine, blueprint(FromNumpy), device=CARD)
    assert isinstance(refused, Refused)
    text = str(refused)
    assert text.startswith("a tensor on the CPU meets one on the card (test_device.py:")
    assert "h = torch.tanh(self.sum(x, h) + shift)  # here they meet" in text
    assert not isinstance(started(engine, blueprint(FromNumpy)), Refused)


def test_what_runs_between_two_steps_is_reference_s() -> None:
    """A stack on a card is recorded, and Python is not."""
    refused = started("stack", blueprint(Cut), device=CARD)
    assert str(refused).startswith("its after_update() is Python between two steps")


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_a_step_that_was_recorded_serves_every_later_step(optimizer: str) -> None:
    """As on a card: recorded once, then replayed on other tensors. Nothing but tensors changes from step to step."""
    plan, given, clip = blueprint(lstm), data(steps=15, time=3), 0.05
    models = [plan.build("oracle", seed) for seed in range(3)]
    stacked = Stacked(plan.build("probe"), models)
    by, objective = OPTIMIZERS[optimizer], plan.objective

    def loss(row: Tensor, own: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        return objective.loss(stacked.logits(row, own, inputs), targets)

    step = Step(vmap(grad_and_value(loss)), (), by, clip, None)
    rows = torch.stack([stacked.row(model) for model in models])
    state: Any = [rows, torch.ones(3, 1, dtype=torch.bool), *by.init(rows)]
    recorded: Any = None
    losses = []
    for number in range(15):
        batch = [torch.from_numpy(array[0, number]).expand(3, *array.shape[2:]) for array in given]
        rate, at = torch.full((3, 1), 0.01), torch.full((), number + 1, dtype=torch.float64)
        taken = (*state[:2], rate, at, *state[2:], *batch)
        if recorded is None:
            recorded = make_fx(step)(*taken)
        rows, ok, values, *slots = recorded(*taken)
        state = [rows, ok, *slots]
        losses.append(values)
    for seed, model in enumerate(models):
        expected = plain_loop(model, given, optimizer=optimizer, clip=clip)
        np.testing.assert_allclose(torch.stack(losses)[:, seed], expected, atol=3e-6)
    assert set(MAKERS) == set(OPTIMIZERS)


def test_what_does_not_fit_is_done_in_parts() -> None:
    """Halves, as small as must be, in order; one replica that does not fit is an error."""
    tried = []

    def run(some: Tensor) -> list[int]:
        tried.append(len(some))
        if len(some) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return some.tolist()

    found = device.in_parts(run, torch.arange(11))
    assert [i for part in found for i in part] == list(range(11))
    assert max(map(len, found)) <= 3
    assert tried[0] == 11

    def never(some: Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        device.in_parts(never, torch.arange(5))


@pytest.mark.parametrize("cell", [rnn, lstm, gru])
def test_the_footprint_bounds_what_a_step_keeps(cell: Any) -> None:
    """It is above what autograd saves for the backward pass, below twenty times that, and grows as its parts do."""
    adam, sgd = OPTIMIZERS["adam"], OPTIMIZERS["sgd"]
    plan = blueprint(cell, hidden=16)
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    model = plan.build("footprint")
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = plan.objective.loss(model(torch.zeros(20, 8, 2)), torch.zeros(20, 8, 1))
    kept = sum(saved.values())
    del value
    of_one = footprint.step_bytes(plan, 20, 8, adam)
    assert kept < of_one < 20 * kept
    assert footprint.step_bytes(plan, 40, 8, adam) < 2 * of_one
    assert footprint.step_bytes(plan, 40, 8, adam) > 1.5 * of_one
    row = 4 * sum(p.numel() for p in model.parameters())
    assert of_one - footprint.step_bytes(plan, 20, 8, sgd) == 2 * row


def test_what_torch_says_of_a_card() -> None:
    """Without one, the reason is torch's own, with what to do; the CPU is always there."""
    assert device.missing("cpu") == ""
    if torch.cuda.is_available():
        assert device.missing("cuda") == ""
        assert len(device.cards()) == torch.cuda.device_count()
        return
    assert device.cards() == []
    said = device.missing("cuda")
    assert torch.__version__ in said
    assert ("built for the CPU alone" if torch.version.cuda is None else "finds no card") in said


@pytest.mark.slow
def test_the_benchmark_goes_its_whole_way_on_the_cpu() -> None:
    """Its one command prints the table; without a card it ends with the status of what was skipped, and says why."""
    script = [sys.executable, str(Path(__file__).parents[2] / "benchmarks/gpu.py")]
    ended = subprocess.run([*script, "--cpu", "--small"], capture_output=True, text=True, check=True)
    assert "differ from those of reference on the CPU by at most " in ended.stdout
    cells = [cell.strip() for cell in ended.stdout.splitlines()[-1].split("|")[1:-1]]
    assert cells[:2] == ["4", "32"]
    assert float(cells[2]) > 0
    assert cells[3].startswith("left out: ") or float(cells[3]) > 0
    if not torch.cuda.is_available():
        ended = subprocess.run(script, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout) == (77, "")
        assert ended.stderr.startswith("skipped: torch ")
