"""Factories that are objects: the key holds the text of what they call and what is bound, or they are refused."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from cellbench.errors import ExperimentError
from cellbench.experiment import load
from cellbench.plugins import discover, registry
from cellbench.plugins.discovery import Entry
from cellbench.records import CellSpec
from tests.helpers.commands import TINY
from tests.helpers.runs import trained

CELL = """\
from cellbench import Cell
from torch import nn, tanh


class Net(Cell):
    def __init__(self, input_size, hidden_size, scale=1.0, act=tanh):
        super().__init__(input_size, hidden_size)
        self.scale, self.act = scale, act
        self.i, self.h = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def forward(self, x, h):
        h = self.act(self.scale * (self.i(x) + self.h(h)))
        return h, h

    @classmethod
    def small(cls, input_size, hidden_size):
        return cls(input_size, hidden_size, 0.5)


class Maker:
    def __init__(self, scale):
        self.scale = scale

    def make(self, input_size, hidden_size):
        return Net(input_size, hidden_size, self.scale)

    __call__ = make


def closed(scale):
    return lambda i, h: Net(i, h, scale)
"""
PLUGIN = """\
from functools import partial

import torch
from cellbench import hookimpl

from part_{n}.cell import Maker, Net, closed
from part_{n}.more import act


@hookimpl
def register_cells(register):
    register(name="plain", factory=Net)
    register(name="net", factory={factory}, defaults={defaults})
"""
_numbers = iter(range(1000))


class Plugin:
    """A plugin in a folder on the path, with the cells `net`, made by what a test gives, and `plain`."""

    def __init__(self, factory: str, defaults: str = "None") -> None:
        self.package = Path(f"part_{next(_numbers)}")
        self.package.mkdir()
        n = self.package.name.removeprefix("part_")
        (self.package / "__init__.py").write_text(PLUGIN.format(n=n, factory=factory, defaults=defaults))
        (self.package / "cell.py").write_text(CELL)
        (self.package / "more.py").write_text("from torch import sigmoid\n\n\ndef act(z):\n    return sigmoid(z)\n")
        info = Path(f"{self.package.name}-0.1.dist-info")
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {self.package.name}\nVersion: 0.1\n")
        (info / "entry_points.txt").write_text(f"[cellbench]\npart = {self.package.name}\n")

    def spec(self) -> CellSpec:
        importlib.invalidate_caches()
        return load({**TINY, "cells": ["net"]}, discover()).cells[0]

    def edit(self, module: str) -> None:
        path = self.package / module
        path.write_text(path.read_text() + "# edited\n")


@pytest.fixture(autouse=True)
def _on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)


BOUND = {
    # a factory, what the key says it calls, and whether the text of more.py belongs to it too
    "Net": ("Net", False),
    "Net.small": ("Net.small", False),
    "partial(Net, scale=2.0)": ('Net {"keywords":{"scale":2.0}}', False),
    "partial(Maker(2), 4)": ('Maker {"args":[4],"bound":{"holds":{"scale":2}}}', False),
    "partial(Net, act=act)": ('Net {"keywords":{"act":{"calls":"part_{n}.more:act"}}}', True),
    "partial(Net, act=torch.tanh)": ('Net {"keywords":{"act":{"calls":"torch:_VariableFunctionsClass.tanh"}}}', False),
    "closed(0.5)": ('closed.<locals>.<lambda> {"closure":{"scale":0.5}}', False),
    "Maker(0.5)": ('Maker {"holds":{"scale":0.5}}', False),
    "Maker(0.5).make": ('Maker.make {"holds":{"scale":0.5}}', False),
}  # fmt: skip


@pytest.mark.parametrize("factory", list(BOUND))
def test_what_the_key_holds(factory: str) -> None:
    """The name of what is called, what is bound to it, and the texts of both; not those of functools."""
    plugin = Plugin(factory)
    spec = plugin.spec()
    called, more = BOUND[factory]
    n = plugin.package.name.removeprefix("part_")
    assert spec.factory == f"part_{n}.cell:{called.replace('{n}', n)}"
    assert [s.module for s in spec.sources] == [f"part_{n}.cell", *([f"part_{n}.more"] if more else [])]


def test_a_lambda_of_the_plugin_itself() -> None:
    """Its text is that of the module it is in, and of what this imports; what it has as defaults is bound."""
    spec = Plugin("lambda i, h, scale=0.5: Net(i, h, scale)").spec()
    assert spec.factory.endswith(':register_cells.<locals>.<lambda> {"defaults":[0.5]}')
    assert {s.module.partition(".")[2] for s in spec.sources} == {"", "cell", "more"}


def test_an_edited_cell_is_trained_again() -> None:
    """By a partial, as by a class: after an edit of what it calls, and not otherwise."""
    plugin = Plugin("partial(Net, scale=2.0)")
    tiny = {**TINY, "cells": ["net"], "seeds": 1}
    registry.cache_clear()  # found once per process, and this process may have looked before
    assert trained(tiny, report=False) == [("net", 0)]
    assert trained(tiny, report=False) == []
    plugin.edit("cell.py")
    assert trained(tiny, report=False) == [("net", 0)]
    plugin.edit("more.py")
    assert trained(tiny, report=False) == []


@pytest.mark.parametrize(
    ("factory", "defaults", "said"),
    [
        ("partial(Net, scale=torch.ones(1))", "None", "the factory's scale is an object of the class Tensor"),
        ("partial(Net, scale=float('nan'))", "None", "the factory's scale is nan"),
        ("closed({1, 2})", "None", "the factory's scale is an object of the class set"),
        ("Maker(torch.nn.Linear(1, 1))", "None", "the factory's scale is an object of the class Linear"),
        ("partial(Net, scale=[1, {2: 3}])", "None", "the factory's scale[1] is an object of the class dict"),
        ("Net", "{'act': torch.tanh}", "defaults['act'] is an object of the class builtin_function_or_method"),
        ("Net", "{'act': act}", "defaults['act'] is an object of the class function"),
    ],
)
def test_refused(factory: str, defaults: str, said: str) -> None:
    """What JSON cannot hold: one fault at the cell's line, with the plugin's name and the way to write it."""
    plugin = Plugin(factory, defaults)
    with pytest.raises(ExperimentError) as refused:
        plugin.spec()
    (fault,) = refused.value.faults
    assert f"net (from {plugin.package.name} 0.1): {said}, which JSON cannot hold" in fault.message
    assert "make the object from it in the factory" in fault.message
    registry = discover()
    assert load({**TINY, "cells": ["plain"]}, registry).cells[0].factory == f"{plugin.package.name}.cell:Net"
    assert registry.cells["net"].factory_name  # `cellbench list` shows it nevertheless


def test_a_class_that_was_stored_by_its_name_keeps_it() -> None:
    """A class, a function and a text have the names that they had in keys of version db868fb."""
    for factory in (Plugin, trained, "tests.helpers.runs:trained"):
        module = factory.partition(":")[0] if isinstance(factory, str) else factory.__module__
        entry = Entry("x", factory, "", "", {}, "d", "1")
        name = "Plugin" if factory is Plugin else "trained"
        assert entry.factory_name == f"{module}:{name}"
        assert module in sys.modules
