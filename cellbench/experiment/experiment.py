"""The experiment file: its keys, their defaults, and every fault at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cellbench.errors import ExperimentError, Fault
from cellbench.experiment.argument import Given, default_label, joined_name, labels_of
from cellbench.experiment.argument import read as read_given
from cellbench.experiment.checks import Checks
from cellbench.experiment.document import Document, Path_, key, override, read
from cellbench.experiment.faults import fault
from cellbench.experiment.given import cell_of, document_of, join
from cellbench.experiment.sections import MOST_SEEDS, CellKeys, FinalKeys, Keys, StagesKeys
from cellbench.experiment.training import train_of
from cellbench.experiment.tuning import Choice, as_planned, lay_out, place_of_option, spread
from cellbench.experiment.tuning import faults as tuning_faults
from cellbench.experiment.until_decided import until_decided as make_staged
from cellbench.plugins import Registry, changed_by, sources
from cellbench.plugins.captured import Captured
from cellbench.records import LAYERS, TUNED, CellSpec, Evaluate, Final, Settings, Solved, Source, staged
from cellbench.task import Task
from cellbench.wording import cut, short


@dataclass(frozen=True)
class Experiment:
    """A validated experiment.

    Attributes:
        name: names the results folder.
        keys: everything as validated, defaults filled in.
        settings: the part that training needs.
        cells: in file order; a cell whose options are tuned is one for each choice of them.
        task: the task itself; `task_sources` holds the text of its module.
        baseline: a label, or None for the default.
        engine: as asked for.
        axes: the task's parameters and their values, in the task's order.
        batch_sizes, sizes: the rest of the grid; sizes are `("hidden", 20)` or `("budget", 2000)`.
        layers: of every cell, where they are an axis of the grid; else None, and cells have their own.
        tuned: the choice of options that each cell of a `tune` stands for, by its label.
        seeds, learning_rates: in file order; of seeds until decided, all up to the most.
        stages: of seeds until decided, those of the first look and the most; None: the seeds are fixed.
        document: gives the places of faults that are found later.
        added: the labels of the cells that the command line added.
        base: the name without what the command line added to it: folders whose names begin so belong together.
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
    base: str = ""
    stages: tuple[int, int] | None = None
    layers: tuple[int, ...] | None = None
    tuned: Mapping[str, Choice] = field(default_factory=dict)

    def fault(self, path: Path_, message: str) -> ExperimentError:
        """Make an error that names the place of a key."""
        return ExperimentError([Fault(self.document.place(path), key(path), message)])

    def rates(self, cell: CellSpec) -> tuple[float, ...]:
        """Return the learning rates that a cell is trained at."""
        return self.tuned[cell.label].rates if cell.label in self.tuned else self.learning_rates

    def owner(self, label: str) -> str:
        """Return the label that reports give a planned cell: a choice of options belongs to the cell that is tuned."""
        return self.tuned[label].cell if label in self.tuned else label

    def place_of(self, cell: CellSpec) -> Path_:
        """Return the place of a cell among the keys."""
        return ("cells", [one.label or one.name for one in self.keys.cells].index(self.owner(cell.label)))

    def typed(self, path: Path_) -> bool:
        """Tell whether the command line gave this key of a cell."""
        typed = self.document.place(path).startswith(("--cell ", "compare "))
        return typed and getattr(self.keys.cells[int(path[1])], str(path[2])) is not None

    def resolved(self) -> dict[str, Any]:
        """Return the keys with everything resolved, as plain data for the store and the report."""
        keys = self.keys.model_dump(mode="json")
        # as folders have it that were written before there were layers: parts of one experiment are merged
        if keys[LAYERS] == 1:
            del keys[LAYERS]
        for section in (keys, *keys["cells"]):
            if section["tune"] is None:
                del section["tune"]
        # as the number of workers: parts that were trained on other devices are merged, and each replica says its own
        del keys["device"]
        if keys["tuning_budget"] == "equal":
            del keys["tuning_budget"]
        for cell in keys["cells"]:
            if cell[LAYERS] is None:
                del cell[LAYERS]
        if self.stages is not None:
            keys["seeds"] = staged(*self.stages)
        return {
            **keys,
            "task": self.settings.task,
            "cells": [planned for cell in keys["cells"] for planned in as_planned(cell, self.tuned)],
            "baseline": self.baseline,
            "train": self.settings.train.section(),
            "final": {
                "examples": self.settings.final.examples,
                "difficulty": "longest" if self.settings.final.hardest else self.settings.final.difficulty,
                **{name: list(values) for name, values in self.settings.final.values},
            },
        }

    def tuned_at(self, cell: CellSpec, option: str) -> Path_:
        """Return the place where an option of a tuned cell was listed."""
        return place_of_option(self.document, int(self.place_of(cell)[1]), option)

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
        described: dict[str, dict[str, Any]] = {}
        for cell in self.cells:
            entry = registry.cells.get(cell.name) if not cell.from_file else None
            described[cell.label] = {
                "cell": cell.name,
                "provider": cell.provider if entry else cell.factory,
                "description": entry.description if entry else "a cell from a file",
                "reference": entry.reference if entry else "",
                "options": dict(cell.options),
            }
            if cell.layers != 1:
                described[cell.label][LAYERS] = cell.layers
            if cell.label in self.tuned:
                described[cell.label][TUNED] = self.tuned[cell.label].facts()
            if changed := changed_by(cell.factory, *([entry.distribution] if entry else [])):
                described[cell.label]["changed"] = changed
        own = self.settings.own
        of_kind = {} if self.task.kind == Task.kind else {"kind": self.task.kind, "tolerance": self.task.tolerance}
        return {
            **of_kind,
            # where the arrays are; a class is made from the stored text
            **({"task_path": own.path} if own is not None and own.arrays else {}),
            "axes": names if self.layers is None else [*names, LAYERS],
            "difficulty": self.task.difficulty,
            "hardest": list(settings.final.hardest_at(self.task.difficulty)),
            "evaluation_steps": settings.evaluate.steps(settings.train.max_steps),
            "reference_accuracies": references,
            "cells": described,
        }


def default_file() -> Path:
    """Find the default experiment: the file that `run` takes if it is given none."""
    return Path(str(resources.files("cellbench.experiment").joinpath("default.yaml")))


def load(
    source: Path | str | Mapping[str, Any],
    registry: Registry,
    *,
    keys: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    extra_cells: Sequence[str] = (),
    versus: Sequence[Any] = (),
    until_decided: bool = False,
) -> Experiment:
    """Read and validate an experiment.

    Args:
        source: a file, or the keys themselves.
        registry: the plugins.
        keys: keyword arguments, which change the experiment's keys.
        overrides: `a.b=c`, as `--set` takes them.
        extra_cells: `NAME` or `file.py:Class`, perhaps with a label and options, as `--cell` takes them; files are
            relative to the working directory.
        versus: two cells in place of the experiment's, as `extra_cells`, by the labels that the experiment gives, or as
            `cells` takes them in Python; the first is the baseline.
        until_decided: whether a fixed number of seeds becomes the first look of seeds until decided.

    Raises:
        ExperimentError: with every fault.
    """
    if isinstance(source, Mapping):
        document, folder = document_of(source), Path.cwd()
    else:
        document, folder = read(Path(source)), Path(source).parent
    join(document, keys or {})
    changes = {"overrides": overrides, "extra_cells": extra_cells, "versus": versus}
    return resolve(document, folder, registry, **changes, until_decided=until_decided)


def resolve(
    document: Document,
    folder: Path,
    registry: Registry,
    *,
    overrides: Sequence[str] = (),
    extra_cells: Sequence[str] = (),
    versus: Sequence[Any] = (),
    until_decided: bool = False,
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
    if until_decided:
        faults.extend(make_staged(document))
    _name_stacked(document)
    base = document.data.get("name")
    added = _versus(document, versus, faults) if versus else _join(document, extra_cells, faults)
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
    checks.train()
    checks.device()
    checks.grid(task)
    final = checks.final(task)
    of_tune = tuning_faults(document)
    faults.extend(of_tune)
    stages = keys.seeds if keys is not None and isinstance(keys.seeds, StagesKeys) else None
    fixed = keys.seeds if keys is not None and not isinstance(keys.seeds, StagesKeys) else []
    checks.distinct("seeds", fixed, MOST_SEEDS)
    checks.distinct("learning_rate", keys.learning_rate if keys else [])
    tried = lay_out(keys, checks) if keys is not None and not of_tune else []
    if faults or keys is None or task is None:
        raise ExperimentError(_sorted(faults))
    # from here on everything is known to be there
    size_key = "hidden_size" if "hidden_size" in keys.grid else "parameter_budget"
    return Experiment(
        name=keys.name,
        keys=keys,
        settings=Settings(
            task=checks.own.name if checks.own else keys.task,
            train=train_of(keys.train),
            evaluate=Evaluate(**keys.evaluate.model_dump()),
            solved=Solved(**keys.solved.model_dump()),
            final=_final(keys.final, final, task),
            own=checks.own,
        ),
        cells=tuple(
            planned
            for cell, of_cell, one in zip(cells, keys.cells, tried, strict=True)
            for planned in spread(_completed(cell, of_cell, keys), one)
        ),
        task=task,
        task_sources=checks.own.sources if checks.own else sources.of_entry(registry.tasks[keys.task]),
        baseline=keys.baseline,
        engine=keys.engine,
        axes=tuple((name, tuple(keys.grid[name])) for name in task.parameters),
        batch_sizes=tuple(keys.grid["batch_size"]),
        sizes=tuple(("hidden" if size_key == "hidden_size" else "budget", s) for s in keys.grid[size_key]),
        seeds=tuple(fixed) if stages is None else tuple(range(stages.to)),
        stages=None if stages is None else (stages.first, stages.to),
        learning_rates=tuple(keys.learning_rate),
        document=document,
        added=tuple(
            planned.label
            for cell, one in zip(cells, tried, strict=True)
            if cell.label in added
            for planned in spread(cell, one)
        ),
        base=base if isinstance(base, str) else keys.name,
        layers=tuple(keys.grid[LAYERS]) if LAYERS in keys.grid and LAYERS not in task.parameters else None,
        tuned={choice.label: choice for one in tried for choice in one},
    )


def _final(keys: FinalKeys, values: tuple[tuple[str, tuple[Any, ...]], ...], task: Task) -> Final:
    """Make the settings of the final evaluations; a task without a difficulty is not measured by one."""
    by_difficulty = bool(keys.difficulty) and task.difficulty is not None
    return Final(keys.examples, values, by_difficulty, hardest=by_difficulty and keys.difficulty == "longest")


def _completed(cell: CellSpec, own: CellKeys, keys: Keys) -> CellSpec:
    """Give a cell what it does not say itself: the experiment's readout and layers."""
    if keys.readout is not None and own.readout is None:
        cell = replace(cell, readout_hidden=keys.readout.hidden)
    return replace(cell, layers=keys.layers if own.layers is None else own.layers)


def _name_stacked(document: Document) -> None:
    """Label the cells that say how many layers they have, and have no label."""
    cells = document.data.get("cells")
    for cell in cells if isinstance(cells, list) else ():
        if (
            isinstance(cell, dict)
            and LAYERS in cell
            and cell.get("label") is None
            and isinstance(cell.get("name"), str)
        ):
            cell["label"] = default_label(cell["name"], cell[LAYERS])


def _sorted(faults: Sequence[Fault]) -> list[Fault]:
    """Sort faults by line, each once."""

    def line(fault: Fault) -> tuple[int, str]:
        match = re.search(r":(\d+)$", fault.place)
        return (int(match[1]) if match else 10**9, fault.key)

    return sorted(dict.fromkeys(faults), key=line)


def _join(document: Document, added: Sequence[str], faults: list[Fault]) -> list[str]:
    """Add cells that the command line gives to the experiment's cells, and to its name; return their labels."""
    labels = []
    for given in _given(added, "--cell", faults):
        cells = document.data.setdefault("cells", [])
        if isinstance(cells, list):
            document.places[("cells", len(cells))] = cut(f"--cell {given.text}")
            cells.append(given.keys())
        labels.append(given.shown)
    if labels and isinstance(document.data.get("name"), str):
        document.data["name"] = joined_name(document.data["name"], labels)
    return labels


@dataclass(frozen=True)
class _Contender:
    """One of two cells that are compared: how it was given, its keys as a file has them, and its text if captured."""

    given: Given
    keys: Any
    text: Captured | None
    new: bool


def _contender(one: Any, document: Document, own: Mapping[str, int], faults: list[Fault]) -> _Contender | None:
    """Find a cell by the label that the experiment gives it, else read it; None if it cannot be read, with a fault."""
    if not isinstance(one, str):
        if (found := cell_of(one, f"compare({short(one)})", faults)) is None:
            return None
        keys, text = found
        name, label, options = keys["name"], keys.get("label"), keys.get("options")
        named = Given(str(label or name), name, label, options if isinstance(options, dict) else {})
        return _Contender(named, keys, text, True)
    if one in own:
        place = ("cells", own[one])
        return _Contender(Given(one, one, one), document.data["cells"][own[one]], document.captured.get(place), False)
    return next((_Contender(given, given.keys(), None, True) for given in _given([one], "compare", faults)), None)


def _versus(document: Document, two: Sequence[Any], faults: list[Fault]) -> list[str]:
    """Put two cells in place of the experiment's, the first as its baseline; return the labels of new ones."""
    cells = document.data.get("cells")
    own = {
        str(cell.get("label") or cell.get("name")) if isinstance(cell, dict) else str(cell): i
        for i, cell in enumerate(cells if isinstance(cells, list) else [])
    }
    found = [contender for one in two if (contender := _contender(one, document, own, faults)) is not None]
    if len(found) != len(two):
        return []
    if (found[0].keys, found[0].text) == (found[1].keys, found[1].text):
        names = " ".join(contender.given.text for contender in found)
        faults.append(Fault(f"compare {names}", "", "names one cell twice; give two different ones"))
        return []
    labels = labels_of([contender.given for contender in found])
    for path in [path for path in document.places if path[:1] in (("cells",), ("baseline",))]:
        del document.places[path]
    for path in [path for path in document.captured if path[0] == "cells"]:
        del document.captured[path]
    document.data["cells"] = []
    for i, (contender, label) in enumerate(zip(found, labels, strict=True)):
        document.places["cells", i] = cut(f"compare {contender.given.text}")
        if contender.text is not None:
            document.captured["cells", i] = contender.text
        keys = {**contender.keys, "label": label} if contender.new else contender.keys
        document.data["cells"].append(keys)
    document.data["baseline"] = labels[0]
    if isinstance(document.data.get("name"), str):
        document.data["name"] = joined_name(document.data["name"], labels, "-vs-")
    return [label for contender, label in zip(found, labels, strict=True) if contender.new]


def _given(texts: Sequence[str], option: str, faults: list[Fault]) -> list[Given]:
    """Read cells from the command line; those that cannot be read are left out, with a fault."""
    found = []
    for text in texts:
        try:
            found.append(read_given(text, option))
        except ExperimentError as error:
            faults.extend(error.faults)
    return found
