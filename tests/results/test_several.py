"""Several results folders in one report: which cells are one, which are told apart, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cellbench.errors import CellbenchError
from cellbench.results import load, several
from tests.helpers.commands import Command

Write = Callable[..., Path]


@pytest.fixture
def folder(write: Write, command: Command) -> Callable[..., Path]:
    """`folder("a", cells=[...])`: the results of the tiny experiment with other keys."""

    def make(name: str, **keys: object) -> Path:
        ended = command("run", write(f"{name}.yaml", name=name, **keys), "--quiet", "--workers", 1)
        assert ended.status == 0, ended.err
        return Path("results") / name

    return make


def test_the_same_cell_is_one(folder: Callable[..., Path]) -> None:
    """lstm is in both with the same keys: one cell with the seeds of both; rnn and gru stand beside it."""
    a = folder("a", cells=["lstm", "rnn"], seeds=[0, 1])
    b = folder("b", cells=["lstm", "gru"], seeds=[1, 2])
    found = several.report([a, b])
    assert found.design.labels == ("lstm", "rnn", "gru")
    assert found.design.seeds == (0, 1, 2)
    of_lstm = found.runs[found.runs["label"] == "lstm"]
    assert sorted(of_lstm["seed"]) == [0, 1, 2]
    alone = load(b).runs.set_index("key")["final_loss"]
    ours = of_lstm.set_index("key")["final_loss"]
    assert ours[alone.index.intersection(ours.index)].tolist() == alone[alone.index.intersection(ours.index)].tolist()
    assert set(found.curves["label"]) == {"lstm", "rnn", "gru"}
    assert not found.curves.duplicated(["label", "seed", "step"]).any()


@pytest.mark.slow
def test_one_label_for_two_cells_gets_a_suffix(folder: Callable[..., Path]) -> None:
    """The keys differ, so the later one is called after its folder; nothing is mixed."""
    a = folder("a", cells=["lstm", "rnn"])
    b = folder("b", cells=["lstm", {"name": "rnn", "learn_initial_state": True}])
    found = several.report([a, b])
    assert found.design.labels == ("lstm", "rnn", "rnn (b)")
    assert found.experiment["facts"]["cells"].keys() == {"lstm", "rnn", "rnn (b)"}
    sizes = found.runs.groupby("label")["parameters"].first()
    assert sizes["rnn (b)"] > sizes["rnn"]


def test_unlike_experiments_are_refused(folder: Callable[..., Path]) -> None:
    """Other training answers another question: every key that differs is named, with both values."""
    a = folder("a", cells=["lstm"])
    b = folder("b", cells=["lstm"], train={"max_steps": 30}, learning_rate=[0.1])
    with pytest.raises(CellbenchError) as caught:
        several.report([a, b])
    text = str(caught.value)
    assert "train.max_steps: 20 in a, 30 in b" in text
    assert "learning_rate: [0.05] in a, [0.1] in b" in text


def test_other_grids_stand_side_by_side(folder: Callable[..., Path]) -> None:
    """Points of one folder alone are there too, with nothing planned for the other's cells."""
    grid = {"bits": 4, "batch_size": 4, "hidden_size": 3}
    a = folder("a", cells=["lstm", "rnn"], grid=grid)
    b = folder("b", cells=["lstm"], grid={**grid, "bits": 5})
    found = several.report([a, b])
    assert found.design.labels == ("lstm", "rnn")
    assert len(found.summary.replicas.points) == 2
    assert [m.text for m in found.summary.missing] == ["rnn at bits=5, batch 4, hidden 3: nothing was planned"]


@pytest.mark.charts
@pytest.mark.slow
def test_report_of_two_folders(folder: Callable[..., Path], command: Command) -> None:
    """The command writes every file beside the first folder, or where it is told, and leaves the folders alone."""
    a, b = folder("a", cells=["lstm", "rnn"]), folder("b", cells=["gru"])
    before = (a / "summary.md").read_text()
    ended = command("report", a, b, "--to", "both", "--format", "svg")
    assert ended.status == 0, ended.err
    names = {path.name for path in Path("both").iterdir()}
    assert names == {"runs.csv", "curves.csv", "accuracy.csv", "summary.csv", "comparisons.csv", "summary.md",
                     "summary.tex", "report.html", "charts"}  # fmt: skip
    assert {path.suffix for path in Path("both/charts").iterdir()} == {".svg"}
    assert (a / "summary.md").read_text() == before
    assert "a+b" in Path("both/summary.md").read_text()


def test_two_folders_of_one_name(folder: Callable[..., Path]) -> None:
    """A suffix could not tell them apart."""
    a = folder("a", cells=["lstm"])
    with pytest.raises(CellbenchError, match="a name of its own"):
        several.unite([a, a])


def test_an_unknown_format(command: Command) -> None:
    """The fault names what there is."""
    ended = command("report", "results/none", "--format", "gif")
    assert ended.status == 2
    assert "must be png, svg or pdf" in ended.err
