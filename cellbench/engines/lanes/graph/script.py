"""TorchScript within a cell, so that tracing it does not depend on how often it ran before.

TorchScript profiles a function's first run and optimises it afterwards, and a trace sees other operations then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch
from torch import nn

_MANY = 2**31 - 1


@contextmanager
def unoptimised(model: nn.Module) -> Iterator[None]:
    """Within this block, let all of TorchScript that a model runs be as it was before its first run."""
    before = torch._C._jit_set_num_profiled_runs(_MANY)  # type: ignore[arg-type]
    for script in _scripts(model):
        script._debug_flush_compilation_cache()
    try:
        yield
    finally:
        torch._C._jit_set_num_profiled_runs(before)


def _scripts(model: nn.Module) -> Iterator[Any]:
    """List the functions and methods of TorchScript that a model's code may call."""
    waiting: list[Any] = []
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            yield from (getattr(module, name) for name in module._c._method_names())
        waiting += [*vars(type(module)).values(), *vars(module).values()]
    seen: dict[int, Any] = {}
    while waiting:
        value = waiting.pop()
        value = getattr(value, "__func__", value)
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, torch.jit.ScriptFunction):
            yield value
        elif isinstance(value, FunctionType) and not (value.__module__ or "").startswith("torch."):
            waiting += _named(value)
        elif isinstance(value, type) and not value.__module__.startswith(("torch.", "builtins")):
            waiting += [*vars(value).values(), *value.__mro__]


def _named(function: FunctionType) -> Iterator[Any]:
    """List what a function's code names: globals, attributes of modules among them, and what it closes over."""
    names = set(_names(function.__code__))
    for name in names:
        value = function.__globals__.get(name)
        yield value
        if isinstance(value, ModuleType) and not value.__name__.startswith("torch"):
            yield from (vars(value).get(inner) for inner in names)
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
