"""Everything that a model holds beside its code: tensors, wherever they are kept, and numbers, generators, objects.

A cell keeps what it likes where it likes: parameters, buffers, plain attributes, lists and dicts of tensors, counters,
objects of its own classes, closures of its functions. Engines ask the same of all of these: which tensors belong to a
replica, what differs between two replicas, and what changes while a cell runs.
"""

from __future__ import annotations

import functools
import hashlib
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_Put = Callable[[Any], None]
"""Puts another value in the place where one was found."""

_MACHINERY = frozenset(vars(nn.Module()))
"""The attributes that every module has: tables of parameters, buffers, modules and hooks, and the mode."""
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_CLOSED = ("torch._", "torch.jit", "torch.fx", "torch.utils", "numpy", "builtins", "typing", "types", "weakref", "abc")
"""Modules whose objects are not looked into: they hold no numbers of a cell, but caches and machinery."""
_MOST = 100_000
"""Places that are looked at; an object may lead to a whole library."""


@dataclass
class Place:
    """One tensor of a model, and every place where it is kept.

    Attributes:
        tensor: the tensor.
        put: one function per place, which puts another tensor there.
        elsewhere: whether a place is none of the tables of parameters and buffers that torch has.
    """

    tensor: Tensor
    put: list[_Put] = field(default_factory=list)
    elsewhere: bool = False


class Contents:
    """What a model holds at this moment.

    Attributes:
        tensors: by path, such as `cell.h.weight` or `cell.taps[0]`. A tensor that is kept in several places is listed
            once, by its name in `named_parameters` or `named_buffers` if it has one.
        others: everything else by path, as a text that differs where the value does.
        iterators: paths of iterators, which cannot be looked into without changing them.
    """

    def __init__(self, model: nn.Module) -> None:
        self.tensors: dict[str, Place] = {}
        self.others: dict[str, str] = {}
        self.iterators: list[str] = []
        self._paths: dict[int, str] = {}
        self._seen: dict[int, Any] = {}
        # tables first, so that tensors get the names that torch gives them; then whatever the modules keep elsewhere
        modules = list(model.named_modules())
        for path, module in modules:
            self._seen[id(module)] = module
            self._tables(path, module)
        for path, module in modules:
            self._attributes(path, module)

    def _tables(self, path: str, module: nn.Module) -> None:
        prefix = f"{path}." if path else ""
        for table in (module._parameters, module._buffers):
            for name, value in table.items():
                if value is not None:
                    self._tensor(f"{prefix}{name}", value, functools.partial(table.__setitem__, name), in_table=True)

    def _attributes(self, path: str, module: nn.Module) -> None:
        prefix = f"{path}." if path else ""
        if isinstance(module, torch.jit.ScriptModule):
            # its attributes are in C++; what they are can be asked, and a list of them is a copy
            # parameters and buffers are among them: the tables have those
            tables = {*module._parameters.keys(), *module._buffers.keys()}
            for name in module._concrete_type.get_attributes():
                if name not in _MACHINERY and name not in tables:
                    self._look(f"{prefix}{name}", getattr(module, name), None)
            return
        own = vars(module)
        for name, value in list(own.items()):
            # the name of a model's random numbers is its seed's, and nothing that the cell holds
            if name not in _MACHINERY and (path, name) not in (("", "stream"), ("", "input_size")):
                self._look(f"{prefix}{name}", value, functools.partial(own.__setitem__, name))
        for table in _HOOKS:
            # their keys are numbers that count up in the process
            for i, hook in enumerate(own.get(table, {}).values()):
                self._look(f"{prefix}{table[1:]}[{i}]", hook, None)
        for kind in type(module).__mro__:
            if not kind.__module__.startswith("torch.") and kind.__module__ not in ("builtins", "cellbench.cell"):
                self._look(f"{prefix}{kind.__name__}", kind, None)

    def _tensor(self, path: str, tensor: Tensor, put: _Put | None, *, in_table: bool = False) -> None:
        name = self._paths.setdefault(id(tensor), path)
        place = self.tensors.setdefault(name, Place(tensor))
        place.elsewhere |= not in_table
        if put is not None:
            place.put.append(put)

    def _look(self, path: str, value: Any, put: _Put | None) -> None:
        """Note a value, and look into it."""
        if isinstance(value, Tensor):
            self._tensor(path, value, put)
            return
        known = _text(value)
        if known is not None:
            self.others[path] = known
            return
        if id(value) in self._seen or len(self._seen) > _MOST:
            return
        self._seen[id(value)] = value
        if isinstance(value, dict):
            self._dict(path, value)
        elif isinstance(value, list | deque):
            for i, item in enumerate(value):
                self._look(f"{path}[{i}]", item, functools.partial(value.__setitem__, i))
            self.others[path] = f"{len(value)} items"
        elif isinstance(value, tuple):
            self._tuple(path, value, put)
        elif isinstance(value, set | frozenset):
            self.others[path] = repr(sorted(map(repr, value)))
        elif isinstance(value, functools.partial):
            self._look(f"{path}.func", value.func, None)
            self._look(f"{path}.args", value.args, None)
            self._look(f"{path}.keywords", value.keywords, None)
        elif isinstance(value, FunctionType | MethodType):
            self._function(path, value)
        elif isinstance(value, nn.Module):
            # one that the model does not know of: kept in a plain list, say
            for inner, module in value.named_modules():
                self._seen[id(module)] = module
                self._tables(f"{path}.{inner}".rstrip("."), module)
                self._attributes(f"{path}.{inner}".rstrip("."), module)
        elif hasattr(value, "__next__"):
            self.iterators.append(path)
        elif isinstance(value, type):
            for name, item in vars(value).items():
                plain = isinstance(item, bool | int | float | complex | list | dict | deque | set | np.ndarray | Tensor)
                if plain and not name.startswith("__"):
                    self._look(f"{path}.{name}", item, None)
        elif not type(value).__module__.startswith(_CLOSED):
            self._object(path, value)

    def _dict(self, path: str, value: dict[Any, Any]) -> None:
        for key, item in list(value.items()):
            self._look(f"{path}[{key!r}]"[:200], item, functools.partial(value.__setitem__, key))
        self.others[path] = f"{len(value)} items"

    def _tuple(self, path: str, value: tuple[Any, ...], put: _Put | None) -> None:
        items = list(value)

        def replace(i: int, item: Any) -> None:
            # a tuple cannot be changed: another one takes its place
            items[i] = item
            assert put is not None
            put(type(value)._make(items) if hasattr(value, "_make") else type(value)(items))

        for i, item in enumerate(value):
            self._look(f"{path}[{i}]", item, None if put is None else functools.partial(replace, i))

    def _function(self, path: str, value: FunctionType | MethodType) -> None:
        if isinstance(value, MethodType):
            self._look(f"{path}.__self__", value.__self__, None)
            value = value.__func__  # type: ignore[assignment]
        if not isinstance(value, FunctionType) or value.__module__ is None or value.__module__.startswith(_CLOSED):
            return
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            try:
                content = cell.cell_contents
            except ValueError:  # not filled yet
                continue
            self._look(f"{path}.{name}", content, functools.partial(setattr, cell, "cell_contents"))
        self._look(f"{path}.__defaults__", value.__defaults__, None)
        self._look(f"{path}.__kwdefaults__", value.__kwdefaults__, None)

    def _object(self, path: str, value: Any) -> None:
        own = getattr(value, "__dict__", None)
        if isinstance(own, dict):
            for name, item in list(own.items()):
                self._look(f"{path}.{name}", item, functools.partial(own.__setitem__, name))
        for kind in type(value).__mro__:
            slots = kind.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                    self._look(f"{path}.{name}", getattr(value, name), functools.partial(setattr, value, name))

    def digest(self) -> dict[str, str]:
        """Write everything as texts by path; two digests are equal where two models hold the same."""
        found = dict(self.others)
        for path, place in self.tensors.items():
            found[path] = _digest(place.tensor)
        return found

    def constants(self, model: nn.Module) -> dict[str, Place]:
        """List the tensors that training does not change: all but the parameters that need a gradient."""
        trained = {id(p) for p in model.parameters() if p.requires_grad}
        return {path: place for path, place in self.tensors.items() if id(place.tensor) not in trained}

    def views_of_trained(self, model: nn.Module) -> list[str]:
        """List the tensors that lie in the memory of a trained parameter: they change with it."""
        trained = [p for p in model.parameters() if p.requires_grad and not nn.parameter.is_lazy(p)]
        storages = {p.untyped_storage().data_ptr() for p in trained if p.numel()}
        return [
            path
            for path, place in self.constants(model).items()
            if _address(place.tensor) in storages and place.tensor.grad_fn is None
        ]


@contextmanager
def replaced(contents: Contents, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Put other tensors in the places of some, by path, within this block."""
    before = [(place, place.tensor) for path in values for place in (contents.tensors[path],)]
    try:
        for path, value in values.items():
            for put in contents.tensors[path].put:
                put(value)
        yield
    finally:
        for place, tensor in before:
            for put in place.put:
                put(tensor)


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """List the paths at which two digests differ."""
    return [path for path in dict.fromkeys((*before, *after)) if before.get(path) != after.get(path)]


def _text(value: Any) -> str | None:
    """Write a value that is no container; None for one that is."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, np.ndarray):
        content = value.tobytes() if value.dtype != object else repr(value.tolist()).encode()
        return f"{value.dtype} {value.shape} {hashlib.blake2b(content, digest_size=16).hexdigest()}"
    if isinstance(value, np.generic):
        return repr(value)
    if isinstance(value, torch.Generator):
        return _digest(value.get_state())
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return repr(value.get_state())
    if isinstance(value, random.Random):
        return repr(value.getstate())
    if isinstance(value, torch.dtype | torch.device | torch.Size):
        return repr(value)
    return None


def _digest(tensor: Tensor) -> str:
    facts = f"{tensor.dtype} {tuple(tensor.shape) if not nn.parameter.is_lazy(tensor) else 'lazy'}"
    facts += f" {tensor.requires_grad}"
    try:
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    except (RuntimeError, ValueError, TypeError):  # lazy, sparse or quantised: its facts must do
        return facts
    return f"{facts} {hashlib.blake2b(content, digest_size=16).hexdigest()}"


def _address(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage().data_ptr() if tensor.numel() else -1
    except (RuntimeError, ValueError, NotImplementedError):
        return -1
