"""Anything at all where a user, a plugin or a file may put it: sound, or a message; never a traceback.

10,000 inputs each in the slow suite; CELLBENCH_FUZZ=100000 makes it more.
"""

from __future__ import annotations

import csv
import importlib.metadata
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellbench.errors import CellbenchError, ExperimentError
from cellbench.experiment import load
from cellbench.plugins import discover
from cellbench.plugins import discovery as plugins
from cellbench.results import results
from cellbench.running import run as run_experiment
from tests.helpers.cells import MINE
from tests.helpers.commands import TINY, Command
from tests.helpers.fuzz import MANY, READERS, TABLES
from tests.helpers.runs import reseal

REGISTRY = discover()

KEYS = [
    "name",
    "task",
    "cells",
    "baseline",
    "engine",
    "grid",
    "seeds",
    "learning_rate",
    "train",
    "evaluate",
    "solved",
    "final",
    "report",
    "readout",
    "max_steps",
    "timeout",
    "bits",
    "hidden_size",
    "0",
    "1",
    "-1",
    "label",
    "options",
    "every",
    "examples",
    "threshold",
    "x",
    "9" * 5000,
    "",
]
VALUES = [
    "",
    "1",
    "-1",
    "0",
    "1e999",
    ".nan",
    ".inf",
    "true",
    "null",
    "~",
    "[]",
    "{}",
    "[1, 2]",
    "{a: 1}",
    "rnn",
    "[rnn]",
    "*a",
    "&a [*a]",
    "!!python/object/apply:os.system [ls]",
    "2026-01-01",
    "0x10",
    "1_000",
    "9" * 400,
    "'",
    "[[",
    "é",
    "1-3",
    "5-1",
    "0o7",
    "!!binary aGk=",
    "{1: {2: {3: 4}}}",
    "<<: {a: 1}",
    "!!bool maybe",
    '!!int ""',
    '!!float ""',
    "!!timestamp foo",
    "!!null x",
    "!!set [a]",
    "!!omap 1",
    "!!map []",
    "!what 1",
    "1000000000",
    "&a [&b [*a, *b], *b]",
]
ASSIGNMENT = st.one_of(
    st.text(max_size=30),
    st.builds(
        lambda keys, value: f"{'.'.join(keys)}={value}",
        st.lists(st.one_of(st.sampled_from(KEYS), st.text(max_size=5)), min_size=1, max_size=4),
        st.one_of(st.sampled_from(VALUES), st.text(max_size=12), st.integers().map(str), st.floats().map(str)),
    ),
    st.builds(
        lambda key, i, value: f"{key}[{i}]={value}", st.sampled_from(KEYS), st.integers(-2, 9), st.text(max_size=4)
    ),
)


def fuzz_set(assignments: list[str]) -> None:
    try:
        experiment = load(TINY, REGISTRY, overrides=assignments)
    except ExperimentError as error:
        said = str(error)
        assert said.endswith("nothing was run.")
        assert error.exit_status == 2  # noqa: PT017
    else:
        assert experiment.seeds
        json.dumps(experiment.resolved(), allow_nan=False)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ASSIGNMENT, min_size=1, max_size=3))
def test_any_set(assignments: list[str]) -> None:
    """Whatever stands after --set, what comes is a sound experiment or faults."""
    fuzz_set(assignments)


@pytest.mark.slow
@settings(max_examples=MANY, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ASSIGNMENT, min_size=1, max_size=3))
def test_any_set_ten_thousand_times(assignments: list[str]) -> None:
    """The same, ten thousand times."""
    fuzz_set(assignments)


ODD = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.binary(max_size=8),
    st.text(max_size=80),
    st.lists(st.integers(), max_size=2),
    st.sampled_from(
        [
            "rnn",
            "../../etc/passwd",
            "a/b",
            "<script>",
            "=1+1",
            "x" * 100_000,
            "con",
            "\x00",
            "\ud800",
            "A",
            "ok",
            "package:Class",
            "os:system",
            "no.such.module:X",
            ":",
            "a:",
            "a.b:C.d",
            print,
            object(),
            {},
            {"a": 1},
        ]
    ),
)


class Liar:
    """Raises at whatever is asked of it."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    def __hash__(self) -> int:
        raise RuntimeError("no hash")


REGISTRATION = st.fixed_dictionaries(
    {},
    optional={
        name: st.one_of(ODD, st.builds(Liar))
        for name in ("name", "factory", "description", "reference", "defaults", "other")
    },
)


def found_with(registrations: list[dict[str, Any]]) -> plugins.Registry:
    """What is found when a plugin registers these."""
    from cellbench import hookimpl

    class Plugin:
        @staticmethod
        @hookimpl
        def register_cells(register: Callable[..., None]) -> None:
            for keys in registrations:
                register(**keys)

    point = SimpleNamespace(name="odd", value="odd", load=lambda: Plugin)
    distribution = SimpleNamespace(metadata={"Name": "cellbench-odd"}, version="1")
    return plugins.discover([*plugins.entry_points(), (point, distribution)])


def fuzz_registrations(registrations: list[dict[str, Any]]) -> None:
    registry = found_with(registrations)
    assert {"rnn", "lstm", "gru"} <= {*registry.cells, *(c.name for c in registry.clashes)}
    for said in (*registry.broken, *registry.clashes):
        assert len(str(said)) < 2000
        assert str(said).isprintable(), repr(str(said))
    for name, entry in registry.cells.items():
        assert plugins.NAME.match(name)
        if entry.distribution == "cellbench-odd":
            try:
                load({**TINY, "cells": [name]}, registry)
            except CellbenchError as error:
                assert "cellbench-odd" in str(error) or name in str(error)  # noqa: PT017


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(REGISTRATION, min_size=1, max_size=3))
def test_any_registration(registrations: list[dict[str, Any]]) -> None:
    """Whatever a plugin registers, the others are there, and what is wrong with it is one line."""
    fuzz_registrations(registrations)


@pytest.mark.slow
@settings(max_examples=max(1, MANY // 10), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(REGISTRATION, min_size=1, max_size=3))
def test_any_registration_a_thousand_times(registrations: list[dict[str, Any]]) -> None:
    """The same, a thousand times."""
    fuzz_registrations(registrations)


def test_a_plugin_of_the_wrong_kind() -> None:
    """Hooks that raise, exit, or register after they returned: broken or ignored, and named."""
    from cellbench import hookimpl

    kept: list[Callable[..., None]] = []

    class Exits:
        @staticmethod
        @hookimpl
        def register_cells(register: Callable[..., None]) -> None:
            kept.append(register)
            raise SystemExit("a plugin must not end the program")

    point = SimpleNamespace(name="odd", value="odd", load=lambda: Exits)
    distribution = SimpleNamespace(metadata={"Name": "cellbench-odd"}, version="1")
    registry = plugins.discover([*plugins.entry_points(), (point, distribution)])
    assert [b.distribution for b in registry.broken] == ["cellbench-odd"]
    assert "SystemExit: a plugin must not end the program" in str(registry.broken[0])
    assert importlib.metadata.version("cellbench")


CELL_VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.sampled_from(
        ["{}", "[]", "null", '{"bits": 4}', '{"bits": "x"}', "[" * 5000, "censored", "machine", "../../x", "rnn"]
    ),
)
CHANGE = st.sampled_from([(t, c) for t, columns in TABLES.items() for c in columns])
JSON_PATHS = [
    "$.name",
    "$.cells",
    "$.cells[0]",
    "$.seeds",
    "$.seeds[0]",
    "$.train",
    "$.train.max_steps",
    "$.final.examples",
    "$.solved.threshold",
    "$.axes",
    "$.evaluation_steps",
    "$.packages",
    "$.plugins",
    "$.baseline",
    "$.report",
    "$.learning_rate",
    "$.task",
    "$.reference_accuracies",
    "$.evaluate",
    "$.final",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "out"
    run_experiment({**TINY, "seeds": 2}, folder, report=False)
    return folder


def fuzz_store(made: Path, command: Command, examples: int) -> dict[str, int]:
    """Change a value of a store, seal it again, and ask every command that reads it."""
    ends: dict[str, int] = {}

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(st.tuples(CHANGE, CELL_VALUES, st.sampled_from([None, *JSON_PATHS])), min_size=1, max_size=2))
    def each(changes: list[tuple[tuple[str, str], Any, str | None]]) -> None:
        shutil.rmtree("hand", ignore_errors=True)
        shutil.copytree(made, "hand")
        with closing(sqlite3.connect("hand/runs.sqlite")) as db, db:
            db.execute("PRAGMA ignore_check_constraints = ON")
            for (table, column), value, path in changes:
                if table == "experiment" and path and not isinstance(value, bytes):
                    text = json.dumps(value)
                    query = (
                        f"UPDATE experiment SET {column} = json_set({column}, ?, json(?)) WHERE json_valid({column})"
                    )
                    arguments: tuple[Any, ...] = (path, text if json_sound(text) else "null")
                else:
                    query = f"UPDATE OR IGNORE {table} SET {column} = ? WHERE rowid = (SELECT min(rowid) FROM {table})"
                    if table in ("curve", "evaluation"):
                        query = f"UPDATE OR IGNORE {table} SET {column} = ? WHERE replica = 1"
                    arguments = (value,)
                try:
                    db.execute(query, arguments)
                except (sqlite3.IntegrityError, sqlite3.OperationalError, UnicodeEncodeError):
                    return  # sqlite itself would not have it
        try:
            reseal(Path("hand"))
        except sqlite3.Error:
            return
        for name, ask in READERS.items():
            shutil.rmtree("to", ignore_errors=True)
            try:
                ask()
            except CellbenchError as error:
                assert str(error)  # noqa: PT017
                ends[f"{name} told"] = ends.get(f"{name} told", 0) + 1
            else:
                ends[f"{name} well"] = ends.get(f"{name} well", 0) + 1
        ended = command("status", "hand")
        assert ended.status in (0, 2)

    each()
    return ends


def json_sound(text: str) -> bool:
    try:
        json.loads(text, parse_constant=lambda name: 1 / 0)
    except (ValueError, ZeroDivisionError, RecursionError):
        return False
    return True


def test_any_store(made: Path, command: Command) -> None:
    """A store altered by hand, checksums and all: each reader does its work or says what is wrong."""
    assert fuzz_store(made, command, 12)


@pytest.mark.slow
def test_any_store_many_times(made: Path, command: Command) -> None:
    """The same, many times; what the readers said is counted."""
    ends = fuzz_store(made, command, max(1, MANY // 200))
    print(f"\n  counted: {dict(sorted(ends.items()))}")
    assert all(any(name in end for end in ends) for name in READERS)


HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "@SUM(A1)",
    "[x](javascript:alert(1))",
    "a|b",
    "**b**",
    "\\input{/etc/passwd}",
    "50% & $x_1$ #~^{}",
    "../../up",
    "`x`",
    "{{7*7}}",
    "a;=1+1",
    'b; "=1+1"',
    "c;＝1+1",
]


@pytest.mark.slow
@pytest.mark.charts
def test_names_cannot_escape(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hostile labels and a hostile file of a cell, in every file that a run writes: text, and nothing else."""
    Path("x.py").write_text(MINE)
    cells = [{"name": "rnn", "label": label, "options": {}} for label in HOSTILE]
    cells += [{"name": "<b>'\"name", "label": "named", "factory": "./x.py:Mine"}]
    run_experiment({**TINY, "cells": cells, "seeds": 1, "baseline": HOSTILE[0]}, "out", report=False)
    results.write(Path("out"))
    outside = sorted(p.name for p in Path().iterdir())
    assert outside == ["out", "x.py"], "something was written beside the folder"
    page = Path("out/report.html").read_text()
    for bad in ("<script>alert", "<img src=x", "<b>'"):
        assert bad not in page, bad
    for path in Path("out").glob("*.csv"):
        with path.open(newline="") as file:
            for row in csv.reader(file):
                for value in row:
                    numeric = value[1:2].isdigit() or value[1:4] in ("inf", "nan")
                    assert value[:1] not in ("=", "@"), (path, value)
                    assert not value or value[:1] not in "+-" or numeric, (path, value)
        # where commas are decimal, spreadsheets divide at semicolons
        with path.open(newline="") as file:
            for row in csv.reader(file, delimiter=";"):
                assert not [value for value in row if value.lstrip(' "')[:1] in ("=", "@", "＝")], (path, row)
        text = path.read_text()
        assert "'=cmd" in text or "rnn" not in text
    markdown = Path("out/summary.md").read_text()
    assert "<script" not in markdown
    assert "<img" not in markdown
    assert "[x](javascript" not in markdown
    tex = Path("out/summary.tex").read_text()
    assert "\\input{" not in tex
    assert "\\textbackslash" in tex
    said = command("report", "out")
    assert said.status == 0


@pytest.mark.parametrize(
    "name", ["../up", "/abs", "a/b", ".", "..", "", "a\x00b", "x" * 101, "-rf", "con/../x", "~", "a\nb"]
)
def test_a_name_that_is_a_path_is_refused(name: str, command: Command, write: Callable[..., Path]) -> None:
    """The experiment's name names a folder within the results folder, whatever it is."""
    ended = command("run", write(name=name))
    assert ended.status == 2
    assert "name: is " in ended.err
    assert sorted(p.name for p in Path().iterdir()) == ["tiny.yaml"]


def test_nothing_is_unpickled() -> None:
    """No module of cellbench reads pickles; one law of a cell is that it survives being pickled, in memory."""
    import cellbench

    for path in Path(cellbench.__file__).parent.rglob("*.py"):
        if path.parent.name == "conformance":
            continue
        text = path.read_text()
        words = ("import pickle", "pickle.load", "torch.load", "read_pickle", "allow_pickle=True")
        assert not any(word in text for word in words), path
