"""plugins/readme_table.py: the table of a plugin's cells in its README."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from cellbench.cells.rnn import rnn
from cellbench.conformance import LAWS, Check, Result, Subject, checks
from cellbench.conformance.report import Findings


def readme_table() -> ModuleType:
    """plugins/readme_table.py, which belongs to no package."""
    path = Path(__file__).parents[1] / "plugins" / "readme_table.py"
    spec = importlib.util.spec_from_file_location("readme_table", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


table = readme_table()


def found_of(**results: Result) -> tuple[tuple[Check, Result], ...]:
    """What a report holds when every law passes, but for these."""
    return tuple((c, results.get(c.name.replace("-", "_"), Result("pass" if c.law else "note"))) for c in checks)


def test_a_row_of_the_table_says_how_soon_it_solved() -> None:
    found = found_of(
        engines=Result("note", "", {"engines": ["stack", "reference"]}),
        sizes=Result("note", "", {"cell": {"parameters": 1234, "state": 16, "multiply_adds": 900}}),
        learns_addition=Result("note", "", {"steps_to_solved": {0.01: 300, 0.1: 90, 0.3: None}}),
    )
    laws = f"{len(LAWS)} of {len(LAWS)}"
    expected = f"| mine | {laws} | stack, reference | 1,234 | 16 | 900 | 2 of 5 rates, soonest at step 90 |"
    assert table.row("mine", Findings(Subject(rnn), found)) == expected


def test_a_row_of_the_table_names_broken_laws_and_what_was_not_solved() -> None:
    data = {"steps_to_solved": {0.1: None}, "max_steps": 1000, "best_sequence_accuracy": {0.1: 0.25, 0.3: 0.5}}
    found = found_of(
        shapes=Result("fail", "no"), engines=Result("fail", "no"), learns_addition=Result("note", "", data)
    )
    row = table.row("mine", Findings(Subject(rnn), found))
    assert row.startswith(f"| mine | {len(LAWS) - 1} of {len(LAWS)}, not shapes | none |  |  |  |")
    assert row.endswith("| not within 1,000 steps; sequence accuracy 0.50 |")


def test_the_table_is_written_between_its_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(table, "table", lambda distribution: f"table of {distribution}")
    monkeypatch.setattr("sys.argv", ["conformance", "cellbench-mine", "--write", str(path)])
    for _ in range(2):
        table.main()
    assert path.read_text() == f"before\n{table.BEGIN}\ntable of cellbench-mine\n{table.END}\nafter\n"
    path.write_text("no marks")
    with pytest.raises(SystemExit, match="has no lines"):
        table.main()


def test_the_table_wants_a_distribution_that_is_installed() -> None:
    with pytest.raises(SystemExit, match="no cells from cellbench-nothing"):
        table.table("cellbench-nothing")
