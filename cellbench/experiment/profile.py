"""A profile: one experiment on each of several tasks, with the same cells, written in one file."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellbench.errors import ExperimentError, Fault
from cellbench.experiment.document import Document, Path_, override, read
from cellbench.experiment.experiment import Experiment, resolve
from cellbench.plugins import Registry
from cellbench.wording import NAME, is_axis, short

TASKS = "tasks"
"""The key that a profile has in place of `task`."""


@dataclass(frozen=True)
class Profile:
    """The experiments of a profile.

    Attributes:
        name: the file's, with what the command line added; the experiments' names begin so.
        experiments: by the names that the file gives their tasks, in its order.
    """

    name: str
    experiments: Mapping[str, Experiment]


def load_profile(
    path: Path, registry: Registry, *, overrides: Sequence[str] = (), extra_cells: Sequence[str] = ()
) -> Profile:
    """Read and validate a profile: an experiment file with `tasks`, a mapping, in place of `task`.

    Each entry of `tasks` has the keys that its experiment has beside those of the file, such as `grid` with the task's
    own parameters; of a section, only those that it names are changed. `task` is the entry's name unless it says
    another one.

    Args:
        path: the file.
        registry: the plugins.
        overrides: `a.b=c`, as `--set` takes them, for all experiments; `name` and `tasks...` are the file's.
        extra_cells: as `--cell` takes them, for all experiments.

    Raises:
        ExperimentError: with every fault of the first experiment that has one.
    """
    document = read(path)
    of_file = [one for one in overrides if re.match(rf"(name|{TASKS})\b", one)]
    for assignment in of_file:
        override(document, assignment)
    given = _tasks(document)
    experiments = {}
    for name in given:
        one = _of_task(document, name)
        for assignment in overrides:
            if assignment not in of_file:
                override(one, assignment)
        experiments[name] = resolve(one, path.parent, registry, extra_cells=extra_cells)
    first = next(iter(experiments))
    return Profile(_without(experiments[first].name, first), experiments)


def _without(name: str, task: str) -> str:
    """Take the task out of an experiment's name: `profile.dyck2+Mine` -> `profile+Mine`."""
    before, _, after = name.partition(f".{task}")
    return before + after


def _tasks(document: Document) -> Mapping[str, Any]:
    """Check the shape of `tasks` and the file's name."""

    def fault(path: Path_, message: str) -> ExperimentError:
        return ExperimentError([Fault(document.place(path), ".".join(map(str, path)), message)])

    data = document.data
    if not isinstance(data, dict) or not isinstance(data.get(TASKS), dict) or not data[TASKS]:
        raise fault((TASKS,), "a profile is an experiment with `tasks`: a mapping from tasks to their keys")
    if "task" in data:
        raise fault(("task",), "a profile has `tasks`, and no `task`")
    if not isinstance(data.get("name"), str):
        raise fault(("name",), "is missing: results folders are named so, with the task after it")
    for name, keys in data[TASKS].items():
        if not is_axis(name) or not re.fullmatch(NAME, name):
            raise fault((TASKS, str(name)), f"{short(name)} cannot name a results folder; give it a name, and `task:`")
        if keys is not None and not isinstance(keys, dict):
            raise fault((TASKS, name), f"is {short(keys)}, expected keys of an experiment: {{grid: {{...}}}}")
        for key in keys or {}:
            if key in ("name", "cells", "baseline", TASKS):
                raise fault((TASKS, name, key), "is the same for all tasks; say it once, for the whole file")
    found: Mapping[str, Any] = data[TASKS]
    return found


def _of_task(document: Document, name: str) -> Document:
    """Make the document of one task's experiment; its keys keep their places in the file."""
    data = copy.deepcopy({key: value for key, value in document.data.items() if key != TASKS})
    places = {path: place for path, place in document.places.items() if path[:1] != (TASKS,)}
    data["name"], data["task"] = f"{data['name']}.{name}", name
    places["task",] = document.place((TASKS, name))
    for key, value in copy.deepcopy(document.data[TASKS][name] or {}).items():
        if isinstance(value, dict) and isinstance(data.get(key), dict):
            data[key].update(value)
        else:
            data[key] = value
    own = (TASKS, name)
    places |= {path[2:]: place for path, place in document.places.items() if path[:2] == own and len(path) > 2}
    return Document(data, places, document.name)
