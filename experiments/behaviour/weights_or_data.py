"""Trains the initial weights of every seed on the data of every seed, and writes the steps to solved: a two-way table.

    python experiments/behaviour/weights_or_data.py [EXPERIMENT] [FOLDER]

EXPERIMENT is weights-or-data.yaml beside this file, unless another one is given; it has one point and one learning
rate. FOLDER/NAME/steps.csv (FOLDER: results) gets one row per cell, seed of the initial weights, and seed of the data,
which are the training examples and those that measure it. `cellbench.train(..., data_seed=...)` trains any one of them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd

from cellbench.experiment import Experiment, load
from cellbench.planning import prepare
from cellbench.plugins import discover
from cellbench.records import Chunk, Replica
from cellbench.training.loop import fit, initial_models
from cellbench.training.worker import ready


def chunks(experiment: Experiment) -> Iterator[Chunk]:
    """Plan the experiment as if nothing were trained, and take one chunk of each cell."""
    with tempfile.TemporaryDirectory() as nothing:
        planned = prepare(experiment, Path(nothing) / experiment.name).todo
    if len({chunk.point for chunk in planned}) != 1 or len(experiment.learning_rates) != 1:
        sys.exit(f"{experiment.name}: needs one point and one learning rate")
    yield from {chunk.cell.label: chunk for chunk in planned}.values()


def steps(experiment: Experiment, chunk: Chunk) -> Iterator[tuple[str, int, int, int]]:
    """Train a cell from the initial weights of each seed on the data of each seed.

    Yields:
        Label, seed of the weights, seed of the data, steps to solved; -1 where it was not solved.
    """
    blueprint, engine = ready(chunk)
    (rate,) = experiment.learning_rates

    def of(seeds: list[int]) -> Chunk:
        return replace(chunk, replicas=tuple(Replica("", seed, rate) for seed in seeds))

    every = list(experiment.seeds)
    for weights in every:
        models = initial_models(blueprint, of([weights] * len(every)), engine)
        found = fit(of(every), experiment.task, engine, models).solved_at
        for data, solved_at in zip(every, found.tolist(), strict=True):
            yield chunk.cell.label, weights, data, solved_at


def main(path: Path, folder: Path) -> None:
    """Write the table of an experiment."""
    experiment = load(path, discover())
    rows = [row for chunk in chunks(experiment) for row in steps(experiment, chunk)]
    out = folder / experiment.name / "steps.csv"
    out.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(rows, columns=["cell", "weights", "data", "steps_to_solved"])
    frame["budget"] = experiment.settings.train.max_steps
    frame.to_csv(out, index=False)
    print(f"{len(frame):,} replicas: {out}")


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    main(
        given[0] if given else Path(__file__).with_name("weights-or-data.yaml"),
        given[1] if len(given) > 1 else Path("results"),
    )
