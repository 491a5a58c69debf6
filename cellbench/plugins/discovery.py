"""Finds plugins, lists what they provide, and refuses those that are broken.

pluggy's own `load_setuptools_entrypoints` stops at the first import error, skips a second distribution that uses the
same entry name, and one hook that raises keeps the others from being called. So this module walks the entry points
itself, loads each in a `try`, and calls each implementation separately. pluggy still verifies every implementation's
signature.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import re
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pluggy

from cellbench import hookspecs
from cellbench.errors import PluginError
from cellbench.plugins import factories
from cellbench.plugins.factories import Called
from cellbench.plugins.surroundings import kept
from cellbench.wording import described, short

_FAULTS = (Exception, SystemExit)
"""What a plugin may raise: one that calls `sys.exit()` must not end the user's program."""

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")


@dataclass(frozen=True)
class Entry:
    """One registered cell or task.

    Attributes:
        name, factory, description, reference, defaults: as registered.
        distribution, version: of the plugin.
    """

    name: str
    factory: str | Callable[..., Any]
    description: str
    reference: str
    defaults: Mapping[str, Any]
    distribution: str
    version: str

    @property
    def factory_name(self) -> str:
        """The factory as `package.module:Class`, whether it was given as a string or as an object.

        What is bound to it follows as JSON; what JSON cannot hold is left out, and `called` refuses it.
        """
        try:
            return self.called().name
        except PluginError:
            kind = type(self.factory)
            return f"{kind.__module__}:{kind.__qualname__}"

    def called(self) -> Called:
        """Return what the factory calls.

        Raises:
            PluginError: something is bound to the factory, or is a default, that JSON cannot hold.
        """
        try:
            factories.refuse_defaults(self.defaults)
            if isinstance(self.factory, str):
                return Called(self.factory, (self.factory.partition(":")[0],))
            return factories.called(self.factory)
        except factories.Unnamed as error:
            raise PluginError(f"{self.name} (from {self.provider}): {error}") from None

    @property
    def provider(self) -> str:
        """The distribution and its version, for messages."""
        return f"{self.distribution} {self.version}"


@dataclass(frozen=True)
class Broken:
    """A plugin that could not be used: from which distribution, and why, with the traceback for its author."""

    entry_point: str
    distribution: str
    version: str
    cause: str
    traceback: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} (entry point {self.entry_point}): {self.cause}"


@dataclass(frozen=True)
class Clash:
    """One name claimed by two plugins."""

    kind: str
    name: str
    providers: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"the {self.kind} {self.name!r} is claimed by {' and by '.join(self.providers)}; "
            "uninstall one of them, or ask its author for another name"
        )


@dataclass(frozen=True)
class Registry:
    """The plugins found: cells and tasks by name, broken plugins, and names claimed twice (left out of both)."""

    cells: Mapping[str, Entry]
    tasks: Mapping[str, Entry]
    broken: tuple[Broken, ...]
    clashes: tuple[Clash, ...]

    def find(self, kind: str, name: str) -> Entry:
        """Find the cell or task with this name.

        Args:
            kind: `cell` or `task`.
            name: as an experiment gives it.

        Raises:
            PluginError: there is none, or there are two; the message suggests the nearest name and lists broken plugins
                that may provide it.
        """
        entries = self.cells if kind == "cell" else self.tasks
        if name in entries:
            return entries[name]
        for clash in self.clashes:
            if (clash.kind, clash.name) == (kind, name):
                raise PluginError(str(clash))
        near = difflib.get_close_matches(name, entries, 1) if len(name) <= 200 else []
        hint = f" Nearest: {near[0]}." if near else ""
        broken = "".join(f" A broken plugin may provide it: {b}." for b in self.broken)
        raise PluginError(f"no {kind} named {short(name)}.{hint}{broken} `cellbench list` shows them all")


@dataclass
class _Offers:
    kind: str
    entries: list[Entry] = field(default_factory=list)


Found = tuple[importlib.metadata.EntryPoint, importlib.metadata.Distribution]
"""An entry point, and the distribution that has it."""


def discover(found: Iterable[Found] | None = None) -> Registry:
    """Load every installed plugin and ask it what it provides. A plugin's fault never raises here.

    Args:
        found: the entry points to load, in order; all that are installed if None.
    """
    manager = pluggy.PluginManager("cellbench")
    manager.add_hookspecs(hookspecs)
    offers = {"cell": _Offers("cell"), "task": _Offers("task")}
    broken: list[Broken] = []
    for point, distribution in entry_points() if found is None else found:
        # each step that runs the plugin's own code has its own `try`, so that one broken plugin disables no other
        name, version = distribution.metadata["Name"] or "?", distribution.version or "?"
        try:
            with kept(name):
                plugin = point.load()
        except _FAULTS as error:
            broken.append(_broken(point, name, version, "import failed", error))
            continue
        try:
            # a name of our own: two distributions may use the same entry name
            manager.register(plugin, name=f"{name}:{point.name}:{len(manager.get_plugins())}")
        except ValueError:
            continue  # one distribution names the same object twice
        except _FAULTS as error:
            broken.append(_broken(point, name, version, "its hooks do not fit", error))
            continue
        for kind, hook in (("cell", "register_cells"), ("task", "register_tasks")):
            try:
                with kept(name):
                    offered = _ask(manager, plugin, hook, name, version)
            except _FAULTS as error:
                broken.append(_broken(point, name, version, f"{hook} raised", error))
            else:
                offers[kind].entries.extend(offered)
    cells, cell_clashes = _by_name(offers["cell"])
    tasks, task_clashes = _by_name(offers["task"])
    return Registry(cells, tasks, tuple(broken), (*cell_clashes, *task_clashes))


@lru_cache(maxsize=1)
def registry() -> Registry:
    """Return what `discover` finds, found once per process."""
    return discover()


def entry_points() -> list[Found]:
    """List every entry point of the group with its distribution, built-ins first, each distribution once."""
    seen = set()
    found: list[Found] = []
    for distribution in importlib.metadata.distributions():
        for point in distribution.entry_points.select(group=hookspecs.GROUP):
            # a distribution can be on the path twice, for example as an editable install and as its folder
            identity = ((distribution.metadata["Name"] or "?").lower(), point.name, point.value)
            if identity not in seen:
                seen.add(identity)
                found.append((point, distribution))
    return sorted(found, key=lambda f: ((f[1].metadata["Name"] or "") != "cellbench", f[1].metadata["Name"], f[0].name))


def _ask(manager: pluggy.PluginManager, plugin: object, hook: str, distribution: str, version: str) -> list[Entry]:
    """Collect what one plugin registers through one hook: all of it or, if the hook raises, nothing."""
    entries: list[Entry] = []

    def register(
        *,
        name: str,
        factory: str | Callable[..., Any],
        description: str = "",
        reference: str = "",
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(name, str) or not NAME.match(name):
            raise PluginError(
                f"register was given the name {str(name)[:80]!r}; a name is 1 to 64 lower-case letters, digits, '-', "
                "'_' and '.', and starts with a letter or digit"
            )
        if isinstance(factory, str):
            if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", factory):
                raise PluginError(f"{name}: the factory {factory[:80]!r} is not 'package.module:Class'")
        elif not callable(factory):
            raise PluginError(f"{name}: the factory is neither callable nor a string, but {type(factory).__name__}")
        if not isinstance(description, str) or not isinstance(reference, str):
            raise PluginError(f"{name}: description and reference are strings")
        if defaults is not None and not (isinstance(defaults, Mapping) and all(isinstance(k, str) for k in defaults)):
            raise PluginError(f"{name}: defaults is a mapping of option names to values")
        entries.append(Entry(name, factory, description, reference, dict(defaults or {}), distribution, version))

    caller = getattr(manager.hook, hook)
    others = [p for p in manager.get_plugins() if p is not plugin]
    manager.subset_hook_caller(caller.name, others)(register=register)
    return entries


def _by_name(offers: _Offers) -> tuple[dict[str, Entry], list[Clash]]:
    names: dict[str, list[Entry]] = {}
    for entry in offers.entries:
        names.setdefault(entry.name, []).append(entry)
    clashes = [
        Clash(offers.kind, name, tuple(e.provider for e in entries))
        for name, entries in names.items()
        if len(entries) > 1
    ]
    return {name: entries[0] for name, entries in names.items() if len(entries) == 1}, clashes


def _broken(
    point: importlib.metadata.EntryPoint, distribution: str, version: str, what: str, error: BaseException
) -> Broken:
    cause = f"{what}: {described(error, 400)}"
    return Broken(f"{point.name} = {point.value}", distribution, version, cause, traceback.format_exc())


def load_factory(entry: Entry) -> Callable[..., Any]:
    """Return the factory itself, imported if it was registered as a string.

    Raises:
        PluginError: the string cannot be imported, or names nothing callable; the message names the plugin.
    """
    if not isinstance(entry.factory, str):
        return entry.factory
    module, _, attribute = entry.factory.partition(":")
    try:
        with kept(entry.factory):
            target: Any = importlib.import_module(module)
            for part in attribute.split("."):
                target = getattr(target, part)
    except _FAULTS as error:
        raise PluginError(
            f"{entry.name} (from {entry.provider}): its factory {entry.factory!r} cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not callable(target):
        raise PluginError(f"{entry.name} (from {entry.provider}): its factory {entry.factory!r} is not callable")
    return target  # type: ignore[no-any-return]
