"""Trains one chunk of replicas: a generator of records. It knows no file, no store and no terminal."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from cellbench.engines.engine import Engine, Floats, Replicas, Scores
from cellbench.model.model import Blueprint, Model
from cellbench.records.schedule import schedule
from cellbench.records.settings import Chunk, CurvePoint, Evaluation, Outcome
from cellbench.task import Task
from cellbench.training.data import TrainingData, evaluation_sets, final_groups, final_plan, final_sets
from cellbench.training.stopping import Streaks, first_lost

Finals = dict[int, tuple[tuple[Evaluation, ...], float]]
"""A replica's place in its chunk -> its final evaluations, and its loss at the trained parameters."""


def initial_models(blueprint: Blueprint, chunk: Chunk) -> list[Model]:
    """One model a replica, with the initial weights of its point and seed; learning rates share them."""
    made: dict[int, Model] = {}
    point = chunk.point
    for replica in chunk.replicas:
        if replica.seed not in made:
            made[replica.seed] = blueprint.build(point.parameters, point.batch_size, point.size, replica.seed)
    return [made[replica.seed] for replica in chunk.replicas]


def train(chunk: Chunk, task: Task, engine: Engine, blueprint: Blueprint) -> Iterator[Outcome]:
    """Train a chunk's replicas, and evaluate them.

    Yields:
        One outcome a replica, as replicas end: solved (if they stop then) or diverged first, then the rest in order.
        Fields about where and how long it ran are left to the caller.
    """
    settings, point = chunk.settings, chunk.point
    models = initial_models(blueprint, chunk)
    seeds = sorted({r.seed for r in chunk.replicas})
    seed_row = {seed: row for row, seed in enumerate(seeds)}
    which = np.array([seed_row[r.seed] for r in chunk.replicas], np.int64)
    alive = np.arange(len(chunk.replicas))
    data = TrainingData(task, settings.task, point.parameters, point.batch_size, seeds, settings.train.max_steps)
    inputs, targets = evaluation_sets(task, settings, point.parameters, seeds)
    replicas = engine.begin(models, [r.learning_rate for r in chunk.replicas])
    streaks = Streaks(settings.solved, len(alive))
    curves: list[list[CurvePoint]] = [[] for _ in chunk.replicas]
    lost_at = np.full(len(alive), -1, np.int64)
    ended: dict[int, tuple[int, Model]] = {}
    """Replica -> its last step and its model then, for those that left early and are whole."""

    step = 0
    for evaluation in schedule(settings.evaluate.every, settings.evaluate.growth, settings.train.max_steps):
        while step < evaluation and len(alive):
            count, x, y = data.up_to(step, evaluation)
            advanced = replicas.advance(x, y, which[alive])
            lost = first_lost(advanced.losses, advanced.broke)
            lost_at[alive[lost >= 0]] = step + 1 + lost[lost >= 0]
            step += count
            alive = _leave(replicas, alive, lost >= 0)
        if not len(alive):
            break
        scores = replicas.evaluate(inputs, targets, which[alive])
        blown = ~np.isfinite(scores.loss)
        lost_at[alive[blown]] = step
        for member, loss, bit, sequence in zip(
            alive, scores.loss, scores.bit_accuracy, scores.sequence_accuracy, strict=True
        ):
            curves[member].append(CurvePoint(step, float(loss), float(bit), float(sequence)))
        streaks.see(alive, step, getattr(scores, settings.solved.metric))
        leaving = blown.copy()
        if settings.train.stop_when_solved:
            leaving |= streaks.solved_at[alive] >= 0
            _keep_models(replicas, alive, leaving & ~blown, models, step, ended)
        alive = _leave(replicas, alive, leaving)
    if len(alive):
        _keep_models(replicas, alive, np.ones(len(alive), bool), models, step, ended)

    finals: Finals = {}
    least = math.ceil(engine.padded * len(seeds) / len(chunk.replicas))
    for group in final_groups(task, settings, point.parameters, seeds, least):
        finals |= _final_evaluations(chunk, task, engine, ended, group)
    for row, replica in enumerate(chunk.replicas):
        outcome = _outcome(
            replica.key, curves[row], int(streaks.solved_at[row]), int(lost_at[row]), chunk, inputs, task
        )
        if row in ended:
            evaluations, final_loss = finals[row]
            outcome = replace(outcome, final_step=ended[row][0])
        else:
            plan = final_plan(task, settings, dict(point.parameters))
            evaluations, final_loss = tuple(Evaluation(by, value, 0.0, 0.0) for by, value in plan), None
        yield replace(
            outcome,
            evaluations=evaluations,
            final_loss=final_loss,
            final_bit_accuracy=evaluations[0].bit_accuracy,
            final_sequence_accuracy=evaluations[0].sequence_accuracy,
            engine=engine.name,
            isa=engine.isa,
            compiler=engine.compiler,
        )


def _outcome(
    key: str, curve: Sequence[CurvePoint], solved_at: int, lost_at: int, chunk: Chunk, inputs: Floats, task: Task
) -> Outcome:
    """Status and steps of one replica."""
    solved = solved_at >= 0
    examples = solved_at * chunk.point.batch_size if solved else None
    return Outcome(
        key=key,
        status="solved" if solved else "diverged" if lost_at >= 0 else "censored",
        steps_to_solved=solved_at if solved else None,
        examples_to_solved=examples,
        target_bits_to_solved=None if examples is None else examples * inputs.shape[1] * task.output_size,
        final_step=max(lost_at - 1, 0),
        diverged_at=lost_at if lost_at >= 0 else None,
        curve=tuple(curve),
    )


def _leave(replicas: Replicas, alive: NDArray[np.int64], leaving: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Let some replicas go; returns those that stay."""
    if not leaving.any():
        return alive
    rows = np.flatnonzero(~leaving)
    if len(rows):
        replicas.keep(rows.tolist())
    return alive[rows]


def _keep_models(
    replicas: Replicas,
    alive: NDArray[np.int64],
    leaving: NDArray[np.bool_],
    models: Sequence[Model],
    step: int,
    ended: dict[int, tuple[int, Model]],
) -> None:
    """Put the parameters of those that leave into models of their own, for the final evaluation."""
    if not leaving.any():
        return
    parameters = replicas.parameters()
    for row in np.flatnonzero(leaving):
        model = copy.deepcopy(models[alive[row]])
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(torch.from_numpy(parameters[row][name]))
        ended[int(alive[row])] = (step, model)


def _final_evaluations(
    chunk: Chunk, task: Task, engine: Engine, ended: dict[int, tuple[int, Model]], seeds: Sequence[int]
) -> Finals:
    """Replica of one of these seeds -> its final evaluations, and its loss at the trained parameters."""
    order = [row for row in sorted(ended) if chunk.replicas[row].seed in seeds]
    if not order:
        return {}
    which = np.array([seeds.index(chunk.replicas[row].seed) for row in order], np.int64)
    replicas = engine.begin([ended[row][1] for row in order], [chunk.replicas[row].learning_rate for row in order])
    parameters, settings = chunk.point.parameters, chunk.settings
    plan = final_plan(task, settings, dict(parameters))
    found: list[Scores] = []
    for by, value in plan:
        inputs, targets = final_sets(task, settings, parameters, seeds, by, value)
        found.append(replicas.evaluate(inputs, targets, which))
    return {
        row: (
            tuple(
                Evaluation(by, value, _finite(s.bit_accuracy[i]), _finite(s.sequence_accuracy[i]))
                for (by, value), s in zip(plan, found, strict=True)
            ),
            float(found[0].loss[i]),
        )
        for i, row in enumerate(order)
    }


def _finite(share: np.float64) -> float:
    return float(share) if np.isfinite(share) else 0.0
