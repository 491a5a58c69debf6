"""The text of the modules that a cell's numbers depend on, and cells made from such text.

A result depends on the text that produced it. So the key of a replica holds a hash of the text of the module that
defines its cell, and of the local modules that this one imports: those of the same top-level package, or of the same
folder for a cell from a file. cellbench's own modules outside `cells` and `tasks` are the contract, guarded by
`numbers_version`.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from cellbench.errors import CellError
from cellbench.plugins import texts
from cellbench.plugins.containment import contained
from cellbench.plugins.discovery import Entry
from cellbench.plugins.surroundings import kept
from cellbench.plugins.texts import dotted
from cellbench.records import Source

_KNOWN = {*sys.stdlib_module_names, "cellbench", "numpy", "torch"}
"""Modules whose versions the environment of a result says, and whose texts are not looked at."""


def of_entry(entry: Entry) -> tuple[Source, ...]:
    """Read the text of the module that defines a registered cell or task, then of the local modules it imports.

    Then the same of the classes and functions that are bound to the factory, those of libraries aside. The defining
    module itself is not imported. A module without source text (a compiled extension) is left out.

    Raises:
        CellError: the module cannot be found.
        PluginError: something is bound to the factory that JSON cannot hold.
    """
    module, *others = entry.called().modules
    if _origin(module) is None:
        raise CellError(f"{entry.name} (from {entry.provider}): its factory's module {module!r} does not exist")
    own = [module, *(other for other in others if other.partition(".")[0] not in _KNOWN)]
    found = {source.module: source for name in own for source in _of_module(name)}
    return tuple(found.values())


def _of_module(module: str) -> Iterator[Source]:
    """Read the text of a module and of those of the same top-level package that it imports."""
    path, top = _origin(module), module.partition(".")[0]
    if path is None:
        return

    def resolve(name: str) -> list[tuple[str, Path]]:
        if name.partition(".")[0] != top or top == "cellbench":
            return []
        origin = _origin(name)
        return [(name, origin)] if origin is not None else []

    yield from _gather(module, path, resolve, calls=False)


def of_file(path: Path) -> tuple[Source, ...]:
    """Read the text of a file, then of the modules beside it that it imports, named relative to its folder.

    Raises:
        CellError: one of them cannot be read as Python reads it.
        OSError: one of them cannot be read at all.
    """
    folder = path.parent

    def resolve(name: str) -> list[tuple[str, Path]]:
        parts = name.split(".")
        # a package is run before what is in it, if it says anything
        packages = [folder.joinpath(*parts[:i], "__init__.py") for i in range(1, len(parts))]
        found = [package for package in packages if package.is_file() and _says_something(package)]
        for candidate in (folder.joinpath(*parts).with_suffix(".py"), folder.joinpath(*parts, "__init__.py")):
            if candidate.is_file() and candidate != path:
                return [(p.relative_to(folder).as_posix(), p) for p in (*found, candidate)]
        return []

    return tuple(_gather(path.name, path, resolve, calls=True))


def _says_something(path: Path) -> bool:
    """Return whether a module has more than comments and a docstring."""
    try:
        body = ast.parse(_read(path)).body
    except SyntaxError:
        return True  # its import will say so
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)


def libraries(texts: Sequence[Source]) -> list[str]:
    """List the other top-level modules that these texts may import, except Python's own, torch, numpy and cellbench."""
    own = {source.module.removesuffix(".py").replace("/", ".").partition(".")[0] for source in texts}
    named = (found for source in texts for found in _statements(source.text, calls=True))
    return sorted({base.partition(".")[0] for level, base, _ in named if not level} - own - _KNOWN)


def _statements(text: str, *, calls: bool) -> Iterator[tuple[int, str, list[str]]]:
    """List the imports of a text in order: the number of leading dots, the module, and the names taken from it.

    Args:
        text: of a module.
        calls: whether to list `importlib.import_module("name")` and `__import__("name")` too.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return  # the import itself will say so
    for node in ast.walk(tree):
        if calls and isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called, name = ast.unparse(node.func).rpartition(".")[2], node.args[0].value
            if called in ("import_module", "__import__") and isinstance(name, str) and not name.startswith("."):
                yield 0, name, []
        elif isinstance(node, ast.Import):
            yield from ((0, alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", [alias.name for alias in node.names]


def spec_of(module: str) -> ModuleSpec | None:
    """Find where a module would be imported from; None where there is none, or where its package cannot be imported."""
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None


def _origin(module: str) -> Path | None:
    spec = spec_of(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _read(path: Path) -> str:
    """Read a module as Python reads it: a byte order mark is left out, and a coding line says how it is written.

    Raises:
        CellError: it cannot be read so.
        OSError: it cannot be read at all.
    """
    try:
        return importlib.util.decode_source(path.read_bytes())
    except (SyntaxError, UnicodeDecodeError) as error:
        raise CellError(f"{path.name} cannot be read as Python reads it: {error}") from None


def _gather(
    name: str, path: Path, resolve: Callable[[str], list[tuple[str, Path]]], *, calls: bool
) -> Iterator[Source]:
    waiting, seen = [(name, path)], {name}
    while waiting:
        name, path = waiting.pop(0)
        text = _read(path)
        yield Source(name, text)
        for imported in _imports(text, name, path, calls=calls):
            for found in resolve(imported):
                if found[0] not in seen:
                    seen.add(found[0])
                    waiting.append(found)


def _imports(text: str, name: str, path: Path, *, calls: bool) -> Iterator[str]:
    """List the dotted names that a module's text may import, in order, relative ones made absolute."""
    module = dotted(name)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for level, base, names in _statements(text, calls=calls):
        if level:
            up = package.split(".")[: len(package.split(".")) - level + 1]
            base = ".".join([*up, base] if base else up).strip(".")
        if base:
            yield base
        # `from package import module` names a module too
        yield from (f"{base}.{taken}".strip(".") for taken in names if taken != "*")


_NO_CELLS = {"Enum", "Exception", "Function", "IntEnum", "NamedTuple", "Protocol", "Task", "TypedDict", "object"}
"""Bases of classes that are no cells; `Function` is autograd's."""


def cells_in(path: Path) -> list[str]:
    """List the classes and functions of a file that may make cells, in order, without running it.

    Raises:
        CellError: it cannot be read, or is not Python.
        OSError: it cannot be read at all.
    """
    try:
        body = ast.parse(_read(path)).body
    except (SyntaxError, ValueError) as error:
        raise CellError(f"{path.name} is not Python: {error}") from None
    found = []
    for node in body:
        if isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
            makes = bool(bases - _NO_CELLS)
        elif isinstance(node, ast.FunctionDef):
            makes = [argument.arg for argument in node.args.args[:2]] == ["input_size", "hidden_size"]
        else:
            continue
        if makes and not node.name.startswith("_"):
            found.append(node.name)
    return found


def load(sources: Sequence[Source], attribute: str) -> Callable[..., Any]:
    """Make a cell's factory from stored text, without reading a file. The text is run once per process.

    Args:
        sources: as `of_file` returned them, the defining file first.
        attribute: the name of the class or function in it.

    Raises:
        CellError: running the text raises, or it defines no such class or function.
    """
    main = sources[0]
    try:
        with contained(), kept(f"{main.module}:{attribute}"):
            module = texts.of(sources).main()
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
