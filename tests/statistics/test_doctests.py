"""The worked numbers in the docstrings are true, and the statistics need numpy and scipy alone."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
import sys
from pathlib import Path

import pytest

import cellbench.statistics
import cellbench.summary

MODULES = [
    "cellbench.report.tables",
    "cellbench.report.rows",
    "cellbench.report.latex",
    *(f"cellbench.{room.__name__.split('.')[1]}.{module.name}"
      for room in (cellbench.statistics, cellbench.summary) for module in pkgutil.iter_modules(room.__path__)),
]  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    """Every example of a docstring prints what it says."""
    failures, _ = doctest.testmod(importlib.import_module(name))
    assert failures == 0


@pytest.mark.parametrize("path", sorted(Path(cellbench.statistics.__path__[0]).glob("*.py")), ids=lambda p: p.name)
def test_statistics_need_numpy_and_scipy_alone(path):
    """No pandas, no torch, nothing of ours: usable by whoever has arrays."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            first = name.split(".")[0]
            assert first in {"numpy", "scipy"} | sys.stdlib_module_names or name.startswith("cellbench.statistics")


def test_every_public_function_of_the_statistics_has_an_example():
    """Estimator in words, and a worked number."""
    for module in pkgutil.iter_modules(cellbench.statistics.__path__):
        found = importlib.import_module(f"cellbench.statistics.{module.name}")
        for name, thing in vars(found).items():
            if callable(thing) and getattr(thing, "__module__", "") == found.__name__ and name[0].islower():
                assert ">>>" in (thing.__doc__ or ""), f"{found.__name__}.{name}"
