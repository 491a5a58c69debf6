"""The lanes engine: right, bit for bit the same in any company, and honest about what diverges."""

from __future__ import annotations

import itertools
import shutil

import numpy as np
import pytest
import torch

from cellbench.cells.gru import gru
from cellbench.cells.lstm import lstm
from cellbench.cells.rnn import rnn
from cellbench.engines import OPTIMIZERS, lanes
from cellbench.engines.lanes import build
from cellbench.model import Blueprint, loss
from tests.helpers.lanes import CELLS, addition, blueprint, engine, losses
from tests.helpers.tools import missing

STEPS = 300
TOLERANCE = 2e-5
"""Of a loss after 300 float32 steps; torch's own float32 strays as far from float64 (docs/engines.md)."""


QUICK = {(4, 1.0, False)}


@pytest.mark.parametrize(
    ("batch", "clip", "learnt"),
    [
        pytest.param(*case, marks=[] if case in QUICK else [pytest.mark.slow])
        for case in itertools.product((4, 16, 21, 64), (None, 1.0), (False, True))
    ],
)
@pytest.mark.parametrize("cell", CELLS)
def test_losses_follow_the_reference_engine(cell: str, batch: int, clip: float | None, learnt: bool) -> None:
    plan = blueprint(CELLS[cell], learn_initial_state=learnt)
    data = addition(1, STEPS, bits=3, batch=batch)
    want = losses("reference", plan, data, clip=clip)
    got = losses("lanes", plan, data, clip=clip)
    assert np.abs(got - want).max() < TOLERANCE
    assert want[-1] < want[0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_follows_torch(optimizer: str) -> None:
    plan = blueprint(lstm)
    data = addition(1, 60, batch=8)
    rate = 0.002 if optimizer == "rmsprop" else 0.01
    want = losses("reference", plan, data, rate, optimizer=optimizer)
    got = losses("lanes", plan, data, rate, optimizer=optimizer)
    assert np.abs(got - want).max() < TOLERANCE
    assert abs(want[-1] - want[0]) > 1e-4


@pytest.mark.slow
def test_the_extra_readout_layer_and_two_outputs() -> None:
    """A task with one input and two outputs: parity so far, and whether the last two bits agree."""
    bits = np.random.default_rng(0).integers(0, 2, (1, 80, 6, 8, 1))
    parity = bits.cumsum(2) % 2
    agree = np.concatenate([np.zeros_like(bits[:, :, :1]), bits[:, :, 1:] == bits[:, :, :-1]], 2)
    data = bits.astype(np.float32), np.concatenate([parity, agree], -1).astype(np.float32)
    plan = blueprint(gru, inputs=1, outputs=2, readout_hidden=5)
    want, got = losses("reference", plan, data), losses("lanes", plan, data)
    assert np.abs(got - want).max() < TOLERANCE
    assert want[-1] < want[0]
    replicas = {name: engine(name, plan).begin([plan.build("test", 1)], [0.01]) for name in ("lanes", "reference")}
    which = np.zeros(1, np.int64)
    scores = {name: r.evaluate(data[0][:, 0], data[1][:, 0], which) for name, r in replicas.items()}
    np.testing.assert_allclose(scores["lanes"].loss, scores["reference"].loss, rtol=1e-6)
    np.testing.assert_array_equal(scores["lanes"].bit_accuracy, scores["reference"].bit_accuracy)
    np.testing.assert_array_equal(scores["lanes"].sequence_accuracy, scores["reference"].sequence_accuracy)


@pytest.mark.parametrize("cell", CELLS)
def test_bits_are_the_same_alone_and_in_any_company(cell: str) -> None:
    """Replica 0 among 1, 8 and 32 others; in one block, in odd blocks; when others leave and the order changes."""
    plan = blueprint(CELLS[cell])
    x, y = addition(4, 24, batch=5)
    ready = engine("lanes", plan)

    def start(count: int) -> object:
        return ready.begin([plan.build("test", s) for s in range(count)], [0.01 + 0.001 * s for s in range(count)])

    found = {}
    for count in (1, 8, 32):
        replicas = start(count)
        replicas.advance(x, y, np.arange(count) % 4)
        found[count] = replicas.parameters()[0]
    replicas = start(3)
    for block in (slice(0, 1), slice(1, 8), slice(8, 9)):
        replicas.advance(x[:, block], y[:, block], np.arange(3))
    replicas.keep([2, 0])
    replicas.advance(x[:, 9:], y[:, 9:], np.array([2, 0]))
    found["split"] = replicas.parameters()[1]
    replicas = start(1)
    replicas.evaluate(x[:1, 0], y[:1, 0], np.zeros(1, np.int64))
    replicas.advance(x[:1], y[:1], np.zeros(1, np.int64))
    found["after an evaluation, data of one seed alone"] = replicas.parameters()[0]
    for name, parameter in found[1].items():
        for case, other in found.items():
            assert np.array_equal(parameter, other[name]), (case, name)


@pytest.mark.parametrize("examples", [1, 16, 37])
def test_evaluation_scores_what_the_model_says(examples: int) -> None:
    plan = blueprint(lstm, learn_initial_state=True)
    x, y = addition(2, 40, batch=8, bits=6)
    replicas = engine("lanes", plan).begin([plan.build("test", s) for s in range(3)], [0.05] * 3)
    which = np.array([1, 0, 1])
    replicas.advance(x, y, which)
    inputs, targets = (a[:, 0] for a in addition(2, 1, batch=examples, bits=9))
    scores = replicas.evaluate(inputs, targets, which)
    for row, parameters in enumerate(replicas.parameters()):
        model = plan.build("test", 0)
        model.load_state_dict({name: torch.from_numpy(p) for name, p in parameters.items()})
        with torch.no_grad():
            logits = model(torch.from_numpy(inputs[which[row]]))
        wanted = torch.from_numpy(targets[which[row]])
        right = (2 * wanted - 1) * logits > 0
        assert scores.loss[row] == pytest.approx(float(loss(logits, wanted)), rel=1e-5)
        assert scores.bit_accuracy[row] == float(right.double().mean())
        assert scores.sequence_accuracy[row] == float(right.all(0).all(-1).double().mean())


def test_a_logit_of_zero_or_nan_is_wrong() -> None:
    plan = blueprint(rnn)
    for weight in (0.0, float("nan")):
        model = plan.build("test", 0)
        torch.nn.init.constant_(model.readout.weight, weight)
        torch.nn.init.zeros_(model.readout.bias)
        x, y = addition(1, 1, batch=16)
        scores = engine("lanes", plan).begin([model], [0.1]).evaluate(x[:, 0], y[:, 0], np.zeros(1, np.int64))
        assert scores.bit_accuracy[0] == 0.0
        assert scores.sequence_accuracy[0] == 0.0


def test_a_replica_that_breaks_stops_there_and_harms_nobody() -> None:
    """The same step as the reference engine, no update at it or after it, and the neighbour's bits unchanged."""
    plan = blueprint(rnn)
    x, y = addition(2, 30)
    x[0, 11, 2, 1, 0] = np.inf
    which = np.array([0, 1])
    found = {}
    for name in ("lanes", "reference"):
        replicas = engine(name, plan).begin([plan.build("test", s) for s in range(2)], [0.01, 0.01])
        found[name] = replicas.advance(x, y, which), replicas.parameters()
    out, parameters = found["lanes"]
    np.testing.assert_array_equal(out.broke, [11, -1])
    np.testing.assert_array_equal(found["reference"][0].broke, out.broke)
    assert np.isnan(out.losses[0, 12:]).all()
    assert np.isfinite(out.losses[0, :11]).all()
    assert np.isfinite(out.losses[1]).all()
    short = engine("lanes", plan).begin([plan.build("test", 0)], [0.01])
    short.advance(x[:1, :11], y[:1, :11], np.zeros(1, np.int64))
    alone = engine("lanes", plan).begin([plan.build("test", 1)], [0.01])
    alone.advance(x[1:], y[1:], np.zeros(1, np.int64))
    for name in parameters[0]:
        assert np.array_equal(parameters[0][name], short.parameters()[0][name])
        assert np.array_equal(parameters[1][name], alone.parameters()[0][name])


def test_a_broken_replica_stays_broken_in_later_blocks() -> None:
    plan = blueprint(rnn)
    x, y = addition(1, 4)
    bad = x.copy()
    bad[0, 1] = np.nan
    replicas = engine("lanes", plan).begin([plan.build("test", 0)], [0.01])
    which = np.zeros(1, np.int64)
    assert replicas.advance(bad, y, which).broke[0] == 1
    before = replicas.parameters()[0]
    again = replicas.advance(x, y, which)
    assert again.broke[0] == 0
    assert np.isnan(again.losses).all()
    assert all(np.array_equal(before[name], value) for name, value in replicas.parameters()[0].items())


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "isa"), [("lstm", "sse2"), ("lstm", "avx2"), ("lstm", "avx512"), ("gru", "sse2")])
def test_each_instruction_set_is_built_and_proves_itself(cell: str, isa: str) -> None:
    plan = blueprint(CELLS[cell])
    if not build.runs_here(build.Isa(isa, build.native_isa().machine)):
        with lanes.compilers() as pool:
            assert "to be proved where it runs" in lanes.build_ahead(lanes.begin(plan, pool, isa=isa))
        return
    ready = engine("lanes", plan, isa=isa)
    assert ready.isa.endswith(isa)
    data = addition(1, 50, batch=11)
    assert np.abs(losses("lanes", plan, data, isa=isa) - losses("reference", plan, data)).max() < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("isa", ["sse2", "avx2", "avx512"])
def test_clang_builds_it_too(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by hand: its linker did not accept what g++'s does, and the cell was refused."""
    if not build.runs_here(build.Isa(isa, build.native_isa().machine)):
        pytest.skip(f"this processor has no {isa}")
    monkeypatch.setenv("CXX", shutil.which("clang++") or missing("clang++"))
    plan = blueprint(lstm)
    assert "clang" in engine("lanes", plan, isa=isa).compiler
    data = addition(1, 50, batch=37)
    assert np.abs(losses("lanes", plan, data, isa=isa) - losses("reference", plan, data)).max() < TOLERANCE


def test_parameters_come_back_by_name_and_shape() -> None:
    plan = blueprint(lstm, learn_initial_state=True)
    model = plan.build("test", 3)
    (parameters,) = engine("lanes", plan).begin([model], [0.01]).parameters()
    assert list(parameters) == [name for name, _ in model.named_parameters()]
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(parameters[name], parameter.detach().numpy())


@pytest.mark.slow
def test_a_chunks_memory_is_that_of_one_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bits 256, batch 256, hidden 128: scratch is a matter of one replica and one block, far below 1 GiB for thirty."""
    plan = Blueprint(lstm, "lstm", (), 2, 128, 1)
    ready = engine("lanes", plan, batch_sizes=(256,))
    program = ready.programs.of(ready.programs.training(256))
    scratch = 4 * program.floats_to_train(steps=10, slot_row=2 * program.entry.trained_row, time=256, batch=256)
    replicas = 30 * 4 * 3 * program.entry.row
    data = 4 * 10 * 256 * 256 * 3
    assert scratch + replicas + data < 2**28


@pytest.mark.slow
@pytest.mark.parametrize("batch", [4, 33])
def test_a_large_cell_is_computed_by_parts_and_is_the_same_model(batch: int) -> None:
    """Matrices past the caches are read in parts; neither inputs, outputs nor examples divide into them here."""
    plan, data = blueprint(lstm, 130), addition(1, 20, batch=batch)
    assert np.abs(losses("lanes", plan, data, 0.003) - losses("reference", plan, data, 0.003)).max() < TOLERANCE
