"""The checks that pydantic cannot do: cells, tasks, labels, the task's own keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from cellbench.errors import CellbenchError, Fault
from cellbench.experiment.document import Document, Path_, key
from cellbench.experiment.sections import FinalKeys, Keys, StagesKeys
from cellbench.experiment.training import contradictions
from cellbench.plugins import Registry, contained, load_factory, own_tasks, sources
from cellbench.records import LAYERS, MOST_LAYERS, CellSpec, Evaluate, TaskSpec, pairs
from cellbench.task import Task
from cellbench.wording import READ_AS_MISSING, did_you_mean, short

MOST_REPLICAS = 10_000_000
MOST_VALUES = 10_000
"""The most values of an axis, and of any other list but that of the seeds."""


class Checks:
    """The checks that pydantic cannot do. They work on data of any shape, and add each fault to `faults`.

    Args:
        document: the experiment, perhaps refused by pydantic already.
        folder: paths of cells' files are relative to it.
        registry: the plugins.
        faults: the list that faults are added to.

    Attributes:
        own: the task, once `task` found it to be one of the user's own.
    """

    def __init__(self, document: Document, folder: Path, registry: Registry, faults: list[Fault]) -> None:
        self.document, self.folder, self.registry, self.faults = document, folder, registry, faults
        self.data: Mapping[str, Any] = document.data
        self.own: TaskSpec | None = None

    def add(self, path: Path_, message: str) -> None:
        """Add a fault at the place of a key."""
        self.faults.append(Fault(self.document.place(path), key(path), message))

    def task(self) -> Task | None:
        """Make the task; None if it cannot be made, with a fault that says why."""
        name = self.data.get("task", "binary_addition")
        if not isinstance(name, str):
            return None
        try:
            captured = self.document.captured.get(("task",))
            if captured is not None and captured.factory == name:
                self.own = own_tasks.of_captured(captured)
            elif own_tasks.named_so(name):
                self.own = own_tasks.read(name, self.folder)
            if self.own is not None:
                return own_tasks.make(self.own)
            with contained():
                task = load_factory(self.registry.find("task", name))()
            return own_tasks.checked(task, name)
        except CellbenchError as error:
            self.add(("task",), str(error))
        except Exception as error:
            provider = self.registry.find("task", name).provider
            self.add(("task",), f"{name} (from {provider}): making it raised {type(error).__name__}: {error}")
        return None

    def cells(self) -> list[CellSpec]:
        """Find each cell and its text, and check that labels are distinct and the baseline is one of them."""
        cells = self.data.get("cells")
        specs: list[CellSpec] = []
        labels: dict[str, Path_] = {}
        if isinstance(cells, list) and self.too_many(("cells",), cells):
            return []
        for i, cell in enumerate(cells if isinstance(cells, list) else []):
            keys: Mapping[str, Any] = {"name": cell} if isinstance(cell, str) else cell
            if not isinstance(keys, Mapping) or not isinstance(keys.get("name"), str):
                continue  # pydantic says what is wrong with its shape
            path: Path_ = ("cells", i)
            place = self.document.place(path)
            label = keys.get("label") or keys["name"]
            if not isinstance(label, str):
                continue
            if not label.isprintable():
                self.add((*path, "label"), f"the label {short(label)} holds characters that cannot be printed")
            if label in READ_AS_MISSING:
                self.add(
                    (*path, "label") if keys.get("label") else path,
                    f"the label {label!r} is what pandas reads from a CSV file as a missing value: give the cell "
                    "another `label`",
                )
            if label in labels:
                how = f"another `label`{', as in --cell CELL,label=v2' if place.startswith('--cell ') else ''}"
                self.add(path, f"the label {short(label)} is used twice; give one of the cells {how}")
            labels[label] = path
            spec = self._spec(label, keys, path)
            if spec is not None:
                specs.append(spec)
        baseline = self.data.get("baseline")
        if isinstance(baseline, str) and labels and baseline not in labels:
            self.add(("baseline",), f"{short(baseline)} is not a cell's label. {did_you_mean(baseline, list(labels))}")
        return specs

    def _spec(self, label: str, keys: Mapping[str, Any], path: Path_) -> CellSpec | None:
        """Describe one cell as workers need it; None if it cannot be found or loaded, with a fault that says why."""
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
            captured = self.document.captured.get(path)
            if captured is not None and factory == captured.factory:
                sources.load(captured.sources, captured.name)  # only to see that it loads; workers load it again
                return CellSpec(
                    factory=captured.factory,
                    options=pairs(options.items()),
                    sources=captured.sources,
                    from_file=True,
                    provider="this session",
                    **common,
                )
            if isinstance(factory, str):
                file, colon, attribute = factory.rpartition(":")
                if not colon or not file or "\0" in file or not attribute.isidentifier():
                    self.add((*path, "factory"), f"{short(factory)} must be FILE:CLASS, such as ./mycell.py:MyCell")
                    return None
                target = (self.folder / file).resolve()
                if not target.is_file():
                    self.add((*path, "factory"), f"no such file: {target}")
                    return None
                texts = sources.of_file(target)
                sources.load(texts, attribute)  # only to see that it loads; workers load it again
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
        except OSError as error:
            self.add((*path, "factory"), f"cannot be read: {error.strerror}")
        except UnicodeDecodeError as error:
            self.add((*path, "factory"), f"cannot be read: it is not a text in UTF-8 (byte {error.start})")
        return None

    def train(self) -> None:
        """Check the keys of `train` against each other."""
        section = self.data.get("train", {})
        for name, message in contradictions(section) if isinstance(section, Mapping) else ():
            self.add(("train", name), message)

    def device(self) -> None:
        """Check that the engine asked for computes on the device asked for."""
        if self.data.get("device") == "cuda" and self.data.get("engine") == "lanes":
            self.add(
                ("engine",),
                "lanes computes on the CPU alone, and `device: cuda` asks for a card: leave out one of the two. With "
                "`engine: auto` both are timed, and the faster one trains",
            )

    def grid(self, task: Task | None) -> None:
        """Check the grid's keys and values against the task's parameters."""
        grid = self.data.get("grid")
        if not isinstance(grid, Mapping):
            return
        if task is None:
            return
        own = LAYERS in task.parameters
        known = [*task.parameters, "batch_size", "hidden_size", "parameter_budget", *([] if own else [LAYERS])]
        for name in grid:
            if name not in known:
                hint = did_you_mean(str(name), known)
                self.add(("grid", name), f"the task {self.data.get('task', 'binary_addition')} has no such key. {hint}")
        for name in (*task.parameters, "batch_size"):
            if name not in grid:
                self.add(("grid",), f"{name} is missing: give a list of values")
        if LAYERS in grid and not own:
            self._layers_once()
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

    def _layers_once(self) -> None:
        """Refuse layers that are an axis of the grid and said elsewhere too."""
        cells = self.data.get("cells")
        places: list[Path_] = [(LAYERS,)] if LAYERS in self.data else []
        for i, cell in enumerate(cells if isinstance(cells, list) else []):
            if isinstance(cell, Mapping) and LAYERS in cell:
                places.append(("cells", i, LAYERS))
        for place in places:
            self.add(place, "layers are an axis of the grid too, which stacks every cell: say it in one of the two")

    def _values(self, path: Path_, values: object, task: Task, *, may_be_empty: bool = False) -> None:
        """Check a list of distinct values of a task's parameter or of a size."""
        name = str(path[-1])
        most = MOST_LAYERS if name == LAYERS else 10**6
        items = values if isinstance(values, list) else [values]
        if not items and not may_be_empty:
            self.add(path, "is empty, expected at least one value")
        if self.too_many(path, items):
            return
        seen: set[object] = set()
        for i, value in enumerate(items):
            at = (*path, i) if isinstance(values, list) else path
            if name in task.parameters:
                try:
                    task.check_parameter(name, value)
                except ValueError as error:
                    self.add(at, f"is {short(value)}: {error}")
                    continue
            elif isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                self.add(at, f"is {short(value)}, expected a whole number from 1 to {most}")
                continue
            if (same := _hashable(value)) in seen:
                self.add(at, f"{short(value)} is given twice")
            seen.add(same)

    def amount(self, keys: Keys, settings: int) -> None:
        """Refuse an experiment whose plan or learning curves would not fit in memory.

        Args:
            keys: of the experiment.
            settings: that its cells are tried at, of all cells together.
        """
        try:
            Evaluate(**keys.evaluate.model_dump()).steps(keys.train.max_steps)
        except ValueError as error:
            self.add(("evaluate",), str(error))
        seeds = keys.seeds.to if isinstance(keys.seeds, StagesKeys) else len(keys.seeds)
        replicas = settings * seeds * prod(map(len, keys.grid.values()))
        if replicas > MOST_REPLICAS:
            self.add(
                (), f"plans {replicas:,} replicas, more than {MOST_REPLICAS:,}: divide it into several experiments"
            )

    def too_many(self, path: Path_, values: Sequence[object], most: int = MOST_VALUES) -> bool:
        """Check that a list is not too long; nothing else needs to be said of one that is."""
        if len(values) > most:
            self.add(path, f"has {len(values):,} values, more than {most:,}: divide it into several experiments")
        return len(values) > most

    def distinct(self, name: str, values: Sequence[float], most: int = MOST_VALUES) -> None:
        """Check that a list is not too long, and holds no value twice."""
        if self.too_many((name,), values, most):
            return
        for i, value in repeated(values):
            self.add((name, i), f"{short(value)} is given twice")

    def final(self, task: Task | None) -> tuple[tuple[str, tuple[Any, ...]], ...]:
        """Check the task's parameters under `final`, and return each with its values, defaults included."""
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


def repeated(values: Sequence[object]) -> list[tuple[int, object]]:
    """List the values of a list that it holds already, each with its position."""
    seen: set[object] = set()
    found = []
    for i, value in enumerate(values):
        if (same := _hashable(value)) in seen:
            found.append((i, value))
        seen.add(same)
    return found


def _hashable(value: object) -> object:
    """Turn a value of YAML into one that a set takes, equal to those of equal values alone."""
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    if isinstance(value, dict):
        return frozenset((name, _hashable(inner)) for name, inner in value.items())
    return value
