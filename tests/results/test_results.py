"""`cellbench report`: everything again from the store, in the middle of a run too, and the page opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import cellbench
from cellbench.executors.dispatch import Finished
from cellbench.results import results
from cellbench.running import Event
from tests.helpers.commands import Command


@pytest.mark.charts
@pytest.mark.slow
def test_in_the_middle_of_a_run(write: Callable[..., Path]) -> None:
    """While the run holds the store, the report shows what is done and names what is missing."""
    seen = []

    def look(event: Event) -> None:
        if isinstance(event, Finished) and not seen:
            seen.append(results.write(Path("results/tiny")))

    cellbench.run(write(), on_event=look, report=False)
    (found,) = seen
    done = found.runs["status"] != "missing"
    assert 0 < done.sum() < len(done)
    assert found.summary.missing
    assert "not run yet" in Path("results/tiny/report.html").read_text()
    assert (Path("results/tiny/charts") / "curves.png").exists()


@pytest.mark.charts
@pytest.mark.slow
def test_open(write: Callable[..., Path], command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--open` hands the browser the page's address, and `--format svg` draws SVG files."""
    asked = []
    monkeypatch.setattr("webbrowser.open", asked.append)
    assert command("run", write(), "--quiet", "--workers", 1, "--no-report").status == 0
    ended = command("report", "results/tiny", "--open", "--format", "svg")
    assert ended.status == 0, ended.err
    assert asked == [Path("results/tiny/report.html").resolve().as_uri()]
    assert {path.suffix for path in Path("results/tiny/charts").iterdir()} == {".svg"}
    for name in ("summary.md", "summary.tex", "report.html", "runs.csv"):
        assert (Path("results/tiny") / name).stat().st_size > 100


def test_charts_can_be_left_out(write: Callable[..., Path]) -> None:
    """Tables alone: neither page nor charts."""
    cellbench.run(write(), report=False)
    results.write(Path("results/tiny"), charts=False)
    assert Path("results/tiny/summary.md").exists()
    assert not Path("results/tiny/report.html").exists()
    assert not Path("results/tiny/charts").exists()
