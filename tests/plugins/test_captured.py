"""Classes of a notebook as text: what they need is carried, what no text can say is refused by name."""

from __future__ import annotations

import linecache
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import cellbench
from cellbench.plugins import captured, sources
from cellbench.plugins.captured import capture
from tests.helpers.commands import TINY
from tests.helpers.runs import trained

Run = Callable[[str], dict[str, Any]]

BASE = """\
import math
import torch.nn.functional as F
from dataclasses import dataclass
import torch
from torch import nn
from cellbench import Cell

SCALE, UNUSED = 0.5, 1
"""
CELL = """\
class Mine(Cell):
    def __init__(self, input_size, hidden_size, twice=False):
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def forward(self, x, h):
        h = act(self.w(x) + self.u(h))
        return h, h
"""
ACT = "def act(z):\n    return SCALE * torch.tanh(z)\n"


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Run:
    """`cell(text)` runs a cell of one notebook, as a kernel does: in the main module, under a file name of its own."""
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    count = 0

    def run(text: str) -> dict[str, Any]:
        nonlocal count
        count += 1
        name = f"<cell {count}>"
        monkeypatch.setitem(linecache.cache, name, (len(text), None, text.splitlines(keepends=True), name))
        exec(compile(text, name, "exec", dont_inherit=True), vars(main))
        return vars(main)

    return run


def made(target: Any, **options: Any) -> nn.Module:
    """The module that a worker makes from the captured text."""
    found = capture(target)
    module = sources.load(found.sources, found.name)(2, 3, **options)
    assert isinstance(module, nn.Module)
    return module


def same(target: Any, **options: Any) -> bool:
    """Whether the class here and the captured one take equal steps."""
    torch.manual_seed(0)
    here = target(2, 3, **options)
    torch.manual_seed(0)
    there = made(target, **options)
    x, h = torch.randn(4, 2), torch.randn(4, 3)
    return torch.equal(here(x, h)[0], there(x, h)[0])


def test_what_it_needs_is_carried_and_nothing_else(cell: Run) -> None:
    """Imports, a value, a function of other cells; no name that the class does not use."""
    cell(BASE), cell(ACT)
    names = cell(CELL)
    assert same(names["Mine"])
    (source,) = capture(names["Mine"]).sources
    assert "SCALE = 0.5" in source.text
    assert "UNUSED" not in source.text
    assert "math" not in source.text
    assert source.text.endswith(CELL)


def test_only_an_edit_that_concerns_it_changes_the_text(cell: Run) -> None:
    """Another cell, the order in which cells are run, and the class again: the same text. Its value: another."""
    cell(BASE), cell(ACT)
    first = capture(cell(CELL)["Mine"]).sources
    names = cell("UNUSED = 7\ndef other(): pass\n" + ACT)
    cell(CELL)
    assert capture(names["Mine"]).sources == first
    cell("SCALE = 0.25")
    second = capture(names["Mine"]).sources
    assert second != first
    cell(ACT.replace("tanh", "sigmoid"))
    assert capture(names["Mine"]).sources not in (first, second)


USES = {
    # what is defined before, and what the step uses of it
    "an alias of an import": ("", "F.relu(z) + math.pi"),
    "a name imported from a module": ("from math import tau as turn", "z * turn"),
    "a type of torch": ("KIND = torch.float32", "z.to(KIND)"),
    "nested values": ("V = {'a': [1, (2,)], 'b': {3}, 'c': float('-inf')}", "z * V['a'][1][0] + len(V['b'])"),
    "a function that uses itself": ("def f(n): return 1 if n == 0 else n * f(n - 1)", "z * f(3)"),
    "functions that use each other": ("def f(n): return n and g(n - 1)\ndef g(n): return n and f(n - 1)", "z + g(4)"),
    "another name for a function": ("def f(z): return z + 1\ng = f", "g(z)"),
    "a decorated function": ("import functools\n@functools.lru_cache\ndef f(n): return n + 1", "z * f(1)"),
    "a class with a value": ("@dataclass\nclass P:\n    a: float = SCALE", "z * P().a"),
    "a class in a class": ("class Outer:\n    class Inner:\n        a = SCALE", "z * Outer.Inner.a"),
    "a comprehension": ("XS = [1, 2]", "z * sum(x * SCALE for x in XS)"),
    "a global that a function sets": ("def f():\n    global N\n    N = 3\n    return N\nN = 1", "z * f()"),
    "a module of several parts": ("import os.path", "z * len(os.path.join('a', 'b'))"),
}  # fmt: skip


@pytest.mark.parametrize("use", list(USES))
def test_what_a_cell_may_use(use: str, cell: Run) -> None:
    """Each means the same in the text as in the notebook."""
    before, expression = USES[use]
    cell(BASE), cell(before)
    names = cell(CELL.replace("act(self.w(x) + self.u(h))", expression.replace("z", "(self.w(x) + self.u(h))", 1))
                 if expression.count("z") == 1 else CELL.replace("h = act(self.w(x) + self.u(h))", f"z = self.w(x) + "
                 f"self.u(h)\n        h = {expression}"))  # fmt: skip
    assert same(names["Mine"])


def test_bases_decorators_and_defaults_come_first(cell: Run) -> None:
    """A class runs them when it is defined, so the text defines them above it."""
    cell(BASE), cell(ACT)
    cell("def mark(kind):\n    return kind\n" + CELL.replace("Mine", "First"))
    names = cell("@mark\nclass Mine(First):\n    def step(self, n=SCALE): return act(n)\n")
    assert same(names["Mine"])


def test_a_function_that_makes_a_cell(cell: Run) -> None:
    """A factory with options, of a cell of torch."""
    cell("from torch import nn\nimport cellbench")
    names = cell("def gru(i, h, bias=True):\n    return cellbench.TorchCell(nn.GRUCell(i, h, bias=bias))")
    assert same(names["gru"], bias=False)


def test_annotations_of_the_future(cell: Run) -> None:
    """A cell that postpones its annotations may name in them what is not there."""
    cell(BASE), cell(ACT)
    names = cell("from __future__ import annotations\n" + CELL.replace("self, x, h)", "self, x: torch.Tensor, h)"))
    assert same(names["Mine"])
    assert capture(names["Mine"]).sources[0].text.startswith("from __future__ import annotations\n")


def test_modules_of_ones_own_are_carried(cell: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file beside the notebook that is imported goes into the text, with what it imports; so does a class in it."""
    Path("own_gates.py").write_text("from own_more import SCALE\nimport torch\n" + ACT)
    Path("own_more.py").write_text("SCALE = 0.5\n")
    monkeypatch.syspath_prepend(Path.cwd())
    names = cell(f"{BASE}from own_gates import act\n{CELL}")
    found = capture(names["Mine"])
    assert [source.module for source in found.sources] == ["notebook.py", "own_gates.py", "own_more.py"]
    assert same(names["Mine"])
    Path("own_cell.py").write_text(f"{BASE}from own_gates import act\n{CELL}")
    names = cell("import own_cell")
    found = capture(names["own_cell"].Mine)
    assert found.factory == "own_cell.py:Mine"
    assert same(names["own_cell"].Mine)
    for module in ("own_gates", "own_more", "own_cell"):
        sys.modules.pop(module, None)


REFUSED = {
    "a tensor": ("act = torch.ones(3)", "Mine needs act, which is tensor([1., 1., 1.])"),
    "a name that is not there": ("del act", "Mine needs act, which is not defined"),
    "a lambda": ("act = lambda z: z", "Mine needs <lambda>, which is defined within a function"),
    "a closure": ("def make():\n    def act(z): return z\n    return act\nact = make()", "defined within a function"),
    "an object": ("class A: pass\nact = A()", "Mine needs act, which is <__main__.A object"),
    "a list that holds one": ("act = [torch.ones(1)]", "Mine needs act, which is [tensor([1.])]"),
    "a method put in later": ("def f(self, x, h): return h, h\nMine.forward = f", "was changed after the class was"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_no_text_can_say(case: str, cell: Run) -> None:
    """Refused before anything is run, by the name that it has in the notebook."""
    text, said = REFUSED[case]
    cell(BASE), cell(ACT), cell(CELL)
    names = cell(text)
    with pytest.raises(cellbench.CellbenchError) as error:
        cellbench.run(**{**TINY, "cells": [names["Mine"]]})
    assert said in str(error.value)
    assert "cells[0]" in str(error.value)
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (nn.GRUCell, "of an installed package"),
        (lambda i, h: None, "give a class, or a function that is defined with `def`"),
        (print, "give a class, or a function"),
    ],
)
def test_what_is_no_cell_of_a_notebook(target: Any, said: str) -> None:
    """Each with what to do instead."""
    with pytest.raises(cellbench.CellbenchError, match=said):
        capture(target)


def test_a_text_that_is_nowhere(cell: Run) -> None:
    """Defined by exec, say: there is nothing to put into the key."""
    names = cell(BASE)
    exec(ACT + CELL, names)
    with pytest.raises(cellbench.CellbenchError, match="the text of Mine cannot be found"):
        capture(names["Mine"])


def test_edited_it_alone_is_trained_again(cell: Run) -> None:
    """Through a whole run: the class beside lstm, then edited, then back; workers make it from the text."""
    cell(BASE), cell(ACT)

    def go() -> list[tuple[str, int]]:
        return sorted(trained({**TINY, "cells": [cell(CELL)["Mine"], "lstm"]}))

    assert go() == [("Mine", 0), ("Mine", 1), ("lstm", 0), ("lstm", 1)]
    assert go() == []
    cell("SCALE = 0.9")
    assert go() == [("Mine", 0), ("Mine", 1)]
    cell("SCALE = 0.5")
    assert go() == []


@pytest.mark.slow
def test_labels_and_options_beside_a_class(cell: Run) -> None:
    """As in a file: `factory` is the class. Two classes of one name are two cells."""
    cell(BASE), cell(ACT)
    old = cell(CELL)["Mine"]
    new = cell(CELL.replace("act(", "F.relu("))["Mine"]
    cells = [{"factory": old, "label": "old"}, {"factory": new, "options": {"twice": True}}]
    found = cellbench.run(**{**TINY, "cells": cells}, workers=2, report=False)
    assert list(dict.fromkeys(found.runs.label)) == ["old", "Mine"]
    assert set(found.runs.status) == {"censored"}
    assert found.model(label="old", seed=0).cell is not None
    assert captured.NAME == "notebook.py"
