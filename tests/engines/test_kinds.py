"""Classes, numbers and masks on every engine, against torch's own losses and layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cellbench.cells.lstm import lstm
from cellbench.engines import OPTIMIZERS, reference, stack
from cellbench.engines.lanes import engine as lanes
from cellbench.model import Blueprint, Model, Objective
from cellbench.records import Evaluate, Final, Point, Settings, Solved, Train
from cellbench.task import Task
from cellbench.training.data import EvaluationData, TrainingData
from cellbench.training.drawn import Drawn
from tests.helpers.kinds import TASKS, Ones, Plain, torchs_loss

ENGINES: dict[str, Any] = {"reference": reference, "stack": stack, "lanes": lanes}
LENGTH, BATCH, HIDDEN = 6, 7, 5


def blueprint(task: Task, hidden: int = HIDDEN) -> Blueprint:
    objective = Objective(task.kind, task.tolerance)
    return Blueprint(lstm, "lstm", (), task.input_size, hidden, task.output_size, objective=objective)


def settings(name: str, steps: int) -> Settings:
    return Settings(
        name,
        Train(steps, "adam", 1.0, False, 100.0),
        Evaluate(5, 0.05, 50),
        Solved("sequence_accuracy", 0.99, 2),
        Final(20, (), False),
    )


def data(task: Task, name: str, steps: int, seeds: list[int], batch: int = BATCH) -> Any:
    """The batches of all steps, as cellbench draws them."""
    point = Point((("length", LENGTH),), batch, "hidden 5")
    drawn, blocks, step = TrainingData(task, settings(name, steps), point, seeds), [], 0
    while step < steps:
        count, block = drawn.up_to(step, steps)
        blocks.append(block)
        step += count
    inputs, targets, masks = zip(*blocks, strict=True)
    mask = None if masks[0] is None else np.concatenate(masks, axis=1)
    return Drawn(np.concatenate(inputs, axis=1), np.concatenate(targets, axis=1), mask)


def train(engine: str, task: Task, name: str, steps: int, rates: list[float], seeds: list[int], **keys: Any) -> Any:
    plan = blueprint(task)
    ready = ENGINES[engine].prepare(plan, optimizer=OPTIMIZERS["adam"], clip_norm=1.0, **keys)
    replicas = ready.begin([plan.build("p", s) for s in seeds], rates)
    drawn = data(task, name, steps, sorted(set(seeds)))
    which = np.array([sorted(set(seeds)).index(s) for s in seeds])
    return replicas, replicas.advance(drawn.inputs, drawn.targets, which, drawn.mask)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("engine", ["reference", pytest.param("lanes", marks=pytest.mark.slow)])
def test_losses_are_those_of_a_plain_loop_of_torch(engine: str, name: str) -> None:
    """Over 200 steps the losses are those of nn.LSTM, torch.optim and torch's own loss at the steps picked out."""
    task = TASKS[name]
    _, found = train(engine, task, name, 200, [0.01], [0])
    plain = Plain(task, blueprint(task).build("p", 0)).train_on(task, name, LENGTH, BATCH, 200, 0.01)
    np.testing.assert_allclose(found.losses[0], plain, atol=1e-6)
    assert plain[-1] < 0.98 * plain[0], "it learns"


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("engine", [e for e in ENGINES if e != "reference"])
def test_engines_agree(engine: str, name: str) -> None:
    """Over 60 steps two replicas have the reference's losses, and afterwards its scores."""
    task = TASKS[name]
    both = [train(e, task, name, 60, [0.01, 0.02], [0, 3]) for e in (engine, "reference")]
    np.testing.assert_allclose(both[0][1].losses, both[1][1].losses, atol=2e-5)
    shown = EvaluationData(task, settings(name, 60), (("length", LENGTH),)).curve([0, 3])
    mine, its = (r.evaluate(shown.inputs, shown.targets, np.arange(2), shown.mask) for r, _ in both)
    np.testing.assert_allclose(mine.loss, its.loss, rtol=1e-4)
    np.testing.assert_allclose(mine.bit_accuracy, its.bit_accuracy, atol=0.021)
    np.testing.assert_allclose(mine.sequence_accuracy, its.sequence_accuracy, atol=0.041)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("engine", ENGINES)
def test_scores_are_counted_one_by_one(engine: str, name: str) -> None:
    """Loss and both accuracies are what a plain loop over examples and steps counts."""
    task = TASKS[name]
    replicas, _ = train(engine, task, name, 80, [0.02], [0])
    shown = EvaluationData(task, settings(name, 80), (("length", LENGTH),)).curve([0])
    scores = replicas.evaluate(shown.inputs, shown.targets, np.zeros(1, np.int64), shown.mask)
    model = _model(task, replicas)
    logits = model.logits(shown.inputs[0])
    answers, whole = [], []
    for e in range(logits.shape[1]):
        mine = []
        for t in range(logits.shape[0]):
            if shown.mask is not None and not shown.mask[0, t, e]:
                continue
            z, y = logits[t, e], shown.targets[0, t, e]
            if task.kind == "classes":
                mine.append(int(np.argmax(z)) == int(y))
            elif task.kind == "numbers":
                mine += [abs(float(a) - float(b)) <= 0.04 for a, b in zip(z, y, strict=True)]
            else:
                mine += [(float(a) > 0) == (float(b) == 1) for a, b in zip(z, y, strict=True)]
        answers += mine
        whole.append(all(mine))
    assert scores.bit_accuracy[0] == pytest.approx(np.mean(answers), abs=1 / len(answers) + 1e-9)
    assert scores.sequence_accuracy[0] == pytest.approx(np.mean(whole), abs=1 / len(whole) + 1e-9)
    mask = None if shown.mask is None else torch.from_numpy(shown.mask[0])
    loss = torchs_loss(task.kind, torch.from_numpy(logits), torch.from_numpy(shown.targets[0]), mask)
    assert scores.loss[0] == pytest.approx(float(loss), rel=1e-5)


def _model(task: Task, replicas: Any) -> Model:
    """A model with the tensors of the first replica."""
    model = blueprint(task).build("p", 0)
    with torch.no_grad():
        for name, value in replicas.parameters()[0].items():
            dict(model.named_parameters())[name].copy_(torch.from_numpy(value))
    return model


@pytest.mark.parametrize("kind", ["bits", "classes", "numbers"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_mask_of_ones_changes_no_bit(engine: str, kind: str) -> None:
    """Losses, weights and scores with a mask that is True everywhere are those without one, bit for bit."""
    name = {"bits": "parity", "classes": "echo", "numbers": "mean"}[kind]
    task, found = TASKS[name], []
    drawn = data(task, name, 20, [0, 1])
    for mask in (None, np.ones(drawn.inputs.shape[:4], bool)):
        plan = blueprint(task)
        ready = ENGINES[engine].prepare(plan, optimizer=OPTIMIZERS["adam"], clip_norm=1.0)
        replicas = ready.begin([plan.build("p", s) for s in range(2)], [0.01, 0.03])
        losses = replicas.advance(drawn.inputs, drawn.targets, np.arange(2), mask).losses
        of_first = None if mask is None else mask[:, 0]
        scores = replicas.evaluate(drawn.inputs[:, 0], drawn.targets[:, 0], np.arange(2), of_first)
        found.append((losses, replicas.parameters(), scores))
    (losses, weights, scores), (others, other_weights, other_scores) = found
    assert np.array_equal(losses, others)
    for row in range(2):
        assert all(np.array_equal(v, other_weights[row][n]) for n, v in weights[row].items())
    for field in ("loss", "bit_accuracy", "sequence_accuracy"):
        assert np.array_equal(getattr(scores, field), getattr(other_scores, field))


def test_a_mask_of_ones_is_not_carried() -> None:
    """Where all steps count, engines get no mask, and the same data as without one."""
    with_ones, without = data(Ones(), "ones", 4, [0, 1]), data(TASKS["echo"], "ones", 4, [0, 1])
    assert with_ones.mask is None
    assert np.array_equal(with_ones.inputs, without.inputs)
    assert np.array_equal(with_ones.targets, without.targets)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_does_not_count_changes_nothing(engine: str) -> None:
    """Other targets at masked steps give the same losses and weights, bit for bit."""
    task, found = TASKS["ragged"], []
    drawn = data(task, "ragged", 10, [0])
    for other in (drawn.targets, np.where(drawn.mask, drawn.targets, 4 - drawn.targets)):
        plan = blueprint(task)
        ready = ENGINES[engine].prepare(plan, optimizer=OPTIMIZERS["adam"], clip_norm=1.0)
        replicas = ready.begin([plan.build("p", 0)], [0.01])
        out = replicas.advance(drawn.inputs, other, np.zeros(1, np.int64), drawn.mask)
        found.append((out.losses, replicas.parameters()[0]))
    assert np.array_equal(found[0][0], found[1][0])
    assert all(np.array_equal(v, found[1][1][n]) for n, v in found[0][1].items())
