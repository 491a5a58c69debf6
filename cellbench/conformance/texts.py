"""The text of a law, by which an answer to it is known to be one to today's law."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

_ROOM = f"{__name__.rpartition('.')[0]}."


def text_of(ask: Callable[..., Any]) -> str:
    """Return the text of the function that asks a law, and in a last line a hash of this room's modules that it uses.

    A law judges otherwise when what it calls does: with another hash it is another law, and cells are asked again.
    """
    modules: dict[str, ModuleType] = {}
    _gather(ask.__module__, modules)
    digest = hashlib.sha256()
    for name, module in sorted(modules.items()):
        digest.update(f"{name}\n{inspect.getsource(module)}\n".encode())
    return f"{inspect.getsource(ask)}# with {', '.join(sorted(modules))}: sha256 {digest.hexdigest()}\n"


def _gather(name: str, modules: dict[str, ModuleType]) -> None:
    """Gather a module, and those of this room that it takes functions and classes from."""
    modules[name] = sys.modules[name]
    for value in list(vars(modules[name]).values()):
        other = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        if isinstance(other, str) and other.startswith(_ROOM) and other not in modules:
            _gather(other, modules)
