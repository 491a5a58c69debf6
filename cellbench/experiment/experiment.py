"""The experiment file: its keys, their defaults, and every fault at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cellbench.errors import CellbenchError, ExperimentError, Fault
from cellbench.experiment.document import Document, Path_, key, override, parse, read
from cellbench.experiment.sections import FinalKeys, Keys, did_you_mean, fault, short
from cellbench.plugins import sources
from cellbench.plugins.contained import contained
from cellbench.plugins.discovery import Registry, load_factory
from cellbench.records.schedule import schedule
from cellbench.records.settings import CellSpec, Evaluate, Final, Settings, Solved, Source, Train, pairs
from cellbench.task import Task

MOST_REPLICAS = 10_000_000


@dataclass(frozen=True)
class Experiment:
    """An experiment that is known to be sound.

    Attributes:
        name: names the results folder.
        keys: everything as validated, defaults filled in.
        settings: what training needs of it.
        cells: in file order.
        task: the task itself; `task_sources` the text of its module.
        baseline: a label, or None for the default.
        engine: as asked for.
        axes: the task's parameters and their values, in the task's order.
        batch_sizes, sizes: the rest of the grid; sizes are `("hidden", 20)` or `("budget", 2000)`.
        seeds, learning_rates: in file order.
        document: for the places of faults that show later.
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

    def fault(self, path: Path_, message: str) -> ExperimentError:
        """An error that names the place of a key."""
        return ExperimentError([Fault(self.document.place(path), key(path), message)])

    def resolved(self) -> dict[str, Any]:
        """Everything that was resolved, as plain data for the store and the report."""
        return {
            **self.keys.model_dump(mode="json"),
            "baseline": self.baseline,
            "final": {
                "examples": self.settings.final.examples,
                "difficulty": self.settings.final.difficulty,
                **{name: list(values) for name, values in self.settings.final.values},
            },
        }


def load(
    source: Path | str | Mapping[str, Any],
    registry: Registry,
    *,
    overrides: Sequence[str] = (),
    extra_cells: Sequence[str] = (),
) -> Experiment:
    """Read and validate an experiment.

    Args:
        source: a file, or the keys themselves.
        registry: the plugins.
        overrides: `a.b=c`, as `--set` takes them.
        extra_cells: `file.py:Class`, as `--cell` takes them, relative to the working directory.

    Raises:
        ExperimentError: with every fault.
    """
    if isinstance(source, Mapping):
        import json

        document, folder = parse(json.dumps(source, default=str), "<experiment>"), Path.cwd()
        document.places = dict.fromkeys(document.places, "<experiment>")
    else:
        document, folder = read(Path(source)), Path(source).parent
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
    for assignment in overrides:
        try:
            override(document, assignment)
        except ExperimentError as error:
            faults.extend(error.faults)
    if not isinstance(document.data, dict):
        faults.append(Fault(document.name, "", "holds no keys; an experiment is a mapping with name, cells and grid"))
        raise ExperimentError(faults)
    for cell in extra_cells:
        _join(document, cell, faults)
    keys: Keys | None = None
    try:
        keys = Keys.model_validate(document.data)
    except ValidationError as error:
        faults.extend(fault(document, details) for details in error.errors())
    checks = _Checks(document, folder, registry, faults)
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
    )


def _sorted(faults: Sequence[Fault]) -> list[Fault]:
    """By line, each fault once."""

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


class _Checks:
    """What pydantic cannot know: cells, tasks, labels, the task's own keys. Works on data of any shape."""

    def __init__(self, document: Document, folder: Path, registry: Registry, faults: list[Fault]) -> None:
        self.document, self.folder, self.registry, self.faults = document, folder, registry, faults
        self.data: Mapping[str, Any] = document.data

    def add(self, path: Path_, message: str) -> None:
        self.faults.append(Fault(self.document.place(path), key(path), message))

    def task(self) -> Task | None:
        name = self.data.get("task", "binary_addition")
        if not isinstance(name, str):
            return None
        try:
            with contained():
                task = load_factory(self.registry.find("task", name))()
        except CellbenchError as error:
            self.add(("task",), str(error))
            return None
        except Exception as error:
            provider = self.registry.find("task", name).provider
            self.add(("task",), f"{name} (from {provider}): making it raised {type(error).__name__}: {error}")
            return None
        if not isinstance(task, Task):
            self.add(("task",), f"{name}: its factory returned {type(task).__name__}, not a cellbench.Task")
            return None
        return task

    def cells(self) -> list[CellSpec]:
        cells = self.data.get("cells")
        specs: list[CellSpec] = []
        labels: dict[str, Path_] = {}
        for i, cell in enumerate(cells if isinstance(cells, list) else []):
            keys: Mapping[str, Any] = {"name": cell} if isinstance(cell, str) else cell
            if not isinstance(keys, Mapping) or not isinstance(keys.get("name"), str):
                continue
            path: Path_ = ("cells", i)
            label = keys.get("label") or keys["name"]
            if not isinstance(label, str):
                continue
            if not label.isprintable():
                self.add((*path, "label"), f"the label {short(label)} holds characters that cannot be printed")
            if label in labels:
                self.add(path, f"the label {label!r} stands twice; give one of them another `label`")
            labels[label] = path
            spec = self._spec(label, keys, path)
            if spec is not None:
                specs.append(spec)
        baseline = self.data.get("baseline")
        if isinstance(baseline, str) and labels and baseline not in labels:
            self.add(("baseline",), f"{short(baseline)} is no label. {did_you_mean(baseline, list(labels))}")
        return specs

    def _spec(self, label: str, keys: Mapping[str, Any], path: Path_) -> CellSpec | None:
        options = keys.get("options", {})
        options = options if isinstance(options, Mapping) else {}
        readout = keys.get("readout")
        hidden = readout.get("hidden") if isinstance(readout, Mapping) else None
        common = {
            "label": label,
            "name": keys["name"],
            "learn_initial_state": keys.get("learn_initial_state") is True,
            "readout_hidden": hidden if isinstance(hidden, int) else None,
        }
        factory = keys.get("factory")
        try:
            if isinstance(factory, str):
                file, colon, attribute = factory.rpartition(":")
                if not colon or not file or not attribute.isidentifier():
                    self.add((*path, "factory"), f"{short(factory)} must be FILE:CLASS, such as ./mycell.py:MyCell")
                    return None
                target = (self.folder / file).resolve()
                if not target.is_file():
                    self.add((*path, "factory"), f"no such file: {target}")
                    return None
                texts = sources.of_file(target)
                sources.load(texts, attribute)
                return CellSpec(
                    factory=f"{target.name}:{attribute}",
                    options=pairs(options.items()),
                    sources=texts,
                    from_file=True,
                    provider=str(target),
                    **common,
                )
            entry = self.registry.find("cell", keys["name"])
            return CellSpec(
                factory=entry.factory_name,
                options=pairs({**entry.defaults, **options}.items()),
                sources=sources.of_entry(entry),
                provider=entry.provider,
                **common,
            )
        except CellbenchError as error:
            self.add((*path, "factory" if isinstance(factory, str) else "name"), str(error))
        except (OSError, UnicodeDecodeError) as error:
            self.add((*path, "factory"), f"cannot be read: {error}")
        return None

    def grid(self, task: Task | None) -> None:
        grid = self.data.get("grid")
        if not isinstance(grid, Mapping):
            return
        if task is None:
            return
        known = [*task.parameters, "batch_size", "hidden_size", "parameter_budget"]
        for name in grid:
            if name not in known:
                hint = did_you_mean(str(name), known)
                self.add(("grid", name), f"the task {self.data.get('task', 'binary_addition')} has no such key. {hint}")
        for name in (*task.parameters, "batch_size"):
            if name not in grid:
                self.add(("grid",), f"{name} is missing: give a list of values")
        sizes = [name for name in ("hidden_size", "parameter_budget") if name in grid]
        if len(sizes) != 1:
            what = (
                "both hidden_size and parameter_budget are given"
                if sizes
                else "neither hidden_size nor parameter_budget"
            )
            self.add(("grid",), f"{what}; give one of the two")
        for name, values in grid.items():
            if name in known:
                self._values(("grid", name), values, task)

    def _values(self, path: Path_, values: object, task: Task, *, may_be_empty: bool = False) -> None:
        """A list of distinct values of a task's parameter or of a size."""
        name = str(path[-1])
        items = values if isinstance(values, list) else [values]
        if not items and not may_be_empty:
            self.add(path, "is empty, expected at least one value")
        for i, value in enumerate(items):
            at = (*path, i) if isinstance(values, list) else path
            if name in task.parameters:
                try:
                    task.check_parameter(name, value)
                except ValueError as error:
                    self.add(at, f"is {short(value)}: {error}")
                    continue
            elif isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10**6:
                self.add(at, f"is {short(value)}, expected a whole number from 1 to 1000000")
                continue
            if value in items[:i]:
                self.add(at, f"{short(value)} stands twice")

    def amount(self, keys: Keys) -> None:
        """What memory could not hold is refused before anything is planned."""
        try:
            schedule(keys.evaluate.every, keys.evaluate.growth, keys.train.max_steps)
        except ValueError as error:
            self.add(("evaluate",), str(error))
        replicas = len(keys.cells) * len(keys.seeds) * len(keys.learning_rate) * prod(map(len, keys.grid.values()))
        if replicas > MOST_REPLICAS:
            self.add(
                (), f"plans {replicas:,} replicas, more than {MOST_REPLICAS:,}: divide it into several experiments"
            )

    def distinct(self, name: str, values: Sequence[float]) -> None:
        seen: set[float] = set()
        for i, value in enumerate(values):
            if value in seen:
                self.add((name, i), f"{value!r} stands twice")
            seen.add(value)

    def final(self, task: Task | None) -> tuple[tuple[str, tuple[Any, ...]], ...]:
        final = self.data.get("final", {})
        if task is None or not isinstance(final, Mapping):
            return ()
        values: dict[str, tuple[Any, ...]] = {k: tuple(v) for k, v in task.final.items()}
        for name, given in final.items():
            if name in FinalKeys.model_fields:
                continue
            if name not in task.parameters:
                known = [*FinalKeys.model_fields, *task.parameters]
                self.add(("final", name), f"no such key. {did_you_mean(str(name), known)}")
                continue
            self._values(("final", name), given, task, may_be_empty=True)
            values[name] = tuple(given) if isinstance(given, list) else (given,)
        return tuple((name, v) for name, v in values.items() if v)
