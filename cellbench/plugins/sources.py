"""The text of the modules that a cell's numbers depend on, and cells made from such text.

A result depends on the text that produced it. So the key of a replica holds a hash of the text of the module that
defines its cell, and of the local modules that this one imports: those of the same top-level package, or of the same
folder for a cell from a file. cellbench's own modules outside `cells` and `tasks` are the contract, guarded by
`numbers_version`.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import linecache
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cellbench.errors import CellError
from cellbench.plugins.containment import contained
from cellbench.plugins.discovery import Entry
from cellbench.records import Source


def of_entry(entry: Entry) -> tuple[Source, ...]:
    """Read the text of the module that defines a registered cell or task, then of the local modules it imports.

    The defining module itself is not imported. A module without source text (a compiled extension) is left out.

    Raises:
        CellError: the module cannot be found.
    """
    module = entry.factory_name.partition(":")[0]
    path = _origin(module)
    if path is None:
        raise CellError(f"{entry.name} (from {entry.provider}): its factory's module {module!r} does not exist")
    top = module.partition(".")[0]

    def resolve(name: str) -> tuple[str, Path] | None:
        if name.partition(".")[0] != top or top == "cellbench":
            return None
        origin = _origin(name)
        return (name, origin) if origin is not None else None

    return tuple(_gather(module, path, resolve))


def of_file(path: Path) -> tuple[Source, ...]:
    """Read the text of a file, then of the modules beside it that it imports, named relative to its folder."""
    folder = path.parent

    def resolve(name: str) -> tuple[str, Path] | None:
        parts = name.split(".")
        for candidate in (folder.joinpath(*parts).with_suffix(".py"), folder.joinpath(*parts, "__init__.py")):
            if candidate.is_file() and candidate != path:
                return candidate.relative_to(folder).as_posix(), candidate
        return None

    return tuple(_gather(path.name, path, resolve))


def libraries(texts: Sequence[Source]) -> list[str]:
    """List the other top-level modules that these texts may import, except Python's own, torch, numpy and cellbench."""
    own = {source.module.removesuffix(".py").replace("/", ".").partition(".")[0] for source in texts}
    named = (found for source in texts for found in _statements(source.text))
    return sorted(
        {base.partition(".")[0] for level, base, _ in named if not level}
        - own
        - sys.stdlib_module_names
        - {"cellbench", "numpy", "torch"}
    )


def _statements(text: str) -> Iterator[tuple[int, str, list[str]]]:
    """List the imports of a text in order: the number of leading dots, the module, and the names taken from it."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return  # the import itself will say so
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", [alias.name for alias in node.names]


def _origin(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _gather(name: str, path: Path, resolve: Callable[[str], tuple[str, Path] | None]) -> Iterator[Source]:
    waiting, seen = [(name, path)], {name}
    while waiting:
        name, path = waiting.pop(0)
        text = path.read_text(encoding="utf-8")
        yield Source(name, text)
        for imported in _imports(text, name, path):
            found = resolve(imported)
            if found is not None and found[0] not in seen:
                seen.add(found[0])
                waiting.append(found)


def _imports(text: str, name: str, path: Path) -> Iterator[str]:
    """List the dotted names that a module's text may import, in order, relative ones made absolute."""
    module = name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for level, base, names in _statements(text):
        if level:
            up = package.split(".")[: len(package.split(".")) - level + 1]
            base = ".".join([*up, base] if base else up).strip(".")
        if base:
            yield base
        # `from package import module` names a module too
        yield from (f"{base}.{taken}".strip(".") for taken in names if taken != "*")


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports modules from stored text instead of from disk."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.texts = {s.module.removesuffix(".py").replace("/", "."): s for s in sources}
        # the packages that they lie in too, which need no text of their own
        self.names = {
            ".".join(parts[:n]) for parts in (t.split(".") for t in self.texts) for n in range(1, len(parts) + 1)
        }

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        for name, is_package in ((fullname, False), (f"{fullname}.__init__", True)):
            if name in self.texts:
                return importlib.machinery.ModuleSpec(fullname, self, is_package=is_package)
        if fullname in self.names:
            return importlib.machinery.ModuleSpec(fullname, None, is_package=True)  # a folder without __init__.py
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        name = module.__name__
        source = self.texts.get(name) or self.texts[f"{name}.__init__"]
        _execute(source, module)


def _execute(source: Source, module: types.ModuleType) -> None:
    filename = f"<{source.module} {source.sha256[:12]}>"
    # so that a traceback shows the author's lines
    linecache.cache[filename] = (len(source.text), None, source.text.splitlines(keepends=True), filename)
    module.__file__ = filename
    exec(compile(source.text, filename, "exec"), module.__dict__)


@contextmanager
def _importing(finder: _Finder) -> Iterator[None]:
    shadowed = {name: sys.modules.pop(name) for name in list(sys.modules) if name in finder.names}
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        # another version of the same file may be loaded next; the modules stay alive in the code that imported them
        for name in finder.names:
            sys.modules.pop(name, None)
        sys.modules.update(shadowed)


def load(sources: Sequence[Source], attribute: str) -> Callable[..., Any]:
    """Make a cell's factory from stored text, without reading a file.

    Args:
        sources: as `of_file` returned them, the defining file first.
        attribute: the name of the class or function in it.

    Raises:
        CellError: running the text raises, or it defines no such class or function.
    """
    main = sources[0]
    module = types.ModuleType(main.module.removesuffix(".py"))
    # registered under a name that no import asks for, so that the class can be pickled within the process
    module.__name__ = f"_cellbench_{main.sha256[:16]}"
    sys.modules[module.__name__] = module
    try:
        with contained(), _importing(_Finder(sources[1:])):
            _execute(main, module)
    except Exception as error:
        place = ""
        if isinstance(error, SyntaxError):
            place = f" line {error.lineno}"
        raise CellError(f"{main.module}{place}: importing it raised {type(error).__name__}: {error}") from error
    target = getattr(module, attribute, None)
    if not callable(target):
        classes = ", ".join(
            n for n, v in vars(module).items() if isinstance(v, type) and v.__module__ == module.__name__
        )
        raise CellError(f"{main.module} has no class or function {attribute!r}. It defines: {classes or 'no class'}")
    return target  # type: ignore[no-any-return]
