"""Trains one chunk of replicas: a generator of records. It knows no file, no store and no terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cellbench.engines import Advanced, Engine, Scores, Trained
from cellbench.model import Blueprint, Model
from cellbench.model.weights import Tensors, pack
from cellbench.records import Chunk, CurvePoint, Evaluation, Outcome
from cellbench.task import Task
from cellbench.training.data import EvaluationData, TrainingData
from cellbench.training.drawn import Drawn, answers_of
from cellbench.training.stopping import Streaks, first_lost

Chosen = NDArray[np.bool_]
Finals = dict[int, tuple[tuple[Evaluation, ...], float]]
"""A replica's index in its chunk -> its final evaluations, and its loss at the trained parameters."""


@dataclass
class Fitted:
    """The replicas of a chunk after training; each is named by its index in the chunk.

    Attributes:
        curves: one learning curve per replica: its evaluations while it was trained.
        solved_at: shape (replicas,): steps to solved, -1 if the replica was not solved.
        lost_at: shape (replicas,): the step at which the replica diverged, -1 if it did not.
        trained: for each replica that did not diverge, its last step and what it is after that step.
        tensors: what it holds then, by path, if the chunk keeps weights.
    """

    curves: list[list[CurvePoint]]
    solved_at: NDArray[np.int64]
    lost_at: NDArray[np.int64]
    trained: dict[int, tuple[int, Trained]] = field(default_factory=dict)
    tensors: dict[int, Tensors] = field(default_factory=dict)


def initial_models(blueprint: Blueprint, chunk: Chunk, engine: Engine) -> list[Model]:
    """Make the models that the replicas start from, with the initial weights of their point and seed.

    An engine that trains the models themselves gets one per replica; for another one, learning rates share them.
    """
    point = chunk.point

    def make(seed: int) -> Model:
        return blueprint.build(point.parameters, point.batch_size, point.size, seed)

    if engine.owns_models:
        return [make(replica.seed) for replica in chunk.replicas]
    made = {seed: make(seed) for seed in dict.fromkeys(replica.seed for replica in chunk.replicas)}
    return [made[replica.seed] for replica in chunk.replicas]


def train(chunk: Chunk, task: Task, engine: Engine, blueprint: Blueprint) -> Iterator[Outcome]:
    """Train a chunk's replicas, and evaluate them.

    Yields:
        One outcome per replica, in the chunk's order. Fields about where and how long it ran are left to the caller.
    """
    fitted = fit(chunk, task, engine, initial_models(blueprint, chunk, engine))
    return finish(chunk, task, engine, fitted)


class _InTraining:
    """The replicas of a chunk that are still in training.

    Attributes:
        rows: shape (replicas in training,): their indices in the chunk.
    """

    def __init__(self, chunk: Chunk, engine: Engine, models: Sequence[Model], seeds: Sequence[int]) -> None:
        self._replicas = engine.begin(models, [r.learning_rate for r in chunk.replicas])
        self._which = np.array([seeds.index(r.seed) for r in chunk.replicas], np.int64)
        self.rows = np.arange(len(chunk.replicas))

    def advance(self, drawn: Drawn) -> Advanced:
        """Train each through a block of steps; see `Replicas.advance`."""
        return self._replicas.advance(drawn.inputs, drawn.targets, self._which[self.rows], drawn.mask)

    def evaluate(self, drawn: Drawn) -> Scores:
        """Score each; see `Replicas.evaluate`."""
        return self._replicas.evaluate(drawn.inputs, drawn.targets, self._which[self.rows], drawn.mask)

    def trained(self, chosen: Chosen) -> Iterator[tuple[int, Trained]]:
        """Hand out some replicas, as they are now; they must leave.

        Args:
            chosen: shape (replicas in training,).

        Yields:
            The index in the chunk, and the replica.
        """
        rows = np.flatnonzero(chosen).tolist()
        if rows:
            yield from zip(self.rows[rows].tolist(), self._replicas.trained(rows), strict=True)

    def tensors(self, chosen: Chosen) -> Iterator[tuple[int, Tensors]]:
        """Copy the tensors of some replicas, as they are now; yields the index in the chunk, and the tensors."""
        rows = np.flatnonzero(chosen).tolist()
        if rows:
            yield from zip(self.rows[rows].tolist(), self._replicas.tensors(rows), strict=True)

    def leave(self, leaving: Chosen) -> None:
        """Go on without some replicas; `leaving` has the shape of `rows`."""
        if leaving.any():
            rows = np.flatnonzero(~leaving)
            if len(rows):
                self._replicas.keep(rows.tolist())
            self.rows = self.rows[rows]


def fit(chunk: Chunk, task: Task, engine: Engine, models: Sequence[Model]) -> Fitted:
    """Train a chunk's replicas to their end, and measure their learning curves.

    Args:
        chunk: what to train.
        task: the task itself.
        engine: made ready for the chunk's cell.
        models: one per replica, at its initial weights.
    """
    settings, point = chunk.settings, chunk.point
    seeds = sorted({r.seed for r in chunk.replicas})
    data = TrainingData(task, settings, point, seeds)
    shown = EvaluationData(task, settings, point.parameters).curve(seeds)
    alive = _InTraining(chunk, engine, models, seeds)
    count = len(chunk.replicas)
    streaks = Streaks(settings.solved, count)
    found = Fitted([[] for _ in range(count)], streaks.solved_at, np.full(count, -1, np.int64))

    def take(chosen: Chosen) -> None:
        """Take replicas that are trained out of training."""
        if chunk.keep_weights:
            found.tensors |= alive.tensors(chosen)
        found.trained |= {index: (step, replica) for index, replica in alive.trained(chosen)}

    step = 0
    for evaluation in settings.evaluate.steps(settings.train.max_steps):
        # train up to the next evaluation; data come in blocks, which may end before it
        while step < evaluation and len(alive.rows):
            steps, drawn = data.up_to(step, evaluation)
            advanced = alive.advance(drawn)
            # what diverges leaves at the end of its block; lost steps count from 1
            lost = first_lost(advanced.losses, advanced.broke)
            found.lost_at[alive.rows[lost >= 0]] = step + 1 + lost[lost >= 0]
            step += steps
            alive.leave(lost >= 0)
        if not len(alive.rows):
            break
        scores = alive.evaluate(shown)
        # a model may be finite on its training batch and not on the evaluation set: it has diverged, too
        blown = ~np.isfinite(scores.loss)
        found.lost_at[alive.rows[blown]] = step
        for row, loss, bit, sequence in zip(
            alive.rows, scores.loss, scores.bit_accuracy, scores.sequence_accuracy, strict=True
        ):
            found.curves[row].append(CurvePoint(step, float(loss), float(bit), float(sequence)))
        streaks.see(alive.rows, step, getattr(scores, settings.solved.metric))
        # solved replicas leave as they are, if the experiment says so; the others train on
        leaving = blown
        if settings.train.stop_when_solved:
            leaving = blown | (streaks.solved_at[alive.rows] >= 0)
            take(leaving & ~blown)
        alive.leave(leaving)
    # the rest trained to the last step
    if len(alive.rows):
        take(np.ones(len(alive.rows), bool))
    return found


def finish(chunk: Chunk, task: Task, engine: Engine, fitted: Fitted) -> Iterator[Outcome]:
    """Evaluate the trained replicas, and yield one outcome per replica; see `train`."""
    sets = EvaluationData(task, chunk.settings, chunk.point.parameters)
    seeds = sorted({r.seed for r in chunk.replicas})
    finals: Finals = {}
    # seeds in groups, for the sake of memory; a group has replicas enough to fill what the engine works on at once
    least = math.ceil(engine.padded * len(seeds) / len(chunk.replicas))
    for group in sets.groups(seeds, least):
        finals |= _final_evaluations(chunk, engine, fitted, sets, group)
    answers = answers_of(task, dict(chunk.point.parameters))
    # a replica may be solved first and diverge later, if training goes on: it counts as solved
    for row, replica in enumerate(chunk.replicas):
        lost_at, solved_at = int(fitted.lost_at[row]), int(fitted.solved_at[row])
        solved = solved_at >= 0
        examples = solved_at * chunk.point.batch_size if solved else None
        if row in fitted.trained:
            final_step, (evaluations, final_loss) = fitted.trained[row][0], finals[row]
        else:
            # it diverged: all its answers count as wrong
            final_step, final_loss = max(lost_at - 1, 0), None
            evaluations = tuple(Evaluation(by, value, 0.0, 0.0) for by, value in sets.plan)
        yield Outcome(
            key=replica.key,
            status="solved" if solved else "diverged" if lost_at >= 0 else "censored",
            steps_to_solved=solved_at if solved else None,
            examples_to_solved=examples,
            target_bits_to_solved=None if examples is None or answers is None else examples * answers,
            final_step=final_step,
            final_loss=final_loss,
            final_bit_accuracy=evaluations[0].bit_accuracy,
            final_sequence_accuracy=evaluations[0].sequence_accuracy,
            diverged_at=lost_at if lost_at >= 0 else None,
            curve=tuple(fitted.curves[row]),
            evaluations=evaluations,
            engine=engine.name,
            isa=engine.isa,
            compiler=engine.compiler,
            device=engine.device,
            weights=pack(fitted.tensors[row]) if row in fitted.tensors else None,
        )


def _final_evaluations(
    chunk: Chunk, engine: Engine, fitted: Fitted, sets: EvaluationData, seeds: Sequence[int]
) -> Finals:
    """Run all final evaluations of the trained replicas of these seeds."""
    order = [row for row in sorted(fitted.trained) if chunk.replicas[row].seed in seeds]
    if not order:
        return {}
    which = np.array([seeds.index(chunk.replicas[row].seed) for row in order], np.int64)
    replicas = engine.resume([fitted.trained[row][1] for row in order])
    drawn = (sets.final(seeds, by, value) for by, value in sets.plan)
    found = [replicas.evaluate(each.inputs, each.targets, which, each.mask) for each in drawn]
    return {
        row: (
            tuple(
                Evaluation(by, value, _finite(s.bit_accuracy[i]), _finite(s.sequence_accuracy[i]))
                for (by, value), s in zip(sets.plan, found, strict=True)
            ),
            float(found[0].loss[i]),
        )
        for i, row in enumerate(order)
    }


def _finite(share: np.float64) -> float:
    """Turn a share into a float; one that is not finite counts as 0."""
    return float(share) if np.isfinite(share) else 0.0
