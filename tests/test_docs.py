"""The documentation is tied to the code: generated parts are fresh, tables name what exists, commands are real."""

from __future__ import annotations

import doctest
import importlib.util
import math
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.main import get_command

import cellbench
from cellbench import hookspecs
from cellbench.cli import app
from cellbench.conformance import Subject, checks, subject_of_task, task_checks
from cellbench.experiment.sections import Keys
from cellbench.report import csv
from cellbench.report.csv import CURVES, RUNS
from cellbench.report.rows import HEADS
from cellbench.store import VOLATILE
from cellbench.streams import Stream

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_generated_parts_are_fresh(page: Path) -> None:
    """`python docs/generate.py` changes nothing."""
    text = page.read_text()
    assert generator().generated(text) == text, "stale: run python docs/generate.py"


def headings(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    heads = re.findall(r"(?m)^#+ (.+)$", page.read_text())
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md"], ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    """A link between pages names a file that is there, and a heading that it has."""
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        assert file.exists(), target
        assert not anchor or anchor in headings(file), target


def test_the_json_schema_is_fresh() -> None:
    """The schema that the shipped experiments point at is the one that `cellbench schema` prints."""
    assert (ROOT / "experiments/experiment.schema.json").read_text() == generator().json_schema()


def test_every_key_is_explained() -> None:
    """The experiment page names every key of the file."""
    text = (ROOT / "docs/experiment.md").read_text()
    for name in Keys.model_fields:
        assert f"`{name}" in text, name


def test_every_column_is_explained() -> None:
    """The results page names every column of runs.csv and curves.csv, and the volatile ones."""
    text = (ROOT / "docs/results.md").read_text()
    for name in {*RUNS, *CURVES, *VOLATILE} - {"*axes"}:
        assert f"`{name.removeprefix('*')}`" in text, name


def test_the_lines_that_read_a_csv_file_are_exact() -> None:
    """The results page's own lines give every number as Python reads it, and a cell labelled NA stays a text."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/results.md").read_text(), re.DOTALL)
    code = next(block for block in blocks if "read_csv" in block)
    values = np.random.default_rng(0).random(3000) * 10.0 ** np.arange(-12, 18).repeat(100)
    written = pd.DataFrame({"label": ["NA", "null", "lstm"] * 1000, "final_loss": values})
    written.loc[7, "final_loss"] = math.nan
    csv.write(written, Path("runs.csv"))
    made: dict[str, pd.DataFrame] = {}
    exec(code.replace("results/default/runs.csv", "runs.csv"), made)
    rows = [line.split(",") for line in Path("runs.csv").read_text().splitlines()[1:]]
    assert made["runs"]["label"].tolist() == [label for label, _ in rows]
    assert made["runs"]["final_loss"].isna().sum() == 1
    assert made["runs"]["final_loss"].dropna().tolist() == [float(text) for _, text in rows if text]


def test_commands_in_the_documentation_exist() -> None:
    """Every `cellbench COMMAND --option` in a page is a command with that option."""
    known = get_command(app)
    for page in PAGES:
        commands = "run|report|rank|status|list|info|schema|check|new|build|verify|merge|show"
        for line in re.findall(rf"cellbench ((?:{commands})\b[^`\n]*)", page.read_text()):
            name = line.split()[0]
            assert name in known.commands, f"{page.name}: cellbench {name}"  # type: ignore[attr-defined]
            options = {o for p in known.commands[name].params for o in p.opts}  # type: ignore[attr-defined]
            for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", line):
                assert option in options | {"--help"}, f"{page.name}: cellbench {name} {option}"


def test_the_task_of_the_page() -> None:
    """The page's own task has fewer than 30 lines, keeps every law that a run asks, and is learnt."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/tasks.md").read_text(), re.DOTALL)
    assert len(code.splitlines()) < 30
    Path("parity.py").write_text(code)
    subject = subject_of_task("./parity.py:Parity")
    assert [law.name for law in task_checks if law.quick and not law(subject).ok] == []
    trained = cellbench.train("gru", task="./parity.py:Parity", length=3, steps=300, learning_rate=0.1, hidden_size=8)
    assert trained.curve[-1].sequence_accuracy == 1


def test_the_task_that_is_read_from_the_other_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of docs/behaviour.md: it keeps every law that a run asks; its bits are those of a sum, the highest first."""
    monkeypatch.syspath_prepend(ROOT / "experiments" / "behaviour")
    task = importlib.import_module("msb").MostSignificantFirst()
    inputs, targets = task.batch(Stream("data", "msb", count=5), 5, {"bits": 8})
    weights = 2.0 ** np.arange(7, -1, -1)
    a, b, total = (weights @ bits for bits in (inputs[..., 0], inputs[..., 1], targets[..., 0]))
    assert (a + b == total).all()
    assert len(set(total.tolist())) > 1
    subject = subject_of_task(f"{ROOT}/experiments/behaviour/msb.py:MostSignificantFirst")
    assert [law.name for law in task_checks if law.quick and not law(subject).ok] == []
    # what is known of the carry: nothing but how likely it is, counted over every pair of lower bits
    for bits in (2, 4):
        carried = [np.mean([x + y >= 2**i for x in range(2**i) for y in range(2**i)]) for i in range(bits)]
        best = np.mean([max(share, 1 - share) for share in carried])
        assert task.reference_accuracies({"bits": bits}) == {"knows all that was read": pytest.approx(best)}


def test_the_contract_is_on_the_page() -> None:
    """Every attribute and method of a task has its row."""
    text = (ROOT / "docs/tasks.md").read_text()
    for name in [n for n in {*vars(cellbench.Task), *cellbench.Task.__annotations__} if not n.startswith("_")]:
        assert f"| `{name}" in text or name == "length", name


def test_hooks_are_documented_with_their_signature() -> None:
    """The page on plugins has every hook and every argument of `register`."""
    text = (ROOT / "docs/plugins.md").read_text()
    for hook in ("register_cells", "register_tasks"):
        assert hasattr(hookspecs, hook)
        assert f"`{hook}(register)`" in text
    for argument in ("name", "factory", "description", "reference", "defaults"):
        assert f"`{argument}`" in text


def test_the_glossary_has_the_words() -> None:
    """The words of tables, pages and commands each have an entry, and the README leads there."""
    text = (ROOT / "docs/glossary.md").read_text()
    entries = {
        word.lower() for line in text.splitlines() if line[:2] == "- " for word in re.findall(r"\*\*(.+?)\*\*", line)
    }
    words = {
        "replica", "point", "law", "tuned", "across", "right-censored", "restricted mean", "family", "baseline",
        "budget", "size", "chunk", "engine", "shard", "key", "diverged", "failed", "missing",
    }  # fmt: skip
    engines = set(get_args(Keys.model_fields["engine"].annotation)) - {"auto"}
    assert not (words | set(HEADS) | engines) - entries
    assert "docs/glossary.md" in (ROOT / "README.md").read_text()


def test_contributing_names_every_room() -> None:
    """Each room of the house has its line under "Where code goes"."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for face in sorted((ROOT / "cellbench").glob("*/__init__.py")):
        assert f"`{face.parent.name}/`" in text, face.parent.name


class _Alike(doctest.OutputChecker):
    """Compares outputs with all numbers alike, and any width of columns: numbers depend on the machine."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        def alike(text: str) -> str:
            return " ".join(re.sub(r"\d[\d,.]*", "#", re.sub(r"-{3,}", "---", text)).split())

        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        return super().check_output(alike(want.replace("<BLANKLINE>", "")), alike(got), flags)


@pytest.mark.slow
def test_the_session_in_python_runs() -> None:
    """docs/python.md, line by line in one session: each prints what the page shows, but for the numbers."""
    text = (ROOT / "docs/python.md").read_text()
    session = doctest.DocTestParser().get_doctest(
        "\n".join(re.findall(r"```pycon\n(.*?)```", text, re.S)), {}, "python.md", "docs/python.md", 0
    )
    said: list[str] = []
    runner = doctest.DocTestRunner(_Alike(), optionflags=doctest.ELLIPSIS)
    runner.run(session, out=said.append)
    assert session.examples
    assert not runner.failures, "".join(said)


def test_public_names_are_found_and_explained() -> None:
    """`dir` and completion show every public name and no module of the house; help and the page name each."""
    shown = {name for name in dir(cellbench) if not name.startswith("_")}
    assert shown == set(cellbench.__all__)
    assert all(getattr(cellbench, name).__doc__ for name in shown)
    page = (ROOT / "docs/python.md").read_text()
    for name in shown - {"State", "CellbenchError"}:
        assert re.search(rf"^    {name} ", cellbench.__doc__ or "", re.M), name
        assert f"`{name}`" in page, name


def test_the_citation_is_that_of_this_version() -> None:
    """CITATION.cff and pyproject.toml agree about the version, the licence and the address."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert cited["version"] == cellbench.__version__
    assert (cited["license"], cited["repository-code"]) == (project["license"], project["urls"]["Documentation"])
    assert cited["keywords"] == project["keywords"]


def test_the_page_on_peers_has_the_lines_of_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table's lines of code are those of the files in benchmarks/peers, and every program has its row."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "peers")
    compare = importlib.import_module("compare")
    text = (ROOT / "docs/peers.md").read_text()
    for name, peer in compare.PEERS.items():
        lines = sum(compare.code_lines(compare.HERE / file) for file in peer.written)
        assert f"| {name} | {lines} |" in text, name


PLUGINS = ROOT / "docs/plugins.md"


def cells_shown() -> dict[str, type[cellbench.Cell]]:
    """The cells of docs/plugins.md: its Python from "Cells of other kinds" on, run as one module."""
    section = PLUGINS.read_text().partition("## Cells of other kinds\n")[2].partition("\n## ")[0]
    module: dict[str, object] = {"__name__": "shown"}
    exec("\n".join(re.findall(r"(?s)```python\n(.*?)```", section)), module)
    cells = {n: v for n, v in module.items() if isinstance(v, type) and v.__module__ == "shown"}
    return {name: cell for name, cell in cells.items() if issubclass(cell, cellbench.Cell)}


@pytest.mark.parametrize("name", ["Adapted", "Reservoir", "Spiking", "Complex", "Normed"])
def test_cells_of_other_kinds_break_no_law(name: str) -> None:
    """Each cell that docs/plugins.md shows keeps every law, and `check` says of it what the page says."""
    cells = cells_shown()
    assert set(cells) == {"Adapted", "Reservoir", "Spiking", "Complex", "Normed"}
    found = {check.name: check(Subject(cells[name])) for check in checks if check.law or check.name == "training-mode"}
    assert {law: result.message for law, result in found.items() if not result.ok} == {}
    said = {
        "Reservoir": ("gradients-reach-every-parameter", "nothing to train but the readout"),
        "Spiking": ("gradients-agree-with-differences", "the gradient is a surrogate (Spike)"),
        "Normed": ("training-mode", "examples influence each other"),
    }
    if name in said:
        law, words = said[name]
        assert words in found[law].message


def test_the_table_of_weights_and_data_has_an_experiment_on_its_diagonal(
    monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]
) -> None:
    """Of docs/behaviour.md. One seed for both is the experiment's replica; two seeds are those of `cellbench.train`."""
    monkeypatch.syspath_prepend(ROOT / "experiments" / "behaviour")
    script = importlib.import_module("weights_or_data")
    solved = {"metric": "bit_accuracy", "threshold": 0.8, "hold": 1}
    small = {
        "name": "mixed", "cells": ["rnn"], "grid": {"bits": 3, "batch_size": 8, "hidden_size": 6}, "seeds": "5-7",
        "train": {"max_steps": 150, "stop_when_solved": True}, "evaluate": {"every": 5, "growth": 0.05, "examples": 64},
        "solved": solved, "final": {"examples": 5, "bits": [], "difficulty": False},
    }  # fmt: skip
    script.main(write(**small), Path("tables"))
    table = pd.read_csv("tables/mixed/steps.csv").set_index(["weights", "data"])["steps_to_solved"]
    runs = cellbench.run(small | {"learning_rate": 0.05, "engine": "reference"}, "out").runs
    assert [table[seed, seed] for seed in (5, 6, 7)] == runs["steps_to_solved"].fillna(-1).tolist()
    curve = cellbench.train(
        "rnn", bits=3, batch_size=8, hidden_size=6, seed=5, data_seed=7, steps=150, learning_rate=0.05, examples=64
    ).curve
    assert table[5, 7] == next((point.step for point in curve if point.bit_accuracy >= 0.8), -1)
    assert len(set(table)) > 3
