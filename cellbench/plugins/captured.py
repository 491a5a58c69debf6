"""The text of a class or function that was defined in a notebook or a script, with the names that it needs.

A worker makes a cell from text alone, and the text goes into the key. So a definition is carried with what it uses, and
with nothing else: imports, plain values, functions and classes, each by the name that it has in the notebook. What no
text can say (an array, an open file) is refused by name.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import importlib
import inspect
import linecache
import math
import symtable
import sys
import sysconfig
import textwrap
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cellbench.errors import CellError
from cellbench.plugins import sources
from cellbench.records import Source
from cellbench.wording import short

NAME = "notebook.py"
"""The name of the text of what is not defined in a file of its own."""
_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
"""What has a text of its own."""
_LONGEST = 100_000
"""Characters of a plain value, written in Python."""
_PLAIN = (bool, int, float, complex, str, bytes)


@dataclass(frozen=True)
class Captured:
    """A cell or task as text.

    Attributes:
        name: of the class or function.
        factory: `notebook.py:MyCell`, or the file that it is defined in.
        sources: the text that defines it first, then the modules beside it that it imports.
    """

    name: str
    factory: str
    sources: tuple[Source, ...]


_EXPECTED = {
    "cell": "give a class, or a function that is defined with `def` at the top of a cell or file: "
    "def mine(input_size, hidden_size): return ...",
    "task": "give a class that derives from cellbench.Task, itself and not an object of it: task=MyTask",
}
_INSTALLED = {
    "cell": "write a function that makes the cell: def mine(input_size, hidden_size): return {name}(...). A cell of "
    "torch is wrapped in TorchCell",
    "task": "derive a class of your own from it: class Mine({name}): pass",
}


def capture(target: Any, kind: Literal["cell", "task"] = "cell") -> Captured:
    """Read the text of a class or function, and of all that it needs.

    Args:
        target: defined in a notebook, in the script that runs, or in a module of the user's own.
        kind: what it makes, for messages.

    Raises:
        CellError: its text cannot be read, or it needs something that no text can say; the message names it.
    """
    name = getattr(target, "__qualname__", "")
    if not isinstance(target, type | types.FunctionType) or not name.isidentifier():
        raise CellError(f"is {short(target)}; {_EXPECTED[kind]}")
    if target.__module__ != "__main__":
        path = _own_file(target.__module__)
        if path is None:
            raise CellError(
                f"is {target.__module__}.{name}, of an installed package: give the name of a registered {kind} "
                f"(`cellbench list` shows them), or {_INSTALLED[kind].format(name=name)}"
            )
        return Captured(name, f"{path.name}:{name}", sources.of_file(path))
    found = _Capture(vars(sys.modules["__main__"]), name)
    found.add(name, target)
    return Captured(name, f"{NAME}:{name}", found.sources())


def _own_file(module: str) -> Path | None:
    """Find the file of a module of the user's own; None for a package's, Python's and an installed one."""
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None)
    if "." in module or file is None or not file.endswith(".py") or hasattr(loaded, "__path__"):
        return None
    path = Path(file).resolve()
    paths = sysconfig.get_paths()
    installed = [Path(paths[key]).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    return None if any(path.is_relative_to(folder) for folder in installed) else path


@dataclass
class _Capture:
    """What was gathered so far.

    Attributes:
        names: the names of the notebook.
        whole: the class or function that is captured, for messages.
    """

    names: Mapping[str, Any]
    whole: str
    _imports: set[str] = field(default_factory=set)
    _texts: dict[str, str] = field(default_factory=dict)
    """By name, in an order in which they can be run: what a definition needs comes before it."""
    _open: set[str] = field(default_factory=set)
    _beside: dict[str, Source] = field(default_factory=dict)
    _annotations: bool = False

    def sources(self) -> tuple[Source, ...]:
        """Return the text, and the files of the user's own modules that it imports."""
        head = ["from __future__ import annotations"] if self._annotations else []
        parts = [*head, *sorted(self._imports)]
        blocks = ["\n".join(parts), *(text.rstrip("\n") for text in self._texts.values())]
        return Source(NAME, "\n\n".join(block for block in blocks if block) + "\n"), *self._beside.values()

    def add(self, name: str, value: Any) -> None:
        """Add what makes a name of the notebook mean the same in the text."""
        if name in self._texts or name in self._open:
            return
        self._open.add(name)
        if isinstance(value, types.ModuleType):
            self._import(name, value)
        elif (text := _written(value)) is not None:
            self._texts[name] = f"{name} = {text}"
        elif _is_defined_here(value):
            self._define(name, value)
        elif (place := _importable(name, value)) is not None:
            self._carry(place[0])
            self._imports.add(f"from {place[0]} import {place[1]}{'' if place[1] == name else f' as {name}'}")
        else:
            raise CellError(
                f"{self.whole} needs {name}, which is {short(value)}: only imports, functions, classes and plain "
                "values are carried to workers. Make it within the cell, or give it as an option"
            )

    def _import(self, name: str, module: types.ModuleType) -> None:
        self._carry(module.__name__)
        if sys.modules.get(module.__name__) is not module:
            raise CellError(f"{self.whole} needs {name}, a module that no import finds under its name")
        if module.__name__ == name:
            self._imports.add(f"import {name}")
        elif name == module.__name__.partition(".")[0]:
            self._imports.add(f"import {module.__name__}")
        else:
            self._imports.add(f"import {module.__name__} as {name}")

    def _carry(self, module: str) -> None:
        """Carry the text of a module of the user's own, and of what it imports from beside it."""
        path = _own_file(module)
        if path is not None:
            for source in sources.of_file(path):
                self._beside.setdefault(source.module, source)

    def _define(self, name: str, value: Any) -> None:
        own = inspect.unwrap(value).__name__
        if own != name:  # another name for it
            self.add(own, value)
            self._texts[name] = f"{name} = {own}"
            return
        text, annotations = _definition(value, self.whole)
        self._annotations |= annotations
        for needed in _global_names(text):
            if needed in self.names and needed != name:
                self.add(needed, self.names[needed])
            elif needed != name and not hasattr(builtins, needed) and needed not in ("__name__", "__file__"):
                raise CellError(f"{self.whole} needs {needed}, which is not defined")
        self._texts[name] = text


def _is_defined_here(value: Any) -> bool:
    """Tell whether a value is a class or function whose definition is in the notebook."""
    value = inspect.unwrap(value) if callable(value) else value
    return isinstance(value, type | types.FunctionType) and value.__module__ == "__main__"


def _importable(name: str, value: Any) -> tuple[str, str] | None:
    """Find the module and the name from which a value is imported; None if there are none."""
    modules = [getattr(value, "__module__", None), type(value).__module__]
    names = [
        getattr(value, "__qualname__", None),
        getattr(value, "__name__", None),
        getattr(value, "_name", None),
        name,
    ]
    # torch.float32 and the like are written so, and know no name
    inside, dot, last = repr(value).rpartition(".") if len(repr(value)) < 100 else ("", "", "")
    if dot:
        modules.append(inside)
        names.append(last)
    for module in modules:
        if not isinstance(module, str) or module in ("__main__", "builtins") or module not in sys.modules:
            continue
        for attribute in names:
            if isinstance(attribute, str) and attribute.isidentifier():
                found = getattr(importlib.import_module(module), attribute, None)
                if found is value:
                    return module, attribute
    return None


def _written(value: Any, depth: int = 0) -> str | None:
    """Write a plain value in Python, containers of them included; None for any other."""
    if value is None or value is ... or type(value) in _PLAIN:
        if isinstance(value, float) and not math.isfinite(value):
            return f"float({str(value)!r})"
        text = repr(value)
        return text if len(text) <= _LONGEST else None
    if depth > 20 or type(value) not in (list, tuple, dict, set, frozenset):
        return None
    if isinstance(value, dict):
        pairs = [(_written(k, depth + 1), _written(v, depth + 1)) for k, v in value.items()]
        items = [None if k is None or v is None else f"{k}: {v}" for k, v in pairs]
    else:
        items = [_written(item, depth + 1) for item in value]
    if any(item is None for item in items):
        return None
    kept = [item for item in items if item is not None]
    if isinstance(value, set | frozenset):
        kept.sort()  # the order of a set differs between processes
        return f"{type(value).__name__}([{', '.join(kept)}])"
    inner = ", ".join(kept)
    if len(inner) > _LONGEST:
        return None
    if isinstance(value, tuple):
        return f"({inner},)" if len(kept) == 1 else f"({inner})"
    return f"{{{inner}}}" if isinstance(value, dict) else f"[{inner}]"


def _definition(value: Any, whole: str) -> tuple[str, bool]:
    """Find the text of a definition, and whether it is from a cell with `from __future__ import annotations`."""
    target = inspect.unwrap(value)
    name = target.__qualname__
    if not name.isidentifier():
        raise CellError(f"{whole} needs {name}, which is defined within a function: define it at the top of a cell")
    codes = [target.__code__] if isinstance(target, types.FunctionType) else list(_codes(target))
    for code in codes:
        lines = linecache.getlines(code.co_filename)
        node = _node("".join(lines), name, code.co_firstlineno)
        if node is not None:
            if isinstance(target, type):
                _refuse_changed(target, codes, code.co_filename, _lines_of(node), whole)
            return _text_of(node, lines), bool(code.co_flags & __future__.annotations.compiler_flag)
    if isinstance(target, type) and (only := _only_definition(name)) is not None:
        return only
    advice = "write it in a file and give that: {'name': 'mine', 'factory': './mine.py:Mine'}"
    raise CellError(f"{whole}: the text of {name} cannot be found; define it in a cell of a notebook, or {advice}")


def _only_definition(name: str) -> tuple[str, bool] | None:
    """Find the text of a class without methods, whose code says nothing of its place; None unless there is one alone.

    It is looked for in the program that runs, and in the cells that a notebook ran, which are no files.
    """
    program = getattr(sys.modules["__main__"], "__file__", None)
    files = [file for file in list(linecache.cache) if not Path(file).is_file()]
    found = set()
    for file in [*files, *([program] if program else [])]:
        lines = linecache.getlines(file)
        node = _node("".join(lines), name, None)
        if isinstance(node, ast.ClassDef):
            future = any(line.startswith("from __future__ import annotations") for line in lines)
            found.add((_text_of(node, lines), future))
    return found.pop() if len(found) == 1 else None


def _codes(kind: type) -> Iterator[types.CodeType]:
    """List the code of a class's own methods, in order."""
    for item in vars(kind).values():
        for function in (item, *(getattr(item, part, None) for part in ("__func__", "fget", "fset", "fdel"))):
            function = inspect.unwrap(function) if callable(function) else function
            if isinstance(function, types.FunctionType):
                yield function.__code__


def _refuse_changed(kind: type, codes: list[types.CodeType], file: str, lines: range, whole: str) -> None:
    """Refuse a class with a method from elsewhere: one that was put in after the class was defined."""
    for code in codes:
        known = bool(linecache.getlines(code.co_filename))  # not what a decorator such as dataclass wrote
        if known and (code.co_filename != file or code.co_firstlineno not in lines):
            raise CellError(
                f"{whole}: {kind.__name__}.{code.co_name} was changed after the class was defined, so its text is "
                "not that of the class; define the class anew"
            )


def _lines_of(node: _Definition) -> range:
    """Return the numbers of a definition's lines, its decorators included."""
    first = min((d.lineno for d in node.decorator_list), default=node.lineno)
    return range(first, (node.end_lineno or first) + 1)


def _text_of(node: _Definition, lines: list[str]) -> str:
    own = _lines_of(node)
    return textwrap.dedent("".join(lines[own.start - 1 : own.stop - 1]))


def _node(text: str, name: str, line: int | None) -> _Definition | None:
    """Find the definition of this name that a line belongs to; the last one if there is no line."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return None
    found = None
    for node in ast.walk(tree):
        if isinstance(node, _Definition) and node.name == name and (line is None or line in _lines_of(node)):
            found = node
    return found


def _global_names(text: str) -> list[str]:
    """List the names that a definition takes from its module, sorted.

    >>> _global_names("class A(Base):\\n    def f(self, x=ONE):\\n        y = x\\n        return math.tanh(y)\\n")
    ['Base', 'ONE', 'math']
    """
    found: set[str] = set()
    tables = [symtable.symtable(text, "<text>", "exec")]
    while tables:
        table = tables.pop()
        tables.extend(table.get_children())
        for symbol in table.get_symbols():
            # at the top, what is read and not made there; within, what is not local
            top = table.get_type() == "module"
            if symbol.is_referenced() and (not symbol.is_assigned() if top else symbol.is_global()):
                found.add(symbol.get_name())
    return sorted(found)
