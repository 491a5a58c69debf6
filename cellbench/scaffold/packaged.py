"""A cell from a file as it goes into a package: its text, and the modules beside it that it imports."""

from __future__ import annotations

import ast
import importlib.metadata
import io
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cellbench.errors import CellbenchError, CellError
from cellbench.plugins import sources
from cellbench.wording import one_line, printable


@dataclass(frozen=True)
class Packaged:
    """A cell to be packaged.

    Attributes:
        attribute: its class or function.
        options: passed to it.
        files: what goes into the package: each file's path there, and its bytes.
        summary: the first line of its docstring; empty if it has none.
        libraries: the distributions that its text imports, beside Python's own, torch, numpy and cellbench.
    """

    attribute: str
    options: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    summary: str = ""
    libraries: tuple[str, ...] = ()


def packaged(file: Path, attribute: str, options: Mapping[str, Any], package: str) -> Packaged:
    """Read a cell from a file for a package.

    The cell's text stays as it is; imports of modules beside it name the package.

    Args:
        file: its file, which becomes `cell.py`.
        attribute: its class or function.
        options: passed to it.
        package: the name of the package.

    Raises:
        CellbenchError: there is no such file or cell, or a module beside it has a name that the package needs.
    """
    if not file.is_file():
        raise CellbenchError(f"{file}: there is no such file, seen from the current folder")
    try:
        texts = sources.of_file(file.resolve())
        sources.load(texts, attribute)  # only to see that it loads
        beside = {source.module: file.parent / source.module for source in texts[1:]}
        clash = sorted({"cell.py", "__init__.py"} & beside.keys())
        if clash:
            raise CellbenchError(f"{beside[clash[0]]} cannot be packaged under this name; rename it, and its imports")
        own = {name.removesuffix(".py").partition("/")[0] for name in beside}
        files = {"cell.py": _renamed(file, own, package)}
        for name, path in beside.items():
            files[name] = _renamed(path, own, package)
            for folder in Path(name).parents[:-1]:
                files.setdefault(f"{folder.as_posix()}/__init__.py", b"")
    except OSError as error:
        raise CellError(f"{file} cannot be read: {error.strerror}") from None
    modules = importlib.metadata.packages_distributions()
    libraries = sorted({modules.get(name, [name])[0] for name in sources.libraries(texts)})
    return Packaged(attribute, dict(options), files, _summary(texts[0].text, attribute), tuple(libraries))


def _summary(text: str, attribute: str) -> str:
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == attribute:
            first = (ast.get_docstring(node) or "").partition("\n")[0]
            return one_line(printable(first), 100)
    return ""


def _renamed(path: Path, own: set[str], package: str) -> bytes:
    """Read a module, with its imports of modules in `own` turned into imports from the package."""
    whole = path.read_bytes()
    encoding, _ = tokenize.detect_encoding(io.BytesIO(whole).readline)
    text = whole.decode(encoding)
    lines = text.splitlines(keepends=True)
    found = [node for node in ast.walk(ast.parse(text)) if _names(node, own)]
    if not found:
        return whole
    # from the last to the first, so that earlier places stay right
    for node in sorted(found, key=lambda node: (node.lineno, node.col_offset), reverse=True):  # type: ignore[attr-defined]
        assert isinstance(node, ast.Import | ast.ImportFrom)
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        before = lines[first].encode()[: node.col_offset].decode()
        after = lines[last].encode()[node.end_col_offset :].decode()
        lines[first : last + 1] = [before + _statement(node, own, package) + after]
    return "".join(lines).encode(encoding)


def _names(node: ast.AST, own: set[str]) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] in own for alias in node.names)
    return isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").partition(".")[0] in own


def _statement(node: ast.Import | ast.ImportFrom, own: set[str], package: str) -> str:
    """Write an import again, of the package's modules."""
    if isinstance(node, ast.ImportFrom):
        taken = ", ".join(_alias(alias.name, alias.asname) for alias in node.names)
        return f"from {package}.{node.module} import {taken}"
    parts = []
    for alias in node.names:
        top, _, rest = alias.name.partition(".")
        if top not in own:
            parts.append(f"import {_alias(alias.name, alias.asname)}")
        elif alias.asname:
            parent, _, last = f"{package}.{alias.name}".rpartition(".")
            parts.append(f"from {parent} import {_alias(last, alias.asname)}")
        else:
            # `import a.b` binds a, and imports a.b too
            parts += [f"import {package}.{alias.name}"] if rest else []
            parts.append(f"from {package} import {top}")
    return "; ".join(parts)


def _alias(name: str, asname: str | None) -> str:
    return f"{name} as {asname}" if asname else name
