"""The keys of an experiment given in Python, as the plain data that a file holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from cellbench.errors import CellbenchError, ExperimentError, Fault
from cellbench.experiment.document import Document, Path_, key
from cellbench.plugins.captured import Captured, capture
from cellbench.task import Task
from cellbench.wording import short

_DEEPEST = 50


def document_of(keys: Mapping[str, Any]) -> Document:
    """Make a document of a whole experiment's keys.

    Raises:
        ExperimentError: a value is of a type that a file cannot hold.
    """
    document = Document({}, {(): "<experiment>"}, "<experiment>")
    _add(document, keys, lambda name: "<experiment>")
    return document


def join(document: Document, keys: Mapping[str, Any]) -> None:
    """Change an experiment's keys by keyword arguments; a mapping changes the keys that it names.

    Faults in the new values are reported at the argument, not at the file's line.

    Raises:
        ExperimentError: a value is of a type that a file cannot hold.
    """
    if isinstance(document.data, dict):
        _add(document, keys, lambda name: f"run({name}=...)")


def _add(document: Document, keys: Mapping[str, Any], place: Any) -> None:
    faults: list[Fault] = []
    for name, value in keys.items():
        path, where = (str(name),), place(name)
        if path == ("cells",):
            value = _captured(document, value, where, faults)
        elif path == ("task",):
            value = _captured_task(document, value, where, faults)
        given = _plain(value, path, where, faults, 0)
        before = document.data.get(path[0])
        if isinstance(before, dict) and isinstance(given, dict):
            for inner, replacing in given.items():
                before[inner] = replacing
                _put(document, (*path, inner), where)
        else:
            document.data[path[0]] = given
            _put(document, path, where)
    if faults:
        raise ExperimentError(faults)


def _captured(document: Document, cells: Any, where: str, faults: list[Fault]) -> Any:
    """Put names in the places of cells that are given as classes or functions, and capture their texts."""
    if not isinstance(cells, list | tuple):
        cells = [cells] if isinstance(cells, str | Mapping) or callable(cells) else cells
    if not isinstance(cells, list | tuple):
        return cells
    for path in [path for path in document.captured if path[0] == "cells"]:
        del document.captured[path]
    named = []
    for i, cell in enumerate(cells):
        try:
            cell, found = named_cell(cell)
        except CellbenchError as error:
            faults.append(Fault(where, key(("cells", i)), str(error)))
            continue
        if found is not None:
            document.captured["cells", i] = found
        named.append(cell)
    return named


def _captured_task(document: Document, task: Any, where: str, faults: list[Fault]) -> Any:
    """Put a name in the place of a task that is given as a class, and capture its text."""
    document.captured.pop(("task",), None)
    if not callable(task) and not isinstance(task, Task):
        return task
    try:
        found = capture(task, "task")
    except CellbenchError as error:
        faults.append(Fault(where, "task", str(error)))
        return None
    document.captured["task",] = found
    return found.factory


def cell_of(cell: Any, where: str, faults: list[Fault]) -> tuple[dict[str, Any], Captured | None] | None:
    """Write a cell that is given as a class, a function or a mapping as a file has it.

    Returns:
        Its keys, and its text if it was captured; None if it is none of these, with a fault.
    """
    try:
        named, found = named_cell(cell)
    except CellbenchError as error:
        faults.append(Fault(where, "", str(error)))
        return None
    if not (isinstance(named, Mapping) and isinstance(named.get("name"), str)):
        faults.append(Fault(where, "", f"{short(cell)} is no cell; give a name, FILE:CLASS, a class or a function"))
        return None
    return _plain(named, (), where, faults, 0), found


def named_cell(cell: Any) -> tuple[Any, Captured | None]:
    """Put a name in the place of a class or function, or of a mapping's `factory` that is one, and capture its text.

    Returns:
        The cell as a file has it, and its text; what is neither of these is returned as it is, with None.

    Raises:
        CellError: its text cannot be captured.
    """
    target = cell.get("factory") if isinstance(cell, Mapping) else cell
    if not callable(target):
        return cell, None
    found = capture(target)
    keys = cell if isinstance(cell, Mapping) else {}
    return {"name": found.name, **keys, "factory": found.factory}, found


def _put(document: Document, path: Path_, where: str) -> None:
    """Make this the place of a key and of all that is in it."""
    for known in [p for p in document.places if p[: len(path)] == path]:
        del document.places[known]
    document.places[path] = where


def _plain(value: Any, path: Path_, where: str, faults: list[Fault], depth: int) -> Any:
    """Turn a value into dicts, lists and scalars: tuples, ranges, arrays and paths are written as a file has them."""
    if depth > _DEEPEST:
        faults.append(Fault(where, key(path[:3]), f"is nested more than {_DEEPEST} deep"))
    elif value is None or isinstance(value, bool | int | float | str):
        return value
    elif isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist(), path, where, faults, depth + 1)
    elif isinstance(value, Mapping):
        return {str(k): _plain(v, (*path, str(k)), where, faults, depth + 1) for k, v in value.items()}
    elif isinstance(value, list | tuple | range):
        return [_plain(v, (*path, i), where, faults, depth + 1) for i, v in enumerate(value)]
    elif isinstance(value, PurePath):
        return str(value)
    else:
        expected = "numbers, texts, lists and mappings of them"
        faults.append(Fault(where, key(path), f"is {short(value)}, which no experiment can hold; it takes {expected}"))
    return None
