"""YAML with line numbers: plain data, and the line of each key."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cellbench.errors import ExperimentError, Fault
from cellbench.plugins.captured import Captured
from cellbench.wording import cut, one_line, short

Path_ = tuple[str | int, ...]
"""The path of a key, for example `("cells", 2, "name")`."""


@dataclass
class Document:
    """The data of a YAML text, and the place of each key.

    Attributes:
        data: plain dicts, lists and scalars.
        places: from each key's path to its place, `file:line` or an option of the command line.
        name: the file's, for faults without a line.
        captured: cells and the task that were given as classes or functions, by their path.
    """

    data: Any
    places: dict[Path_, str] = field(default_factory=dict)
    name: str = "<experiment>"
    captured: dict[Path_, Captured] = field(default_factory=dict)

    def place(self, path: Path_) -> str:
        """Return a key's place; for a key that is not there, the place of its nearest parent."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, self.name)


def key(path: Path_) -> str:
    """Write a path as people do: `cells[2].name`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{cut(part)}" if text else cut(str(part))
    return text


def read(path: Path) -> Document:
    """Read a file.

    Raises:
        ExperimentError: it is missing, unreadable, not UTF-8, or not YAML; or a key is given twice.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MOST_LETTERS + 1)  # a device may never end
    except FileNotFoundError:
        raise ExperimentError([Fault(str(path), "", "no such file")]) from None
    except UnicodeDecodeError as error:
        raise ExperimentError([Fault(str(path), "", f"not a text in UTF-8 (byte {error.start})")]) from None
    except OSError as error:
        raise ExperimentError([Fault(str(path), "", f"cannot be read: {error.strerror}")]) from None
    return parse(text, str(path))


_MOST = 200_000
"""The most values in a text, aliases expanded: a few lines of aliases can expand to more than memory holds."""
_MOST_LETTERS = 4_000_000
"""The most letters of a text, which take the parser half a minute."""
_MOST_DIGITS = 1_000
"""The most letters of a number: Python takes time that grows with their square, and prints 4,300 digits at most."""


class _TooMuch(Exception):
    pass


def parse(text: str, name: str) -> Document:
    """Parse a text; see `read`."""
    document = Document(None, {}, name)
    faults: list[Fault] = []
    loader = None
    try:
        if len(text) > _MOST_LETTERS:
            raise _TooMuch(f"it has more than {_MOST_LETTERS:,} letters")
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is not None:
            _measure(node, {}, 0)
            document.data = _build(loader, node, (), document, faults, 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ExperimentError([Fault(f"{name}{line}", "", f"not YAML: {error.problem or error.context}")]) from None
    except (yaml.YAMLError, ValueError, RecursionError, _TooMuch) as error:
        raise ExperimentError([Fault(name, "", f"not YAML: {one_line(error, 200)}")]) from None
    finally:
        if loader is not None:
            loader.dispose()
    if faults:
        raise ExperimentError(faults)
    return document


def _measure(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """Count the values that a node expands to."""
    if depth > 50:  # also where an alias that contains itself ends
        raise _TooMuch("nested more than 50 deep")
    if id(node) not in known:
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            parts = node.value
        known[id(node)] = 1 + sum(_measure(part, known, depth + 1) for part in parts)
        if known[id(node)] > _MOST:
            raise _TooMuch(f"it expands to more than {_MOST:,} values")
    return known[id(node)]


def _build(
    loader: yaml.SafeLoader, node: yaml.Node, path: Path_, document: Document, faults: list[Fault], depth: int
) -> Any:
    if depth > 50:  # `_measure` counts an aliased node once, at its own depth; here it may be nested deeper
        raise _TooMuch("nested more than 50 deep")
    place = sys.intern(f"{document.name}:{node.start_mark.line + 1}")  # a line may hold 200,000 values
    document.places.setdefault(path, place)
    if isinstance(node, yaml.MappingNode):
        out: dict[str, Any] = {}
        loader.flatten_mapping(node)
        for key_node, value_node in node.value:
            name = _value(loader, key_node)
            where = f"{document.name}:{key_node.start_mark.line + 1}"
            if not isinstance(name, str | int | float | bool) and name is not None:
                faults.append(Fault(where, key(path), f"a key must be a word or a number, not {short(name)}"))
                continue
            if str(name) in out:
                faults.append(Fault(where, key((*path, str(name))), "is given twice; keep one of them"))
            document.places[(*path, str(name))] = where
            out[str(name)] = _build(loader, value_node, (*path, str(name)), document, faults, depth + 1)
        return out
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, item, (*path, i), document, faults, depth + 1) for i, item in enumerate(node.value)]
    return _value(loader, node)


def _value(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    try:
        if node.tag in _NUMBERS and len(node.value) > _MOST_DIGITS:
            raise ValueError
        return loader.construct_object(node, deep=True)
    except (KeyError, IndexError, AttributeError, TypeError, ValueError, OverflowError):  # `!!bool maybe`, `!!int ""`
        text = node.value if isinstance(node.value, str) else "this value"
        raise yaml.constructor.ConstructorError(
            None, None, f"{text[:60]!r} cannot be read as {node.tag.rpartition(':')[2]}", node.start_mark
        ) from None


_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def override(document: Document, assignment: str, option: str = "--set") -> None:
    """Apply `a.b=c`. The value is read as YAML; list items are named by number, `cells.0.name=gru`.

    Raises:
        ExperimentError: it is not of this form, or the path leads through a value that has no keys.
    """
    place = cut(f"{option} {assignment}")
    dotted, equals, text = assignment.partition("=")
    parts = dotted.replace("[", ".").replace("]", "").split(".")
    if not equals or not all(parts):
        raise ExperimentError([Fault(place, "", "must be KEY=VALUE, for example train.max_steps=500")])
    try:
        value = parse(text, place).data
    except ExperimentError as error:
        why = error.faults[0].message.removeprefix("not YAML: ")
        fault = Fault(place, cut(dotted), f"the value {cut(text)!r} is not YAML: {why}")
        raise ExperimentError([fault]) from None
    if not isinstance(document.data, dict):
        document.data = {}
    at: Any = document.data
    path: Path_ = ()
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        if isinstance(at, list):
            if not part.isdecimal() or len(part) > 9 or int(part) >= len(at):
                fault = Fault(place, key(path), f"has {len(at)} items, none with the number {part[:20]!r} (from 0)")
                raise ExperimentError([fault])
            step: str | int = int(part)
        elif isinstance(at, dict):
            step = part
        else:
            raise ExperimentError([Fault(place, key(path), f"is {short(at)}, which has no key {short(part)}")])
        path = (*path, step)
        if last:
            at[step] = value
            # faults in the new value are reported at the option, not at the file's line
            for known in [p for p in document.places if p[: len(path)] == path]:
                del document.places[known]
            document.places[path] = place
        else:
            if isinstance(at, dict) and at.get(part) is None:
                at[part] = {}
            at = at[step]
