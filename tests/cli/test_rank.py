"""`cellbench rank`, and the table of all cells in summary.md."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from cellbench.results import load
from tests.helpers.commands import Command

Write = Callable[..., Path]
BIASES = (-3, -1, 0, 1, 2)


@pytest.fixture
def folder(write: Write, command: Command) -> Path:
    """Seven cells: rnn, gru, and an lstm per bias of its forget gate."""
    cells = [{"name": "lstm", "label": f"bias {bias}", "options": {"forget_bias": bias}} for bias in BIASES]
    path = write(
        "zoo.yaml", name="zoo", cells=["rnn", "gru", *cells], engine="auto", seeds=5, learning_rate=[0.05],
        grid={"bits": 2, "batch_size": 16, "hidden_size": 6}, train={"max_steps": 300}, baseline="bias 1",
    )  # fmt: skip
    ended = command("run", path, "--quiet", "--workers", 1)
    assert ended.status == 0, ended.err
    return Path("results/zoo")


def test_all_cells_are_in_one_table(folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sorted by ratio, each rank within its interval, verdicts as in the report; on 80 columns without a wider line."""
    ended = command("rank", folder, "--format", "csv")
    assert (ended.status, ended.err) == (0, "")
    table = pd.read_csv(io.StringIO(ended.out))
    assert sorted(table["cell"]) == sorted(["rnn", "gru", *(f"bias {bias}" for bias in BIASES)])
    assert table["ratio"].is_monotonic_increasing
    assert (table["rank_low"] <= table["rank"]).all()
    assert (table["rank"] <= table["rank_high"]).all()
    assert table["rank"].tolist()[0] == 1
    found = load(folder)
    verdicts = found.verdicts.set_index("cell")["verdict"].to_dict()
    assert {row["cell"]: row["verdict"] for row in table.to_dict("records") if row["cell"] != "bias 1"} == verdicts
    took = 1e6 * found.runs["seconds"] / found.runs["final_step"].astype(float)
    assert table.set_index("cell")["microseconds"].to_dict() == pytest.approx(
        took.groupby(found.runs["label"]).median().to_dict()
    )
    monkeypatch.setenv("COLUMNS", "80")
    shown = command("rank", folder).out
    assert max(map(len, shown.splitlines())) <= 80
    assert [line for line in shown.splitlines() if "(baseline)" in line]
    monkeypatch.setenv("COLUMNS", "200")
    assert "microseconds per step" in command("rank", folder).out


def test_summary_has_the_table_of_more_than_six_cells(folder: Path, command: Command, write: Write) -> None:
    """Without microseconds, which differ between two runs; six cells or fewer have no table."""
    text = (folder / "summary.md").read_text()
    section = text.partition("## All cells, ranked by steps\n")[2].partition("\n## ")[0]
    assert section.count("\n|") == 2 + 7
    assert "microseconds" not in text
    shown = command("rank", folder, "--format", "md").out
    assert "microseconds per step" in shown
    for line in section.splitlines():
        if line.startswith("| ") and "rank" not in line:
            assert line.split("|")[1:4] == next(
                other.split("|")[1:4] for other in shown.splitlines() if line.split("|")[2] in other.split("|")[2:3]
            )
    assert command("run", write(), "--quiet", "--workers", 1).status == 0
    assert "ranked by steps" not in Path("results/tiny/summary.md").read_text()


@pytest.mark.charts
def test_the_page_has_it_too(folder: Path) -> None:
    """With microseconds, each cell in a row."""
    page = (folder / "report.html").read_text()
    section = page.partition('<section id="ranking"')[2].partition("</section>")[0]
    assert section.count("<tr>") == 1 + 7
    assert "microseconds per step" in section


def test_several_folders_and_seeds_of_different_numbers(folder: Path, write: Write, command: Command) -> None:
    """Cells of a folder with fewer seeds are ranked among the others, by the seeds that two have in common."""
    keys = {"engine": "auto", "grid": {"bits": 2, "batch_size": 16, "hidden_size": 6}, "train": {"max_steps": 300}}
    cells = ["rnn", {"name": "gru", "label": "young"}]
    path = write("young.yaml", name="young", cells=cells, seeds=3, learning_rate=[0.05], baseline=None, **keys)
    assert command("run", path, "--quiet", "--workers", 1).status == 0
    ended = command("rank", folder, "results/young", "--format", "csv")
    assert ended.status == 0, ended.err
    table = pd.read_csv(io.StringIO(ended.out)).set_index("cell")
    assert len(table) == 8
    assert (table.loc["young", "seeds"], table.loc["gru", "seeds"]) == (3, 5)
    assert table.loc["young", ["rank_low", "rank_high"]].tolist() == [1, 8]


def test_bad_input_is_said_in_words(command: Command) -> None:
    """Status 2 and no traceback."""
    for arguments, said in ((["nowhere"], "nowhere"), (["nowhere", "--format", "png"], "must be text, md or csv")):
        ended = command("rank", *arguments)
        assert ended.status == 2
        assert said in ended.err
        assert "Traceback" not in ended.err
