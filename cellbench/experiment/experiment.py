"""The experiment file: its keys, their defaults, and every fault at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cellbench.errors import ExperimentError, Fault
from cellbench.experiment.checks import Checks
from cellbench.experiment.document import Document, Path_, key, override, read
from cellbench.experiment.faults import fault
from cellbench.experiment.given import document_of, join
from cellbench.experiment.sections import Keys
from cellbench.plugins import Registry, sources
from cellbench.records import CellSpec, Evaluate, Final, Settings, Solved, Source, Train
from cellbench.task import Task


@dataclass(frozen=True)
class Experiment:
    """A validated experiment.

    Attributes:
        name: names the results folder.
        keys: everything as validated, defaults filled in.
        settings: the part that training needs.
        cells: in file order.
        task: the task itself; `task_sources` holds the text of its module.
        baseline: a label, or None for the default.
        engine: as asked for.
        axes: the task's parameters and their values, in the task's order.
        batch_sizes, sizes: the rest of the grid; sizes are `("hidden", 20)` or `("budget", 2000)`.
        seeds, learning_rates: in file order.
        document: gives the places of faults that are found later.
        added: the labels of the cells that the command line added.
    """

    name: str
    keys: Keys
    settings: Settings
    cells: tuple[CellSpec, ...]
    task: Task
    task_sources: tuple[Source, ...]
    baseline: str | None
    engine: str
    axes: tuple[tuple[str, tuple[Any, ...]], ...]
    batch_sizes: tuple[int, ...]
    sizes: tuple[tuple[str, int], ...]
    seeds: tuple[int, ...]
    learning_rates: tuple[float, ...]
    document: Document
    added: tuple[str, ...] = ()

    def fault(self, path: Path_, message: str) -> ExperimentError:
        """Make an error that names the place of a key."""
        return ExperimentError([Fault(self.document.place(path), key(path), message)])

    def resolved(self) -> dict[str, Any]:
        """Return the keys with everything resolved, as plain data for the store and the report."""
        return {
            **self.keys.model_dump(mode="json"),
            "baseline": self.baseline,
            "final": {
                "examples": self.settings.final.examples,
                "difficulty": self.settings.final.difficulty,
                **{name: list(values) for name, values in self.settings.final.values},
            },
        }

    def facts(self, registry: Registry) -> dict[str, Any]:
        """Gather what reports need besides the keys, so that they can do without torch and the plugins."""
        settings = self.settings
        names = [name for name, _ in self.axes]
        values = {**dict(settings.final.values), **dict(self.axes)}
        references = {}
        for name in names:
            for value in dict.fromkeys((*dict(self.axes)[name], *values[name])):
                others = {n: v[0] for n, v in self.axes if n != name}
                found = self.task.reference_accuracies({**others, name: value})
                if found:
                    references[f"{name}={value}"] = dict(found)
        described = {}
        for cell in self.cells:
            entry = registry.cells.get(cell.name) if not cell.from_file else None
            described[cell.label] = {
                "cell": cell.name,
                "provider": cell.provider if entry else cell.factory,
                "description": entry.description if entry else "a cell from a file",
                "reference": entry.reference if entry else "",
                "options": dict(cell.options),
            }
        return {
            "axes": names,
            "difficulty": self.task.difficulty,
            "evaluation_steps": settings.evaluate.steps(settings.train.max_steps),
            "reference_accuracies": references,
            "cells": described,
        }


def load(
    source: Path | str | Mapping[str, Any],
    registry: Registry,
    *,
    keys: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    extra_cells: Sequence[str] = (),
) -> Experiment:
    """Read and validate an experiment.

    Args:
        source: a file, or the keys themselves.
        registry: the plugins.
        keys: keyword arguments, which change the experiment's keys.
        overrides: `a.b=c`, as `--set` takes them.
        extra_cells: `file.py:Class`, as `--cell` takes them, relative to the working directory.

    Raises:
        ExperimentError: with every fault.
    """
    if isinstance(source, Mapping):
        document, folder = document_of(source), Path.cwd()
    else:
        document, folder = read(Path(source)), Path(source).parent
    join(document, keys or {})
    return resolve(document, folder, registry, overrides=overrides, extra_cells=extra_cells)


def resolve(
    document: Document,
    folder: Path,
    registry: Registry,
    *,
    overrides: Sequence[str] = (),
    extra_cells: Sequence[str] = (),
) -> Experiment:
    """Validate a document; see `load`."""
    faults: list[Fault] = []
    # the options of the command line first: what they change is validated like the file
    for assignment in overrides:
        try:
            override(document, assignment)
        except ExperimentError as error:
            faults.extend(error.faults)
    if not isinstance(document.data, dict):
        faults.append(Fault(document.name, "", "has no keys; an experiment is a mapping with name, cells and grid"))
        raise ExperimentError(faults)
    for cell in extra_cells:
        _join(document, cell, faults)
    # pydantic checks the shape of every section
    keys: Keys | None = None
    try:
        keys = Keys.model_validate(document.data)
    except ValidationError as error:
        faults.extend(fault(document, details) for details in error.errors())
    # the other checks run even if pydantic found faults, so that all are reported at once
    checks = Checks(document, folder, registry, faults)
    task = checks.task()
    cells = checks.cells()
    checks.grid(task)
    final = checks.final(task)
    checks.distinct("seeds", keys.seeds if keys else [])
    checks.distinct("learning_rate", keys.learning_rate if keys else [])
    if keys is not None:
        checks.amount(keys)
    if faults or keys is None or task is None:
        raise ExperimentError(_sorted(faults))
    # from here on everything is known to be there
    size_key = "hidden_size" if "hidden_size" in keys.grid else "parameter_budget"
    return Experiment(
        name=keys.name,
        keys=keys,
        settings=Settings(
            task=keys.task,
            train=Train(**keys.train.model_dump()),
            evaluate=Evaluate(**keys.evaluate.model_dump()),
            solved=Solved(**keys.solved.model_dump()),
            final=Final(keys.final.examples, final, keys.final.difficulty and task.difficulty is not None),
        ),
        # a cell without a readout of its own takes the experiment's
        cells=tuple(
            replace(c, readout_hidden=keys.readout.hidden) if keys.readout and k.readout is None else c
            for c, k in zip(cells, keys.cells, strict=True)
        ),
        task=task,
        task_sources=sources.of_entry(registry.tasks[keys.task]),
        baseline=keys.baseline,
        engine=keys.engine,
        axes=tuple((name, tuple(keys.grid[name])) for name in task.parameters),
        batch_sizes=tuple(keys.grid["batch_size"]),
        sizes=tuple(("hidden" if size_key == "hidden_size" else "budget", s) for s in keys.grid[size_key]),
        seeds=tuple(keys.seeds),
        learning_rates=tuple(keys.learning_rate),
        document=document,
        added=tuple(cell.label for cell in cells[len(cells) - len(extra_cells) :]),
    )


def _sorted(faults: Sequence[Fault]) -> list[Fault]:
    """Sort faults by line, each once."""

    def line(fault: Fault) -> tuple[int, str]:
        match = re.search(r":(\d+)$", fault.place)
        return (int(match[1]) if match else 10**9, fault.key)

    return sorted(dict.fromkeys(faults), key=line)


def _join(document: Document, cell: str, faults: list[Fault]) -> None:
    """Add `--cell FILE:CLASS` to the experiment's cells, and to its name."""
    place = f"--cell {cell}"
    file, colon, attribute = cell.rpartition(":")
    if not colon or not file or not attribute.isidentifier():
        faults.append(Fault(place, "", "must be FILE:CLASS, for example ./mycell.py:MyCell"))
        return
    cells = document.data.setdefault("cells", [])
    if isinstance(cells, list):
        document.places[("cells", len(cells))] = place
        cells.append({"name": attribute, "factory": f"{Path(file).resolve()}:{attribute}"})
    if isinstance(document.data.get("name"), str):
        document.data["name"] += f"+{attribute}"
