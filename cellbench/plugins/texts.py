"""Modules made from stored text: a cell's file, and the modules beside it whenever it imports them.

An import in such a text, at its top or in the middle of a step, first looks among the texts. So what a cell imports
from beside its file is what its key holds, whatever module of that name is elsewhere.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import linecache
import sys
import threading
import types
from collections.abc import Mapping, Sequence
from typing import Any

from cellbench.records import Source

_made: dict[tuple[tuple[str, str], ...], Texts] = {}
_lock = threading.RLock()


def of(sources: Sequence[Source]) -> Texts:
    """Return the modules of these texts, the same ones for the same texts: each is run once per process."""
    key = tuple((source.module, source.sha256) for source in sources)
    with _lock:
        if key not in _made:
            _made[key] = Texts(sources)
        return _made[key]


class Texts:
    """The texts of one cell, and the modules made of them so far.

    Args:
        sources: the defining file first, then those beside it, named relative to its folder.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        # the cell's file itself is under no name: one that is called as a library is may import that library
        self._main, *beside = sources
        self._beside = {dotted(source.module): source for source in beside}
        self._packages = {dotted(s.module) for s in beside if s.module.endswith("__init__.py")}
        self._modules: dict[str, types.ModuleType] = {}
        # registered under names that no import asks for, so that classes can be pickled within the process
        together = hashlib.sha256("".join(source.sha256 for source in sources).encode()).hexdigest()
        self._prefix = f"_cellbench_{sources[0].sha256[:16]}_{together[:8]}"

    def main(self) -> types.ModuleType:
        """Return the module of the defining file, and run it if that was not done yet."""
        with _lock:
            return self._load("")

    def _load(self, name: str) -> types.ModuleType:
        """Return a module by its dotted name, the defining file by "", and run its text the first time.

        Raises:
            ModuleNotFoundError: there is no such text.
        """
        if name in self._modules:
            return self._modules[name]
        source = self._beside.get(name) if name else self._main
        inside = bool(name) and self._is_text(f"{name}.")
        if source is None and not inside:
            raise ModuleNotFoundError(f"No module named {name!r} beside the cell's file", name=name)
        package = name in self._packages or inside
        unique = f"{self._prefix}.{name}".rstrip(".")
        module = types.ModuleType(unique)
        if package:
            module.__path__ = []
        own = self._importer(name if package else name.rpartition(".")[0])
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": own}
        self._modules[name] = sys.modules[unique] = module
        if source is not None:
            try:
                _execute(source, module)
            except BaseException:
                # as Python does it: a module that could not be run is not there, and is run again by the next import
                del self._modules[name], sys.modules[unique]
                raise
        return module

    def _importer(self, package: str) -> Any:
        """Make the `__import__` of the modules in a package of the texts; "" is the folder of the cell's file."""

        def import_(
            name: str,
            globals: Mapping[str, object] | None = None,
            locals: Mapping[str, object] | None = None,
            fromlist: Sequence[str] | None = (),
            level: int = 0,
        ) -> types.ModuleType:
            absolute = name
            if level:
                parts = package.split(".") if package else []
                above = parts[: len(parts) - level + 1]
                absolute = ".".join([*above, name] if name else above)
            if not self._ours(absolute) and not (level and not name):
                if level:
                    raise ModuleNotFoundError(f"No module named {absolute!r} beside the cell's file", name=absolute)
                return self._foreign(name, globals, locals, fromlist or ())
            with _lock:
                return self._ours_imported(absolute, fromlist or ())

        return import_

    def _ours(self, name: str) -> bool:
        return self._is_text(name.partition(".")[0])

    def _ours_imported(self, absolute: str, fromlist: Sequence[str]) -> types.ModuleType:
        """Import a module of the texts and the packages around it, as an import statement does."""
        parts = absolute.split(".") if absolute else []
        modules = [self._load(".".join(parts[: i + 1])) for i in range(len(parts))]
        for parent, child, name in zip(modules, modules[1:], parts[1:], strict=False):
            setattr(parent, name, child)
        if not fromlist:
            return modules[0]
        # `from . import gates` in the folder of the cell's file: the folder is no module
        last = modules[-1] if modules else types.ModuleType(self._prefix)
        for name in fromlist:
            inner = f"{absolute}.{name}".strip(".")
            if name != "*" and not hasattr(last, name) and self._is_text(inner):
                setattr(last, name, self._load(inner))
        return last

    def _is_text(self, name: str) -> bool:
        """Return whether a name is that of a text, or of a folder of texts."""
        folder = name if name.endswith(".") else f"{name}."
        return name in self._beside or any(other.startswith(folder) for other in self._beside)

    def _foreign(self, name: str, globals: Any, locals: Any, fromlist: Sequence[str]) -> types.ModuleType:
        """Import a module that is not among the texts; of importlib, with an `import_module` that looks there first."""
        found = builtins.__import__(name, globals, locals, fromlist)
        return _Importlib(self) if found is importlib else found

    def import_module(self, name: str, package: str | None = None) -> types.ModuleType:
        """Do what importlib.import_module does, among the texts first."""
        if not name.startswith(".") and self._ours(name):
            with _lock:
                self._ours_imported(name, ())
                return self._load(name)
        return importlib.import_module(name, package)


class _Importlib(types.ModuleType):
    """importlib, as the texts of a cell see it."""

    def __init__(self, texts: Texts) -> None:
        super().__init__("importlib")
        self.import_module = texts.import_module

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib, name)


def dotted(path: str) -> str:
    """Turn a path relative to the cell's folder into the name that an import has.

    >>> dotted("parts/gates.py"), dotted("parts/__init__.py")
    ('parts.gates', 'parts')
    """
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def _execute(source: Source, module: types.ModuleType) -> None:
    filename = f"<{source.module} {source.sha256[:12]}>"
    # so that a traceback shows the author's lines
    linecache.cache[filename] = (len(source.text), None, source.text.splitlines(keepends=True), filename)
    module.__file__ = filename
    exec(compile(source.text, filename, "exec"), module.__dict__)
