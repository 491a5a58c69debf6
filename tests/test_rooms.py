"""The house: imports go down the floors, a library is known to as few rooms as can be; read from the source.

And its tests: each room has a folder of them, they take helpers and nothing out of each other, and use doors.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cellbench

HOUSE = Path(cellbench.__file__).parent
TESTS = Path(__file__).parent
ROOT = TESTS.parent

FLOORS = (
    # an entry imports entries of lower floors only; "" is the package's own face, cellbench/__init__.py
    ("errors", "wording", "usercache", "records", "streams", "statistics", "cell", "compiler"),
    ("task", "store", "summary"),
    ("hookspecs", "report"),
    ("plugins", "cells", "tasks"),
    ("environment", "experiment", "model", "scaffold"),
    ("engines",),
    ("training",),
    ("planning", "executors", "conformance", "results"),
    ("running",),
    ("terminal",),
    ("",),
    ("cli",),
    ("__main__",),
)
NARROWER = {
    # entries that import fewer of ours than their floor allows
    "errors": set(), "wording": set(), "usercache": set(), "records": set(), "streams": set(), "statistics": set(),
    "cell": set(), "compiler": set(),
    "summary": {"statistics", "wording"},
    "report": {"summary", "errors", "wording", "usercache"},
    "store": {"records", "errors", "wording"},
    "executors": {"errors", "records", "training", "wording"},
}  # fmt: skip
LIBRARIES = {
    # a library, and the entries or modules that know it
    "altair": {"report"},
    "dask": {"executors"},
    "distributed": {"executors"},
    "IPython": {"terminal"},
    "filelock": {"store"},
    "jinja2": {"report"},
    "markupsafe": {"report"},
    "pandas": {"store.frames", "summary", "report", "results"},
    "platformdirs": {"usercache"},
    "pluggy": {"hookspecs", "plugins"},
    "pydantic": {"experiment"},
    "pydantic_core": {"experiment"},
    "rich": {"terminal"},
    "scipy": {"statistics", "terminal"},
    "sqlite3": {"store"},
    "tabulate": {"report"},
    "torch": {"cell", "cells", "model", "engines", "training", "conformance"},
    "typer": {"cli"},
    "vl_convert": {"report"},
    "yaml": {"experiment", "report"},
}
EVERYWHERE = {"numpy"}


def modules() -> list[Path]:
    return sorted(HOUSE.rglob("*.py"))


def of_tests() -> list[Path]:
    """Test files, helpers and fixtures; not what other versions wrote."""
    return sorted(path for path in TESTS.rglob("*.py") if "stored" not in path.parts)


def ours_beside() -> list[Path]:
    """What is beside the package and uses it: tests, benchmarks, and the scripts of the documentation."""
    return [*of_tests(), *sorted((ROOT / "benchmarks").glob("*.py")), *sorted((ROOT / "docs").glob("*.py"))]


def name_of(path: Path) -> str:
    """The module's dotted name within the house, faces by their room's: `store.frames`, `store`, empty for the face."""
    parts = path.relative_to(HOUSE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def entry_of(path: Path) -> str:
    return name_of(path).partition(".")[0]


def imported(path: Path) -> Iterator[str]:
    """Dotted names imported anywhere in a module, types and function bodies included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            if node.module == "cellbench":
                # `from cellbench import x`: an entry of the house, or a name of its face
                yield from (f"cellbench.{a.name}" if is_entry(a.name) else "cellbench" for a in node.names)
            else:
                yield node.module or ""


def is_entry(name: str) -> bool:
    return (HOUSE / name).is_dir() or (HOUSE / f"{name}.py").exists()


def ours(path: Path) -> set[str]:
    """The entries that a module imports."""
    return {n.partition(".")[2].partition(".")[0] for n in imported(path) if n.split(".")[0] == "cellbench"}


def floor(entry: str) -> int:
    (found,) = (number for number, entries in enumerate(FLOORS) if entry in entries)
    return found


def test_every_entry_stands_on_one_floor() -> None:
    """The floors name each entry once, and none that is not there."""
    named = [entry for entries in FLOORS for entry in entries]
    assert sorted(named) == sorted({entry_of(path) for path in modules()})
    assert set(NARROWER) <= set(named)


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(HOUSE).as_posix())
def test_imports_go_down_the_floors(path: Path) -> None:
    """A module imports entries of lower floors, and of those only what its own is allowed."""
    here = entry_of(path)
    others = ours(path) - {here}
    assert not [other for other in others if floor(other) >= floor(here)]
    assert others <= NARROWER.get(here, others)


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(HOUSE).as_posix())
def test_a_library_is_known_to_few(path: Path) -> None:
    """Reports know no torch, training no YAML and no SQL; the table has every library."""
    libraries = {n.split(".")[0] for n in imported(path)} - set(sys.stdlib_module_names) - EVERYWHERE - {"cellbench"}
    libraries |= {"sqlite3"} & {n.split(".")[0] for n in imported(path)}
    where = {name_of(path), entry_of(path)}
    assert not [library for library in libraries if not where & LIBRARIES.get(library, set())]


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_the_table_of_libraries_grants_nothing_in_vain(library: str) -> None:
    """Each room in the table does import the library."""
    for room in LIBRARIES[library]:
        files = [p for p in modules() if room in (name_of(p), entry_of(p))]
        assert any(n.split(".")[0] == library for p in files for n in imported(p)), room


DOTTED = re.compile(r"\bcellbench(?:\.[A-Za-z_][A-Za-z0-9_]*)+")
TAKEN = re.compile(r"\bfrom (cellbench[A-Za-z0-9_.]*) import ([A-Za-z0-9_, ]+)")


def test_strings_name_modules_that_are_there() -> None:
    """Preloads, lazy names, processes started with `-c`, mocks in tests: no type checker sees a module in a string."""
    named = set()
    for path in [*modules(), *ours_beside()]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named |= {(path.name, text) for text in DOTTED.findall(node.value)}
                for module, names in TAKEN.findall(node.value):
                    named |= {(path.name, f"{module}.{name.split()[0]}") for name in names.split(",") if name.strip()}
    assert len(named) > 20
    assert not [(file, text) for file, text in sorted(named) if not resolves(text)]


def resolves(dotted: str) -> bool:
    """Whether a name is a module of ours, or a chain of attributes of one."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.util.find_spec(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        if found is not None:
            value = importlib.import_module(".".join(parts[:length]))
            for part in parts[length:]:
                if not hasattr(value, part):
                    # a dataclass's field without a default
                    return part in getattr(value, "__dataclass_fields__", {})
                value = getattr(value, part)
            return True
    return False


DOORS = {
    # beside what its face offers, the modules of a room that other rooms import
    "engines": {"device", "footprint", "lanes", "history", "lanes.build", "on_torch", "reference", "optimizers"},
    "executors": {"dispatch", "dask", "private"},
    "experiment": {"argument", "profile", "until_decided"},
    "model": {"sizes", "weights"},
    "plugins": {"captured", "own_tasks", "sources"},
    "conformance": {"quick", "report", "subject", "task_laws", "task_subject"},
    "running": {"code", "verify"},
    "results": {"matrix", "pick", "seal", "several", "standing"},
    "store": {"answers", "earlier", "frames", "merge", "neighbours", "replica", "tally", "weights"},
    "cells": {"lstm"},
    "tasks": {"binary_addition"},
    "report": {"by_task", "csv", "files", "inline", "matrix", "ranking", "report", "screen", "tables"},
    "statistics": {"arrays", "comparison", "intervals", "learning_rate", "looks", "ranks", "survival"},
    "summary": {
        "by_task",
        "design",
        "figures",
        "inventory",
        "looked",
        "matrix",
        "plans",
        "selection",
        "staging",
        "words",
    },
    "terminal": {"output", "progress", "session"},
    "training": {"again", "data", "drawn", "fingerprint", "loop", "single", "timeout", "worker"},
}


def rooms() -> list[Path]:
    return sorted(p.parent for p in HOUSE.rglob("__init__.py") if p.parent != HOUSE)


def taken(path: Path) -> Iterator[tuple[str, str]]:
    """What a module imports of ours: (module, name)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cellbench."):
            yield from ((str(node.module).partition(".")[2], alias.name) for alias in node.names)


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(HOUSE).as_posix())
def test_other_rooms_are_entered_by_their_doors(path: Path) -> None:
    """A module takes from another room what its face offers, or a module that is a door; from its own, modules."""
    for module, name in taken(path):
        room, _, inner = module.partition(".")
        if not (HOUSE / room).is_dir():
            continue
        if room == entry_of(path):
            assert inner or (HOUSE / room / f"{name}.py").exists(), f"{path.name} imports its own face"
            continue
        doors = DOORS.get(room, set())
        if inner:
            assert inner in doors, f"{path.name}: {module} is no door"
        else:
            offered = importlib.import_module(f"cellbench.{room}")
            assert name in getattr(offered, "__all__", ()) or name in doors, f"{path.name}: {room} offers no {name}"


@pytest.mark.parametrize("room", rooms(), ids=lambda p: p.relative_to(HOUSE).as_posix())
def test_a_face_holds_no_logic(room: Path) -> None:
    """A face is a sentence, imports and the list of its doors; cells and tasks register through their hooks there."""
    if room.name in ("cells", "tasks"):
        return
    tree = ast.parse((room / "__init__.py").read_text())
    first, *rest = tree.body
    assert isinstance(first, ast.Expr), "no sentence"
    for node in rest:
        listed = isinstance(node, ast.Assign | ast.AnnAssign | ast.Expr)
        assert listed or isinstance(node, ast.Import | ast.ImportFrom)
    offered = getattr(importlib.import_module(f"cellbench.{'.'.join(room.relative_to(HOUSE).parts)}"), "__all__", [])
    assert not [name for name in offered if (room / f"{name}.py").exists()], "a door bears the name of a file"


OF_KINDS = {"task", "model.objective", "training.drawn", "plugins.arrays"}
"""Where a task's kind is looked at, of which one is `bits`."""


def test_nothing_outside_tasks_speaks_of_bits_to_add() -> None:
    """The task's own words, its parameter `bits` and the carry, stay in its room."""
    for path in modules():
        if entry_of(path) in ("tasks", "conformance", "scaffold"):
            continue
        tree = ast.parse(path.read_text())
        docs = {id(n.body[0].value) for n in ast.walk(tree)
                if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef) and n.body
                and isinstance(n.body[0], ast.Expr)}  # fmt: skip
        words = [n.value for n in ast.walk(tree)
                 if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in docs]  # fmt: skip
        own = {"carry", "carry_chain"} | ({"bits"} if name_of(path) not in OF_KINDS else set())
        assert not [w for w in words if w in own], path


CROSSING = {
    # tests that belong to no room, and what they are about
    "awkward": "cells as people bring them, through whole runs",
    "benchmarks": "programs outside the package",
    "docs": "the pages, held against the package",
    "faults": "what goes wrong with machines, done on purpose",
    "fuzz": "texts, stores and plugins that nobody would write",
    "fuzz_folders": "folders that no friend would send",
    "kinds": "tasks of classes and of numbers, through whole runs",
    "oracles": "an adder whose weights are known, through a whole run",
    "original": "the experiment that this project began with",
    "readme_table": "a script of this repository, in plugins/",
    "real_runs": "runs at the sizes that people use",
    "rooms": "this",
    "stored": "results that another version wrote",
    "tutorial": "the tutorial, command by command",
    "zoo": "the plugins' cells together",
    "machines": "machines that lack something, or have little of it",
    "smoke": "what every environment must pass, from the command line to the page",
}
NAMED_OTHERWISE = {
    # tests in a room that bear the name of none of its modules, and why
    "cells/test_cells.py": "the three built-in cells beside torch's layers",
    "engines/lanes/test_cells.py": "cells unlike an LSTM, from trace to proof",
    "engines/lanes/test_functions.py": "runtime/lanes.h, compiled alone",
    "engines/lanes/test_random_cells.py": "the compiler as a whole, on random cells",
    "engines/lanes/test_traits.py": "lanes as a whole, on cells that each have one trait",
    "engines/lanes/test_losses.py": "a header of the runtime: the losses of each kind",
    "engines/test_kinds.py": "tasks of every kind, by each engine",
    "engines/test_packages.py": "cells of other packages, stepped by each engine and by themselves",
    "report/test_browser.py": "the page, in a browser",
    "statistics/test_doctests.py": "the worked numbers of every module's docstrings",
    "statistics/test_looks_simulations.py": "the error rates of seeds until decided",
    "statistics/test_simulations.py": "the method's error rates",
    "statistics/test_tuning_simulated.py": "the error rates of settings that are picked",
}


def test_every_room_has_its_tests() -> None:
    """A folder of tests for each room of the house, and none for what is no room."""
    folders = {path.relative_to(TESTS).parts[0] for path in of_tests() if path.name.startswith("test_")}
    folders -= {path.name for path in TESTS.glob("test_*.py")}
    assert folders == {room.name for room in rooms() if room.parent == HOUSE}


def test_a_test_is_named_after_its_module() -> None:
    """tests/store/test_merge.py is about store/merge.py; what is named otherwise says why, and nothing else does."""
    for path in of_tests():
        if path.name.startswith("test_"):
            place, subject = path.relative_to(TESTS), path.stem.removeprefix("test_")
            top = place.parent == Path()
            found = list((HOUSE.glob if top else (HOUSE / place.parent).rglob)(f"{subject}.py"))
            excused = subject in CROSSING if top else place.as_posix() in NAMED_OTHERWISE
            assert bool(found) != excused, f"{place}: no module {subject}, or a needless excuse"


def test_excuses_are_of_tests_that_are_there() -> None:
    """A test that is gone needs none."""
    assert all((TESTS / f"test_{name}.py").exists() for name in CROSSING)
    assert all((TESTS / name).exists() for name in NAMED_OTHERWISE)


def taken_of_tests(path: Path) -> Iterator[str]:
    """Modules under tests/ that a module imports, or names in a string, as processes that it starts do."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "tests":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "tests")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"\btests(?:\.[a-z_]+)+(?!\w|/)", node.value)


def test_tests_take_nothing_out_of_each_other() -> None:
    """What several need is in tests/helpers; a test may name itself, for a process that it starts."""
    for path in ours_beside():
        own = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        taken = {name for name in taken_of_tests(path) if not (name == own or name.startswith(f"{own}."))}
        assert not [name for name in taken if re.search(r"\.(test_\w+|conftest)\b", name)], path


PRIVATE = re.compile(r"_[a-z]\w*")
DOTTED_PRIVATE = re.compile(r"\bcellbench(?:\.\w+)*\._[a-z]\w*")


def private(text: str) -> Iterator[str]:
    """Private names that a text reaches for: what begins with _ and is not its own object's.

    As an attribute, an import, a dotted name in a string, or a name that is handed to setattr and its like; in the
    programs too that a text hands to other processes as strings. Libraries' are left to their own judgement.
    """
    tree = ast.parse(text)
    libraries = {
        (alias.asname or alias.name).partition(".")[0]
        for node in ast.walk(tree) if isinstance(node, ast.Import)
        for alias in node.names if not alias.name.startswith("cellbench")
    }  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and PRIVATE.fullmatch(node.attr):
            whose = ast.unparse(node.value)
            if whose not in ("self", "cls") and whose.partition(".")[0] not in libraries:
                yield ast.unparse(node)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cellbench"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names if PRIVATE.fullmatch(alias.name))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2].endswith("attr"):
            names = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            yield from (name for name in names if PRIVATE.fullmatch(name))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from DOTTED_PRIVATE.findall(node.value)
            if "\n" in node.value:
                with contextlib.suppress(SyntaxError, ValueError):
                    yield from private(node.value)


def test_private_names_stay_private() -> None:
    """Tests and benchmarks use doors: what they need of a module has a public name, with a docstring."""
    assert not {path.name: found for path in ours_beside() if (found := list(private(path.read_text())))}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import OURS\nOURS.store._rows", ["OURS.store._rows"]),
        ("executor._pool._processes", ["executor._pool._processes", "executor._pool"]),
        ("self.executor._pool", ["self.executor._pool"]),
        ("from OURS.store import _rows, merge", ["OURS.store._rows"]),
        ("patch.setattr(store, '_rows', 3)", ["_rows"]),
        ("patch.setattr('OURS.store._rows', 3)", ["OURS.store._rows"]),
        ("CODE = 'from OURS.store import x\\nx._rows'", ["x._rows"]),
        ("import torch\ntorch._dynamo.reset()\nself._x = __name__ or f.__code__", []),
    ],
)
def test_private_names_are_found(text: str, found: list[str]) -> None:
    """In each of the ways that one can reach for one."""
    assert list(private(text.replace("OURS", "cellbench"))) == [name.replace("OURS", "cellbench") for name in found]
