"""What a factory calls, in words that a key can hold: the name of a class or function, and what is bound to it.

A plugin may register a string, a class or a function; these are named by their module. Of a partial, a lambda, a
closure, a bound method or an object that can be called, the key must also hold what was bound: as canonical JSON.
"""

from __future__ import annotations

import builtins
import functools
import json
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cellbench.errors import PluginError

_LEAST = 20
"""The most levels of what is bound; an object that holds itself has more."""


@dataclass(frozen=True)
class Called:
    """What a factory calls.

    Attributes:
        name: `package.module:Class`, then what is bound to it as JSON, if anything is.
        modules: whose texts the factory depends on, that of the class or function first.
    """

    name: str
    modules: tuple[str, ...]


class Unnamed(PluginError):
    """A factory to which something is bound that JSON cannot hold."""


def called(factory: Callable[..., Any]) -> Called:
    """Find out what a factory calls.

    Raises:
        Unnamed: something is bound to it that JSON cannot hold; the message says what, and how to write it.

    >>> called(functools.partial(json.JSONDecoder, strict=False))
    Called(name='json.decoder:JSONDecoder {"keywords":{"strict":false}}', modules=('json.decoder',))
    """
    modules: list[str] = []
    name, bound = _named(factory, modules, "the factory")
    text = f" {json.dumps(bound, sort_keys=True, separators=(',', ':'))}" if bound else ""
    return Called(name + text, tuple(dict.fromkeys(modules)))


def refuse_defaults(defaults: Mapping[str, Any]) -> None:
    """Refuse defaults of a cell that JSON cannot hold.

    Raises:
        Unnamed: one cannot be held.
    """
    for name, value in defaults.items():
        _plain(value, f"defaults[{name!r}]", None)


def _named(factory: Any, modules: list[str], where: str) -> tuple[str, dict[str, Any]]:
    """Return the name of what a factory calls and what is bound to it; adds to `modules`."""
    bound: dict[str, Any] = {}
    if isinstance(factory, functools.partial):
        name, bound = _named(factory.func, modules, f"{where}'s function")
        inner = {"bound": bound} if bound else {}
        args = [_plain(value, f"{where}'s argument {i}", modules) for i, value in enumerate(factory.args)]
        keywords = {key: _plain(value, f"{where}'s {key}", modules) for key, value in factory.keywords.items()}
        return name, inner | ({"args": args} if args else {}) | ({"keywords": keywords} if keywords else {})
    if isinstance(factory, types.MethodType):
        owner = factory.__self__
        if isinstance(owner, type):
            modules.append(owner.__module__)
            return f"{owner.__module__}:{owner.__qualname__}.{factory.__name__}", {}
        name, bound = _object(owner, modules, f"{where}'s object")
        return f"{name}.{factory.__name__}", bound
    if isinstance(factory, types.FunctionType):
        modules.append(factory.__module__)
        # a function at the top of its module is its module's text; any other may be one of many from the same text
        if "<" in factory.__qualname__:
            cells = zip(factory.__code__.co_freevars, factory.__closure__ or (), strict=True)
            free = {n: _plain(_content(c), f"{where}'s {n}", modules) for n, c in cells if not _is_class(n)}
            args = [_plain(v, f"a default of {where}", modules) for v in factory.__defaults__ or ()]
            more = (factory.__kwdefaults__ or {}).items()
            keywords = {key: _plain(v, f"{where}'s {key}", modules) for key, v in more}
            found = {"closure": free, "defaults": args, "keyword_defaults": keywords}
            bound = {key: value for key, value in found.items() if value}
        return f"{factory.__module__}:{factory.__qualname__}", bound
    if isinstance(factory, type) or _is_builtin(factory):
        module = factory.__module__ or builtins.__name__
        modules.append(module)
        return f"{module}:{factory.__qualname__}", {}
    return _object(factory, modules, where)


def _object(value: Any, modules: list[str], where: str) -> tuple[str, dict[str, Any]]:
    """Return the class of an object and what the object holds."""
    kind = type(value)
    modules.append(kind.__module__)
    slots = [name for base in kind.__mro__ for name in _slots(base)]
    held = {**{name: getattr(value, name) for name in slots if hasattr(value, name)}, **getattr(value, "__dict__", {})}
    state = {name: _plain(item, f"{where}'s {name}", modules) for name, item in held.items()}
    return f"{kind.__module__}:{kind.__qualname__}", {"holds": state} if state else {}


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


def _plain(value: Any, where: str, modules: list[str] | None, depth: int = 0) -> Any:
    """Turn a bound value into what JSON holds; classes and functions by their names, if modules are collected."""
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if depth < _LEAST and isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]", modules, depth + 1) for i, item in enumerate(value)]
    if depth < _LEAST and isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, f"{where}[{key!r}]", modules, depth + 1) for key, item in value.items()}
    if depth < _LEAST and modules is not None and (callable(value) and not hasattr(value, "parameters")):
        name, bound = _named(value, modules, where)
        return {"calls": name, **bound}
    what = f"{value!r}" if isinstance(value, float) else f"an object of the class {type(value).__qualname__}"
    raise Unnamed(
        f"{where} is {what}, which JSON cannot hold, so the key of a result could not say what it was made by. Give a "
        "number, a text, a list or a mapping (a function by its name, say), and make the object from it in the factory"
    )


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _is_class(name: str) -> bool:
    # what `super()` without arguments needs
    return name == "__class__"


def _is_builtin(value: Any) -> bool:
    return isinstance(value, types.BuiltinFunctionType | types.WrapperDescriptorType)
