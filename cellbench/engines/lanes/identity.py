"""What a compiled cell is found by: all that its program, its proof and its refusal depend on.

Two cells share an entry of the cache only if they run the same operations (the tape), over states of the same nesting,
and are made of the same classes with the same text: how a cell is written decides whether it can be traced. So what a
cell gets never depends on which cells this machine saw before it.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import nn

from cellbench.engines.engine import Refused, first_line
from cellbench.engines.lanes import build
from cellbench.engines.lanes.graph.lines import first_difference, recorded
from cellbench.engines.lanes.graph.states import flattened
from cellbench.engines.lanes.graph.tape import tape
from cellbench.engines.lanes.graph.tensors import NUMBERS, named, tensors_of
from cellbench.engines.lines import at, of_traceback
from cellbench.errors import CellbenchError
from cellbench.model import Blueprint, Model, Traits, seeded, traits_of
from cellbench.plugins.sources import spec_of


def identity(blueprint: Blueprint, isa: build.Isa) -> str:
    """Hash everything that a compiled cell depends on, except the compiler.

    Raises:
        Refused: the cell does what no compiled program can do; or running it raises; or other weights or other data
            run other operations.
    """
    try:
        tensors_of(blueprint.build("lanes", 0))
        found = traits_of(blueprint)
        _refuse_traits(found, blueprint)
        # two models with other weights and other data must record the same tape; each tape is that of a new model,
        # since running one may leave tensors in its attributes
        tapes = [[_tape(blueprint, seed, batch) for batch in (1, 3)] for seed in (0, 1)]
        model = blueprint.build("lanes", 0)
        state = _state(model)
        if tapes[0] != tapes[1]:
            raise Refused(_difference(blueprint, found))
    except (Refused, CellbenchError):
        raise
    except Exception as error:
        where = at(of_traceback(error.__traceback__))
        raise Refused(f"running the cell raised {first_line(error)}{where}") from error
    facts = (build.engine_text(), tapes[0], state, blueprint.input_size, str(isa), code(blueprint, model))
    return short(repr(facts))


def _tape(blueprint: Blueprint, seed: int, batch: int) -> str:
    return tape(blueprint.build("lanes", seed), blueprint.input_size, batch=batch)


def _difference(blueprint: Blueprint, found: Traits) -> str:
    """Say why two models of a cell run other operations, or the same with other constants."""
    kept = named(blueprint.build("lanes", 0))
    for path in found.own:
        if path not in kept:
            return f"{path} differs between seeds and is no tensor of a module: make it a buffer (register_buffer)"
        if kept[path].dtype not in NUMBERS:
            kind = str(kept[path].dtype).removeprefix("torch.")
            return f"{path} is {kind} and differs between seeds, and only float32 buffers may: make it float32"
    for path in found.drawn:
        return f"{path} differs between seeds and is no tensor: make it a buffer of float32 (register_buffer)"
    where = ""
    for batch in (1, 3):
        one, two = (recorded(blueprint.build("lanes", seed), blueprint.input_size, batch) for seed in (0, 1))
        where = where or at(first_difference(one, two))
    return f"the operations it runs, or their constants, depend on its weights or on the data{where}: use torch.where"


def short(text: str) -> str:
    """Hash a text to 24 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _refuse_traits(found: Traits, blueprint: Blueprint) -> None:
    """Refuse what a step that is compiled once cannot do.

    Raises:
        Refused: the cell does one of these things; the message names the tensor, attribute or generator.
    """
    if found.random:
        drawn = at(recorded(blueprint.build("lanes", 0), blueprint.input_size, 3).drawn)
        raise Refused(f"random numbers inside the cell, from {found.random[0]} generator{drawn}")
    if found.keeps:
        raise Refused(f"hidden memory: {found.keeps[0]} is remembered from one sequence to the next")
    if found.modes:
        raise Refused("its outputs in eval() mode are others than in training, and a compiled cell has one step")
    if found.late_hooks:
        raise Refused(f"{found.late_hooks[0]} has a hook that runs after its gradient was accumulated")
    if found.views:
        raise Refused(f"{found.views[0]} lies in the memory of a trained parameter")


def _state(model: Model) -> str:
    """Describe the nesting and the types of the state.

    Raises:
        Refused: it holds something else than tensors.
    """
    with torch.no_grad(), seeded("lanes"):
        leaves, nesting = flattened(model.initial_state(1))
    return f"{nesting} {[(tuple(leaf.shape), leaf.dtype) for leaf in leaves]}"


def code(blueprint: Blueprint, model: nn.Module) -> list[str]:
    """List what a model is made of: its factory, each module with its class, hooks, and hashes of their texts."""
    found = [blueprint.origin, *blueprint.texts, *_function(blueprint.factory)]
    kinds: dict[type, None] = {}
    for path, module in model.named_modules():
        kinds.update(dict.fromkeys(type(module).__mro__))
        hooks = (*module._forward_pre_hooks.values(), *module._forward_hooks.values(), *module._backward_hooks.values())
        found.append(f"{path} {_name(type(module))} {[_name(hook) for hook in hooks]}")
        for hook in hooks:
            found += _function(hook)
    for name, parameter in model.named_parameters():
        for hook in (parameter._backward_hooks or {}).values():
            found += [name, *_function(hook)]
    for kind in kinds:
        if not kind.__module__.startswith(("torch.", "builtins")):
            found.append(f"{_name(kind)} {_text(kind.__module__)}")
            for value in vars(kind).values():
                found += _function(value)
    return found


def _name(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"


def _function(value: Any) -> list[str]:
    """Describe a function by its code, and by the plain values that it closes over."""
    value = getattr(value, "__func__", value)
    if not isinstance(value, FunctionType):
        return []
    closed = []
    for cell in value.__closure__ or ():
        try:
            content = cell.cell_contents
        except ValueError:  # not filled yet
            continue
        closed.append(repr(content) if isinstance(content, bool | int | float | str | None) else _name(content))
    return [f"{_name(value)} {_hash_code(value.__code__)} {closed} {_text(value.__module__)}"]


def _hash_code(code: CodeType) -> str:
    return hashlib.sha256(repr(list(_instructions(code))).encode()).hexdigest()[:16]


def _instructions(code: CodeType) -> Iterator[object]:
    yield code.co_code
    yield code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _instructions(constant)
        else:
            yield constant if not isinstance(constant, frozenset) else sorted(map(repr, constant))


def _text(module: str | None) -> str:
    """Hash the text of a module; for one that has no file, such as a notebook, its name must do."""
    found = sys.modules.get(module or "")
    path = getattr(found, "__file__", None)
    if path is None and module and found is None:
        spec = spec_of(module)
        path = spec.origin if spec else None
    return _hash_file(path) if path else str(module)


@lru_cache(maxsize=512)
def _hash_file(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    except OSError:
        return path  # a cell from stored text: this name holds a hash of it
