"""Tasks of the user's own: a class in a file or a notebook, or arrays in a file. Read once, made anywhere."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from cellbench.errors import CellError, TaskError
from cellbench.plugins import arrays, sources
from cellbench.plugins.captured import Captured
from cellbench.plugins.containment import contained
from cellbench.plugins.places import place_of
from cellbench.records import TaskSpec
from cellbench.task import Kind, Task
from cellbench.wording import described, is_axis, short


def named_so(text: str) -> bool:
    """Tell whether an experiment's `task` is one of the user's own, and no registered name.

    >>> named_so("./mytask.py:Parity"), named_so("data.npz"), named_so("binary_addition")
    (True, True, False)
    """
    return ":" in text or text.endswith((".npz", ".py")) or "/" in text


def read(text: str, folder: Path) -> TaskSpec:
    """Read a task as an experiment gives it: FILE:CLASS, or the file of its arrays.

    Args:
        text: for example `./mytask.py:Parity` or `./data.npz`.
        folder: that the file is relative to.

    Raises:
        CellbenchError: there is no such file, or it holds no such task.
    """
    if text.endswith(".npz") and "\0" not in text:
        return arrays.read((folder / text).resolve())
    file, colon, attribute = text.rpartition(":")
    if not colon or not file or "\0" in file or not attribute.isidentifier():
        known = [f"{text}:{name}" for name in tasks_in(folder / text)] if text.endswith(".py") else []
        hint = f". It defines {', '.join(known)}" if known else ""
        raise TaskError(
            f"{short(text)} must be FILE:CLASS, such as ./mytask.py:Parity, a file of arrays, such as ./data.npz, or a "
            f"registered name (`cellbench list` shows them){hint}"
        )
    path = (folder / file).resolve()
    if not path.is_file():
        raise TaskError(f"no such file: {path}")
    try:
        texts = sources.of_file(path)
    except UnicodeDecodeError as error:
        raise TaskError(f"{file} cannot be read: it is not a text in UTF-8 (byte {error.start})") from None
    except OSError as error:
        raise TaskError(f"{file} cannot be read: {error.strerror}") from None
    return TaskSpec(f"{path.name}:{attribute}", texts, str(path))


def of_captured(found: Captured) -> TaskSpec:
    """Describe a task that was given as a class, by its captured text."""
    return TaskSpec(found.factory, found.sources)


def make(spec: TaskSpec) -> Task:
    """Make a task from its text, or from its arrays.

    Raises:
        CellbenchError: its code raises, it is no `cellbench.Task`, or the arrays are gone or were changed.
    """
    if not spec.sources:
        raise TaskError(f"{spec.name}: its text is not there")
    if spec.arrays:
        return arrays.Arrays(Path(spec.path), spec.sources[0])
    return checked(made(sources.load(spec.sources, spec.attribute), spec), spec.name)


def made(factory: Any, spec: TaskSpec) -> object:
    """Call the class of a task.

    Raises:
        TaskError: it raised; the message says where.
    """
    try:
        with contained():
            return factory()
    except Exception as error:
        place = place_of(error)
        where = f"\n  {place.text(spec.path)}" if place is not None else ""
        raise TaskError(f"{spec.name}: making it raised {described(error, 400)}{where}") from error


def checked(task: object, name: str) -> Task:
    """Check that an object is a task that says of itself what the harness must know.

    Raises:
        TaskError: it is none; the message says what is missing or wrong.
    """
    if not isinstance(task, Task):
        raise TaskError(f"{name} is no cellbench.Task: it makes {short(task)}; derive its class from cellbench.Task")
    for size in ("input_size", "output_size"):
        value = getattr(task, size, None)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            said = "is missing" if value is None else f"is {short(value)}"
            raise TaskError(f"{name}: {size} {said}; give a whole number of 1 or more: {size} = 1")
    if task.kind not in get_args(Kind):
        raise TaskError(f"{name}: kind is {short(task.kind)}; it is one of {', '.join(get_args(Kind))}")
    if not isinstance(getattr(task, "parameters", None), Mapping):
        raise TaskError(f'{name}: parameters are missing; give their meanings: parameters = {{"length": "steps"}}')
    for axis in (*task.parameters, *([] if task.difficulty is None else [task.difficulty])):
        if not is_axis(axis):
            raise TaskError(
                f"{name}: its parameter {short(axis)} cannot name a column and a chart: a name has 1 to 100 letters "
                "that can be printed, without / and \\"
            )
    return task


def tasks_in(path: Path) -> list[str]:
    """List the classes of a file that derive from Task, in order, without running it; none if it cannot be read."""
    try:
        body = ast.parse(importlib.util.decode_source(path.read_bytes())).body
    except (OSError, SyntaxError, ValueError, CellError):
        return []
    found: list[str] = []
    for node in body:
        if isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
            if bases & {"Task", *found}:
                found.append(node.name)
    return found
