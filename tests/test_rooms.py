"""Imports are a fan: leaves at the bottom, the wiring over the rooms, the command line on top; read from the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import cellbench

HOUSE = Path(cellbench.__file__).parent

MAY = {
    # a room: what it may import of ours ("" stands for cellbench/__init__)
    "": {"errors"},
    "errors": set(),
    "contained": set(),
    "records": set(),
    "schedule": set(),
    "hookspecs": {"cell", "task"},  # for types alone
    "streams": set(),
    "statistics": set(),
    "cell": set(),
    "task": {"streams"},
    "cells": {"", "cell", "hookspecs"},
    "tasks": {"", "streams", "task", "hookspecs"},
    "plugins": {"", "errors", "hookspecs"},
    "sources": {"contained", "errors", "plugins", "records"},
    "yamlfile": {"errors"},
    "keys": {"errors", "yamlfile"},
    "experiment": {"", "contained", "errors", "keys", "plugins", "records", "schedule", "sources", "task", "yamlfile"},
    "grid": {"experiment", "records"},
    "training": {"", "cell", "contained", "errors", "plugins", "records", "schedule", "sources", "streams", "task"},
    "folder": {"errors"},
    "checksum": set(),
    "schema": set(),
    "store": {"", "checksum", "errors", "schema", "folder", "records"},
    "frames": {"store"},
    "stored": {"records", "store"},
    "merge": {"errors", "folder", "store"},
    "verify": {"", "environment", "errors", "plugins", "records", "sources", "store", "stored", "training"},
    "agreement": {"errors", "executors", "records", "training"},
    "summary": {"statistics"},
    "report": {"errors", "summary"},
    "guess": {"errors", "records", "schedule", "streams", "task"},
    "executors": {"errors"},
    "dispatch": {"executors", "records"},
    "environment": {"", "plugins"},
    "terminal": set(),
    "results": {"", "environment", "errors", "frames", "report", "store", "summary"},
}
KNOWS_TORCH = {"cell", "cells", "training", "conformance"}


def modules() -> list[Path]:
    return sorted(HOUSE.rglob("*.py"))


def room(path: Path) -> str:
    first = path.relative_to(HOUSE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imported(path: Path) -> set[str]:
    """Dotted names imported anywhere in a module, types and function bodies included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            if node.module == "cellbench":
                names |= {f"cellbench.{alias.name}" for alias in node.names if (HOUSE / f"{alias.name}.py").exists()
                          or (HOUSE / alias.name).is_dir()}  # fmt: skip
    return names


def ours(path: Path) -> set[str]:
    return {n.split(".")[1] if "." in n else "" for n in imported(path) if n.split(".")[0] == "cellbench"}


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(HOUSE).as_posix())
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    """Each room's imports of ours stay within the table."""
    here = room(path)
    if here == "":
        return  # a table of contents: names load lazily
    if here in MAY:
        beyond = ours(path) - MAY[here] - {here}
        assert not beyond, f"{path.name} imports {beyond}"
    else:
        # run, cli and what stands beside them: anything but the cli
        assert "cli" not in ours(path) or here == "__main__"


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(HOUSE).as_posix())
def test_only_the_rooms_that_train_know_torch(path: Path) -> None:
    """Reports, the store and the statistics never import torch, and training knows no YAML, SQL or terminal."""
    names = {n.split(".")[0] for n in imported(path)}
    if room(path) not in KNOWS_TORCH:
        assert "torch" not in names
    if room(path) == "training":
        assert not names & {"yaml", "sqlite3", "rich", "typer", "pandas"}
    if room(path) == "statistics":
        assert names - set(__import__("sys").stdlib_module_names) <= {"numpy", "scipy", "cellbench"}


def test_nothing_outside_tasks_speaks_of_bits_to_add() -> None:
    """The task's own words, its parameter `bits` and the carry, stay in its room."""
    for path in modules():
        if room(path) in ("tasks", "conformance", "scaffold"):
            continue
        tree = ast.parse(path.read_text())
        docs = {id(n.body[0].value) for n in ast.walk(tree)
                if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef) and n.body
                and isinstance(n.body[0], ast.Expr)}  # fmt: skip
        words = [n.value for n in ast.walk(tree)
                 if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in docs]  # fmt: skip
        assert not [w for w in words if w in ("bits", "carry", "carry_chain")], path
