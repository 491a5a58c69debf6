"""Classes, numbers and masks in lanes: the same bits packed and unpacked, and a proof that a wrong loss fails."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellbench.engines import Refused
from cellbench.engines.lanes import build
from cellbench.model import Objective
from cellbench.task import Kind
from tests.helpers.lanes import CELLS, blueprint, engine
from tests.helpers.tools import missing

SEEDS, STEPS, TIME = 3, 6, 5
KINDS: list[Kind] = ["bits", "classes", "numbers"]


def plan(kind: Kind, cell: str = "lstm", outputs: int = 3) -> Any:
    return blueprint(CELLS[cell], outputs=outputs, objective=Objective(kind, 0.5))


def data(kind: Kind, batch: int, masked: bool, outputs: int = 3) -> Any:
    """Inputs, targets, and a mask that leaves one step of each example at least, or None."""
    made = np.random.default_rng(5)
    shape = (SEEDS, STEPS, TIME, batch)
    inputs = made.normal(size=(*shape, 2)).astype(np.float32)
    targets: Any = {
        "bits": lambda: made.integers(0, 2, (*shape, outputs)).astype(np.float32),
        "classes": lambda: made.integers(0, outputs, shape),
        "numbers": lambda: made.normal(size=(*shape, outputs)).astype(np.float32),
    }[kind]()
    mask = made.random(shape) < 0.6
    mask[:, :, 0] |= ~mask.any(axis=2)
    return inputs, targets, mask if masked else None


def outcome(kind: Kind, batch: int, masked: bool, members: list[int], replicas: int | None, isa: str | None) -> Any:
    """Losses, parameters and scores of some of five replicas, trained side by side."""
    model = plan(kind)
    found = engine("lanes", model, batch_sizes=(batch,), replicas=replicas, isa=isa)
    inputs, targets, mask = data(kind, batch, masked)
    running = found.begin([model.build("test", m) for m in members], [0.01 * (m + 1) for m in members])
    which = np.array([m % SEEDS for m in members])
    losses = running.advance(inputs, targets, which, mask).losses
    scores = running.evaluate(inputs[:, 0], targets[:, 0], which, None if mask is None else mask[:, 0])
    return losses, running.parameters(), scores


def check(kind: Kind, batch: int, masked: bool, isa: str | None = None) -> None:
    members = [0, 1, 2, 3, 4]
    together = outcome(kind, batch, masked, members, None, isa)
    assert np.isfinite(together[0]).all()
    for member in members:
        losses, (weights,), scores = outcome(kind, batch, masked, [member], 1, isa)
        assert np.array_equal(together[0][member], losses[0])
        assert all(np.array_equal(together[1][member][name], value) for name, value in weights.items())
        for field in ("loss", "bit_accuracy", "sequence_accuracy"):
            assert getattr(together[2], field)[member] == getattr(scores, field)[0]


@pytest.mark.parametrize("masked", [False, True], ids=["all steps", "mask"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_bits_do_not_depend_on_who_shares_a_vector(kind: Kind, masked: bool) -> None:
    """Five replicas, four to a vector, have the bits that each has in a vector of its own."""
    check(kind, 4, masked)


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize(("isa", "batch"), [("avx512", 1), ("avx2", 4), ("sse2", 2), ("avx512", 19)])
@pytest.mark.parametrize("kind", KINDS)
def test_nor_with_any_instruction_set_and_compiler(
    kind: Kind, isa: str, batch: int, compiler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not build.runs_here(build.Isa(isa, build.native_isa().machine)):
        pytest.skip(f"this processor has no {isa}")
    monkeypatch.setenv("CXX", shutil.which(compiler) or missing(compiler))
    for masked in (False, True):
        check(kind, batch, masked, isa)
    # and a mask of ones changes no bit
    model = plan(kind)
    found = engine("lanes", model, batch_sizes=(batch,), isa=isa)
    inputs, targets, _ = data(kind, batch, False)
    losses = []
    for mask in (None, np.ones(inputs.shape[:4], bool)):
        running = found.begin([model.build("test", m) for m in range(3)], [0.01, 0.02, 0.03])
        out = running.advance(inputs, targets, np.arange(3), mask).losses
        scores = running.evaluate(inputs[:, 0], targets[:, 0], np.arange(3), None if mask is None else mask[:, 0])
        losses.append((out, scores.loss, scores.bit_accuracy, scores.sequence_accuracy))
    assert all(np.array_equal(one, other) for one, other in zip(*losses, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True], ids=["all steps", "mask"])
@pytest.mark.parametrize(("batch", "outputs"), [(1, 2), (4, 7), (37, 1), (37, 20)])
@pytest.mark.parametrize("kind", KINDS)
def test_lanes_is_reference_at_every_batch_and_number_of_outputs(
    kind: Kind, batch: int, outputs: int, masked: bool
) -> None:
    """Losses, and the scores after them, of narrow, whole and wide batches."""
    model = plan(kind, "gru", outputs)
    inputs, targets, mask = data(kind, batch, masked, outputs)
    found = []
    for name in ("lanes", "reference"):
        running = engine(name, model, batch_sizes=(batch,)).begin(
            [model.build("test", s) for s in range(3)], [0.01] * 3
        )
        losses = running.advance(inputs, targets, np.arange(3), mask).losses
        of_first = None if mask is None else mask[:, 0]
        found.append((losses, running.evaluate(inputs[:, 0], targets[:, 0], np.arange(3), of_first)))
    (losses, scores), (wanted, right) = found
    np.testing.assert_allclose(losses, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scores.loss, right.loss, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scores.bit_accuracy, right.bit_accuracy, atol=1e-9)
    np.testing.assert_allclose(scores.sequence_accuracy, right.sequence_accuracy, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "sound", "wrong"),
    [
        ("classes", "(dz[o] * share - hot) * w", "(dz[o] * share - hot * 0.9f) * w"),
        (
            "classes",
            "const V sum = exponentials(z, found.top, dz), share",
            "const V sum = 1.f + exponentials(z, found.top, dz), share",
        ),
        ("numbers", "(off + off) * weight", "off * weight"),
        ("bits", "each ? each[t] : w", "w"),
    ],
)
def test_a_wrong_loss_is_not_proved(
    kind: Kind, sound: str, wrong: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A program whose loss, gradient or mask is not the kind's is refused by its proof."""
    # a compiler that first spoils the header: the folder of the text is searched before that of the headers
    compiler, runtime = build.find_compiler(), Path(build.__file__).parent / "runtime"
    assert compiler is not None
    text = (runtime / "losses.h").read_text()
    assert sound in text
    (tmp_path / "losses.h").write_text(text.replace(sound, wrong))
    wrapper = tmp_path / "spoil"
    copies = f"cp {runtime}/*.h . && cp {tmp_path}/losses.h ."
    wrapper.write_text(f'#!/bin/sh\n[ -f cell0.cpp ] && {copies}\nexec {shlex.join(compiler.command)} "$@"\n')
    wrapper.chmod(0o700)
    monkeypatch.setenv("CELLBENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("CXX", str(wrapper))
    with pytest.raises(Refused, match="differs from autograd's"):
        engine("lanes", plan(kind))
