"""What other people's code may change of the whole process, so that every other cell gets other numbers: put back.

torch and numpy take long to import, and this module does not: until they are there, nothing of them can be changed.
"""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

_ABSENT = object()
"""In place of a state that could not be read."""


def _of(library: str, read: Callable[[Any], Any]) -> Callable[[], Any]:
    """Make a function that reads a state of a library, if that was imported."""
    return lambda: read(sys.modules[library]) if library in sys.modules else _ABSENT


def _set_deterministic(state: tuple[bool, bool]) -> None:
    sys.modules["torch"].use_deterministic_algorithms(state[0], warn_only=state[1])


def _set_device(device: Any) -> None:
    # `None` takes away the mode by which torch gives new tensors another device
    sys.modules["torch"].set_default_device(None if str(device) == "cpu" else device)


def _set_warnings(filters: list[Any]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]
    with suppress(AttributeError):
        warnings._filters_mutated()  # type: ignore[attr-defined]


def _set_path(path: list[str]) -> None:
    sys.path[:] = path


def _set_numpy_generator(state: Any) -> None:
    sys.modules["numpy"].random.set_state(state)


_Read = Callable[[], Any]
_Write = Callable[[Any], Any]
_PARTS: dict[str, tuple[_Read, _Write]] = {
    "the default type of tensors": (
        _of("torch", lambda t: t.get_default_dtype()),
        lambda state: sys.modules["torch"].set_default_dtype(state),
    ),
    "the default device": (_of("torch", lambda t: t.get_default_device()), _set_device),
    "the number of threads": (
        _of("torch", lambda t: t.get_num_threads()),
        lambda state: sys.modules["torch"].set_num_threads(state),
    ),
    "the deterministic mode": (
        _of(
            "torch",
            lambda t: (t.are_deterministic_algorithms_enabled(), t.is_deterministic_algorithms_warn_only_enabled()),
        ),
        _set_deterministic,
    ),
    "whether gradients are computed": (
        _of("torch", lambda t: t.is_grad_enabled()),
        lambda state: sys.modules["torch"].set_grad_enabled(state),
    ),
    "the precision of matrix products": (
        _of("torch", lambda t: t.get_float32_matmul_precision()),
        lambda state: sys.modules["torch"].set_float32_matmul_precision(state),
    ),
    "torch's generator": (
        _of("torch", lambda t: t.get_rng_state()),
        lambda state: sys.modules["torch"].set_rng_state(state),
    ),
    "numpy's generator": (_of("numpy", lambda n: n.random.get_state()), _set_numpy_generator),
    "numpy's way with errors": (
        _of("numpy", lambda n: n.geterr()),
        lambda state: sys.modules["numpy"].seterr(**state),
    ),
    "Python's generator": (random.getstate, random.setstate),
    "the filters of warnings": (lambda: list(warnings.filters), _set_warnings),
    "sys.path": (lambda: list(sys.path), _set_path),
    "the working folder": (os.getcwd, os.chdir),
}
_FRESH: dict[str, Callable[[], Any]] = {
    # what a library has just after its import, where another import was the first to import it
    "the default type of tensors": lambda: sys.modules["torch"].float32,
    "the deterministic mode": lambda: (False, False),
    "whether gradients are computed": lambda: True,
    "the precision of matrix products": lambda: "highest",
}

_found: dict[str, dict[str, None]] = {}
"""What was changed, by whom."""


def changed_by(*names: str) -> list[str]:
    """List what code of these names has changed of the process so far."""
    return list(dict.fromkeys(part for name in names for part in _found.get(name, {})))


@contextmanager
def kept(name: str) -> Iterator[None]:
    """Put back, after this block, what other people's code may change of the process; note what was changed.

    Args:
        name: of the code, for `changed_by`.
    """
    before = {part: _read(read) for part, (read, _) in _PARTS.items()}
    try:
        yield
    finally:
        for part, (read, write) in _PARTS.items():
            was, now = before[part], _read(read)
            if was is _ABSENT and now is not _ABSENT and part in _FRESH:
                was = _FRESH[part]()
            if part == "the filters of warnings":
                was = _without_blanket(was, now)
            if was is _ABSENT or now is _ABSENT or _equal(was, now):
                continue
            _found.setdefault(name, {})[part] = None
            write(was)


def _read(read: _Read) -> Any:
    try:
        return read()
    except (OSError, AttributeError):  # a folder that is gone; a library that is half imported or very old
        return _ABSENT


def _equal(a: Any, b: Any) -> bool:
    """Compare two states: of torch's generator a tensor, of numpy's a tuple with an array."""
    if hasattr(a, "tolist"):
        return bool((a == b).all())
    if isinstance(a, tuple):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def _without_blanket(before: list[Any], now: list[Any]) -> list[Any]:
    """Return the filters of warnings as they should be: libraries add some for their own messages, which may stay."""
    gone = any(one not in now for one in before)
    return before if gone else [f for f in now if f in before or not _is_blanket(f)]


def _is_blanket(one: Any) -> bool:
    """Return whether a filter of warnings is for everybody's: for any message and module, of a category of Python's."""
    _, message, category, module, _ = one
    return message is None and module is None and category.__module__ == "builtins"
