"""Which replica is meant by a label, a seed and perhaps a point."""

from __future__ import annotations

from typing import Any

import pytest

import cellbench
from cellbench.report.report import Report
from cellbench.results.pick import parse, pick
from tests.helpers.commands import TINY


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Two cells at two points with two rates and three seeds."""
    grid = {"bits": [3, 4], "batch_size": 4, "hidden_size": 3}
    folder = tmp_path_factory.mktemp("pick")
    return cellbench.run({**TINY, "grid": grid, "seeds": 3, "learning_rate": [0.05, 0.5]}, folder, report=False).report


def test_picks_one(found: Report) -> None:
    """By all that it takes; values may be written as text, and numbers in other ways."""
    row = pick(found, {"cell": "lstm", "seed": "2", "bits": 4.0, "learning_rate": "5e-2"})
    assert (row.label, row.seed, row.bits, row.learning_rate) == ("lstm", 2, 4, 0.05)


def test_the_rate_is_by_default_the_one_that_was_picked(found: Report) -> None:
    """That of the cell's row of summary.csv at its point."""
    for label in ("rnn", "lstm"):
        cells = found.summary.cells
        (picked,) = cells[(cells.cell == label) & (cells.bits == 3) & (cells["at"] == "tuned")].picked
        assert pick(found, {"label": label, "seed": 1, "bits": 3}).learning_rate == picked


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"label": "lstm", "seed": 1}, "which bits? Say for example bits=3; there are 3, 4."),
        ({"seed": 1, "bits": 3}, "which label? Say for example label=rnn; there are rnn, lstm."),
        ({"label": "gru"}, "label=gru: no replica. There are label rnn, lstm."),
        ({"label": "lstm", "seed": 7}, "seed=7: no replica with label=lstm. There are seed 0, 1, 2."),
        ({"lable": "lstm"}, "lable: no such key. Did you mean label?"),
        ({"label": "lstm", "seed": 1, "bits": 3, "learning_rate": 0.1}, "There are learning_rate 0.05, 0.5."),
    ],
)
def test_says_what_to_choose_from(wanted: dict[str, Any], said: str, found: Report) -> None:
    """None or several are meant: the values that there are."""
    with pytest.raises(cellbench.CellbenchError) as error:
        pick(found, wanted)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gru", "gru: must be KEY=VALUE"),
        ("", "an empty text: must be KEY=VALUE"),
        ("=3", "=3: must be KEY=VALUE"),
        ("label=a,label=b", "label is given twice"),
    ],
)
def test_texts_that_are_no_assignments(text: str, said: str) -> None:
    """Each is refused with the part that is wrong."""
    with pytest.raises(cellbench.CellbenchError, match=said):
        parse([text])
    assert parse(["label=gru,seed=3", "bits=8"]) == {"label": "gru", "seed": "3", "bits": "8"}
    assert parse(["label=a, b,,seed=3"]) == {"label": "a, b,", "seed": "3"}
