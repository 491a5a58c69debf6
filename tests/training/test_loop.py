"""The loop of a chunk: curves and final evaluations are those of a plain loop, whatever a cell holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import cellbench
from cellbench.engines import OPTIMIZERS, Refused, prepare
from cellbench.records import CellSpec, Chunk, Evaluate, Final, Point, Replica, Settings, Solved, Train
from cellbench.streams import Stream
from cellbench.tasks.binary_addition import BinaryAddition
from cellbench.training.loop import train
from tests.helpers import awkward
from tests.helpers.oracle import ENGINES, Loop, blueprint

TASK, BITS, BATCH, RATE = BinaryAddition(), 4, 8, 0.02


def chunk(engine: str, steps: int, *, stop: bool = False, threshold: float = 0.99) -> Chunk:
    """Two seeds of a cell, evaluated every ten steps."""
    settings = Settings(
        "binary_addition", Train(steps, "adam", 1.0, stop, 60.0), Evaluate(10, 0.0, 32),
        Solved("bit_accuracy", threshold, 1), Final(40, (("bits", (6,)),), difficulty=False),
    )  # fmt: skip
    replicas = tuple(Replica(str(seed), seed, RATE) for seed in range(2))
    return Chunk(CellSpec("x", "x", "x"), Point((("bits", BITS),), BATCH, "hidden 6"), 6, settings, engine, replicas)


def batch(purpose: str, bits: int, count: int, *axes: Any, start: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Examples of a named stream, as docs/experiment.md names them."""
    pair = TASK.batch(Stream(purpose, "binary_addition", *axes, start=start, count=count), count, {"bits": bits})
    return torch.from_numpy(pair[0]), torch.from_numpy(pair[1])


def by_hand(model: Any, seed: int, steps: int) -> tuple[list[float], list[float]]:
    """The losses of the learning curve and of the two final evaluations: torch alone, on the same examples."""
    loop, curve = Loop(model, rate=RATE), []
    parameters = (("bits", BITS),)
    for step in range(steps):
        x, y = batch("data", BITS, BATCH, parameters, BATCH, seed, start=step * BATCH)
        loop.train((x[None, None].numpy(), y[None, None].numpy()))
        if (step + 1) % 10 == 0:
            x, y = batch("evaluation", BITS, 32, parameters, seed, None)
            curve.append(loop.evaluate((x[None, None].numpy(), y[None, None].numpy())))
    final = []
    for bits in (BITS, 6):
        x, y = batch("final", bits, 40, (("bits", bits),), seed, None)
        model.eval()
        with torch.no_grad():
            final.append(float(((model(x) * (2 * y - 1)) > 0).double().mean()))
    return curve, final


CELLS = (awkward.Buffers, awkward.orthogonal, awkward.Reservoir, *awkward.CHANGING[:4], *awkward.UNCOPIED)


@pytest.mark.parametrize("engine", [pytest.param(e, marks=pytest.mark.slow) if e == "lanes" else e for e in ENGINES])
@pytest.mark.parametrize("factory", CELLS)
def test_curves_and_final_evaluations_are_a_plain_loops(factory: Any, engine: str) -> None:
    """Buffers, running statistics and what cannot be copied included; the final evaluation has them all."""
    plan = blueprint(factory)
    try:
        ready = prepare(engine, plan, OPTIMIZERS["adam"], 1.0)
    except Refused:
        assert engine != "reference"
        return
    given = chunk(engine, 30)
    for outcome, seed in zip(train(given, TASK, ready, plan), range(2), strict=True):
        point = given.point
        model = plan.build(point.parameters, point.batch_size, point.size, seed)
        curve, final = by_hand(model, seed, 30)
        assert [p.loss for p in outcome.curve] == pytest.approx(curve, abs=1e-5)
        assert [e.bit_accuracy for e in outcome.evaluations] == pytest.approx(final, abs=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
def test_those_who_leave_early_are_evaluated_as_they_left(engine: str) -> None:
    """A replica that is solved at its first evaluation, and leaves, is the one that was trained to that step."""
    plan = blueprint(awkward.Buffers)
    ready = prepare(engine, plan, OPTIMIZERS["adam"], 1.0)
    early, late = (list(train(chunk(engine, n, stop=True, threshold=0.01), TASK, ready, plan)) for n in (10, 30))
    for one, other in zip(early, late, strict=True):
        assert (one.final_step, other.final_step) == (10, 10)
        assert one.evaluations == other.evaluations
        assert one.final_loss == other.final_loss


def test_a_trained_model_has_its_running_statistics() -> None:
    """`cellbench.train` gives the module that was trained, ready to be evaluated."""
    trained = cellbench.train(awkward.Normed, steps=30, hidden_size=6, bits=4)
    norm = trained.model.cell.norm
    assert isinstance(norm, nn.BatchNorm1d)
    assert not trained.model.training
    assert int(norm.num_batches_tracked) == 30 * 4
    assert np.abs(norm.running_mean.numpy()).max() > 0
