"""The experiment file: its keys, their defaults, and every fault at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from cellbench import sources
from cellbench.errors import CellbenchError, ExperimentError, Fault
from cellbench.plugins import Registry, load_factory
from cellbench.records import CellSpec, Evaluate, Final, Settings, Solved, Source, Train, pairs
from cellbench.task import Task
from cellbench.yamlfile import Document, Path_, key, override, parse, read

NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _one_or_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _numbers(value: object) -> object:
    """Whole numbers where decimals are expected, as YAML writes them."""
    return [float(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in value] if isinstance(
        value, list
    ) else value


def _seeds(value: object) -> object:
    """10 -> 0..9; "100-109" -> 100..109; a list as it is."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= 100_000:
            raise ValueError("a number of seeds is from 1 to 100000")
        return list(range(value))
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d{1,9})\s*-\s*(\d{1,9})\s*", value)
        if match is None or int(match[1]) > int(match[2]) or int(match[2]) - int(match[1]) >= 100_000:
            raise ValueError("a range of seeds is written '100-109', the lower first")
        return list(range(int(match[1]), int(match[2]) + 1))
    return value


def _cells(value: object) -> object:
    return [{"name": v} if isinstance(v, str) else v for v in value] if isinstance(value, list) else value


def _zero(value: object) -> object:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


Float = Annotated[float, BeforeValidator(_zero)]
Whole = Annotated[int, Field(ge=1, le=10**9)]
OptionValue = bool | int | float | str | None | list[Any]


class ReadoutKeys(_Section):
    """One more layer (tanh) before the linear readout."""

    hidden: Whole = Field(description="units of the layer")


class CellKeys(_Section):
    """A cell: a registered name alone, or these keys."""

    name: str = Field(min_length=1, max_length=100, description="a registered name; with `factory`, any name")
    label: str | None = Field(None, min_length=1, max_length=100, description="the name in tables; default: `name`")
    factory: str | None = Field(None, description="'./mycell.py:MyCell', relative to the experiment file")
    options: dict[str, OptionValue] = Field(default_factory=dict, description="passed to the cell's factory")
    learn_initial_state: bool = Field(False, description="train the initial state")
    readout: ReadoutKeys | None = Field(None, description="for this cell instead of the experiment's")


class TrainKeys(_Section):
    """How replicas are trained."""

    max_steps: Whole = Field(2000, description="the budget: updates a replica may take")
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = Field(
        "adam", description="torch.optim's rule and constants; sgd has momentum 0.9"
    )
    clip_norm: Annotated[Float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        1.0, description="the greatest gradient norm left alone; null: no clipping"
    )
    stop_when_solved: bool = Field(False, description="stop a replica at the evaluation that completes `hold`")
    timeout: Float = Field(600.0, gt=0, allow_inf_nan=False, description="seconds a chunk of replicas may take")


class EvaluateKeys(_Section):
    """When the learning curve is measured."""

    every: Whole = Field(5, description="the first step measured, and the least gap")
    growth: Float = Field(0.05, ge=0, le=1, description="gaps grow to this share of the step")
    examples: Whole = Field(256, description="examples an evaluation")


class SolvedKeys(_Section):
    """When a replica counts as solved."""

    metric: Literal["sequence_accuracy", "bit_accuracy"] = Field("sequence_accuracy", description="what is compared")
    threshold: Float = Field(0.99, gt=0, le=1, description="at or above it")
    hold: Whole = Field(2, description="consecutive evaluations")


class FinalKeys(BaseModel):
    """The evaluation of trained models; the task's parameters are keys too, each with a list of values."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    examples: Whole = Field(1000, description="examples an evaluation; a quarter of it for each difficulty")
    difficulty: bool = Field(True, description="measure by the task's difficulty too, if it has one")


class ReportKeys(_Section):
    """What the report says; changing it trains nothing."""

    ratio_of_interest: Float = Field(1.25, gt=1, allow_inf_nan=False, description="the ratio that matters")
    pairs: Literal["baseline", "all"] = Field("baseline", description="all: every pair of cells is compared")


class Keys(_Section):
    """The keys of an experiment file. All but name, cells and grid may be left out."""

    name: str = Field(pattern=NAME, description="names the results folder")
    task: str = Field("binary_addition", description="a registered task")
    cells: Annotated[list[CellKeys], BeforeValidator(_cells), Field(min_length=1)] = Field(
        description="names, or mappings with `name`"
    )
    baseline: str | None = Field(None, description="the label compared with; default: lstm, else the first cell")
    engine: Literal["auto", "lanes", "stack", "reference"] = Field("auto", description="what trains")
    grid: dict[str, Annotated[list[Any], BeforeValidator(_one_or_list)]] = Field(
        description="lists for the task's parameters, batch_size, and hidden_size or parameter_budget"
    )
    seeds: Annotated[
        list[Annotated[int, Field(ge=0, le=2**31)]], BeforeValidator(_seeds), Field(min_length=1)
    ] = Field(list(range(10)), description="a number, a list, or a range such as '100-109'")
    learning_rate: Annotated[
        list[Annotated[float, Field(gt=0, allow_inf_nan=False)]],
        BeforeValidator(_numbers),
        BeforeValidator(_one_or_list),
        Field(min_length=1),
    ] = Field([0.003, 0.01, 0.03, 0.1, 0.3], description="each seed is trained at each")
    train: TrainKeys = Field(default_factory=lambda: TrainKeys())
    evaluate: EvaluateKeys = Field(default_factory=lambda: EvaluateKeys())
    solved: SolvedKeys = Field(default_factory=lambda: SolvedKeys())
    final: FinalKeys = Field(default_factory=lambda: FinalKeys())
    report: ReportKeys = Field(default_factory=lambda: ReportKeys())
    readout: ReadoutKeys | None = Field(None, description="one more layer before every cell's readout")


def schema() -> dict[str, Any]:
    """The JSON schema of an experiment file, as editors take it."""
    out = Keys.model_json_schema()
    # a cell may be its name alone, and a list of one item the item alone
    out["properties"]["cells"]["items"] = {"anyOf": [{"type": "string"}, out["properties"]["cells"]["items"]]}
    rates = out["properties"]["learning_rate"]
    out["properties"]["learning_rate"] = {
        "anyOf": [{"type": "number"}, {k: rates[k] for k in ("type", "items", "minItems")}],
        **{k: rates[k] for k in ("default", "description", "title")},
    }
    seeds = out["properties"]["seeds"]
    out["properties"]["seeds"] = {
        "anyOf": [{"type": "integer"}, {"type": "string"}, {k: seeds[k] for k in ("type", "items", "minItems")}],
        **{k: seeds[k] for k in ("description", "title")},
        "default": 10,
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **out}


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
        document.places = {p: "<experiment>" for p in document.places}
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
        faults.extend(_fault(document, details) for details in error.errors())
    checks = _Checks(document, folder, registry, faults)
    task = checks.task()
    cells = checks.cells()
    checks.grid(task)
    final = checks.final(task)
    checks.distinct("seeds", keys.seeds if keys else [])
    checks.distinct("learning_rate", keys.learning_rate if keys else [])
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


# ---- pydantic's errors in our words ----

_MODELS: Mapping[str, type[BaseModel]] = {
    "train": TrainKeys,
    "evaluate": EvaluateKeys,
    "solved": SolvedKeys,
    "final": FinalKeys,
    "report": ReportKeys,
    "readout": ReadoutKeys,
}


def _known_keys(path: Path_) -> Mapping[str, FieldInfo]:
    """The keys that may stand beside the last of a path."""
    if len(path) == 1:
        return Keys.model_fields
    if path[0] == "cells":
        return ReadoutKeys.model_fields if "readout" in path[:-1] else CellKeys.model_fields
    return _MODELS[str(path[0])].model_fields if path[0] in _MODELS else {}


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """` Did you mean X?`, or the whole list if nothing is near."""
    near = difflib.get_close_matches(word, known, 1)
    return f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}."


_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
}


def _fault(document: Document, details: ErrorDetails) -> Fault:
    path: Path_ = tuple(p for p in details["loc"] if not (isinstance(p, str) and p.startswith(("function-", "is-"))))
    kind, found, context = details["type"], details.get("input"), details.get("ctx", {})
    if kind == "extra_forbidden":
        message = f"no such key. {did_you_mean(str(path[-1]), list(_known_keys(path)))}"
    elif kind == "missing":
        message = "is missing; it must be given"
    elif kind in _EXPECTED:
        message = f"is {_short(found)}, expected {_EXPECTED[kind]}"
    elif kind == "literal_error":
        options = re.findall(r"'([^']+)'", str(context.get("expected", "")))
        message = f"is {_short(found)}. {did_you_mean(str(found), options)}"
    elif kind == "string_pattern_mismatch":
        message = (
            f"is {_short(found)}; a name is made of letters, digits, '.', '_', '+' and '-', at most 100, "
            "and starts with a letter or digit (it names the results folder)"
        )
    elif kind in ("too_short", "string_too_short"):
        message = "is empty, expected at least one"
    elif kind == "value_error":
        message = f"is {_short(found)}: {context.get('error')}"
    else:
        message = f"is {_short(found)}: {details['msg'].replace('Input should be', 'must be')}"
    return Fault(document.place(path), key(path), message)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


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
                self.add((*path, "label"), f"the label {_short(label)} holds characters that cannot be printed")
            if label in labels:
                self.add(path, f"the label {label!r} stands twice; give one of them another `label`")
            labels[label] = path
            spec = self._spec(label, keys, path)
            if spec is not None:
                specs.append(spec)
        baseline = self.data.get("baseline")
        if isinstance(baseline, str) and labels and baseline not in labels:
            self.add(("baseline",), f"{_short(baseline)} is no label. {did_you_mean(baseline, list(labels))}")
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
                    self.add((*path, "factory"), f"{_short(factory)} must be FILE:CLASS, such as ./mycell.py:MyCell")
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
            what = "both hidden_size and parameter_budget are given" if sizes else "neither hidden_size nor parameter_budget"
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
                    self.add(at, f"is {_short(value)}: {error}")
                    continue
            elif isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10**6:
                self.add(at, f"is {_short(value)}, expected a whole number of 1 or more")
                continue
            if value in items[:i]:
                self.add(at, f"{_short(value)} stands twice")

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
