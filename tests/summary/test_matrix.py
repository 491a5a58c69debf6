"""The matrix of cells by tasks: verdicts are those of each task, corrected over all tasks by a plain loop of Holm's."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from cellbench.report import matrix as laid
from cellbench.summary import Summary
from cellbench.summary.matrix import matrix
from tests.helpers.frames import summary_of

LABELS = ("lstm", "gru", "rnn")


def part(gru: float, rnn: float) -> Summary:
    """One task, on which gru and rnn need so many times the steps of lstm."""
    return summary_of(LABELS, {"lstm": 300.0, "gru": 300.0 * gru, "rnn": 300.0 * rnn})


PARTS = {"one": part(0.5, 1.0), "two": part(0.9, 1.12), "three": part(1.0, 2.0)}


def by_hand(p: Sequence[float]) -> list[float]:
    """Holm 1979: the k-th smallest of m times m - k + 1, never below the one before it."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    found, before = [math.nan] * len(p), 0.0
    for k, i in enumerate(order):
        before = found[i] = min(1.0, max(before, (len(p) - k) * p[i]))
    return found


def test_corrected_over_all_tasks() -> None:
    """Ratios are those of each task's own table; their p is Holm's over the six of all three."""
    found = matrix(PARTS)
    raw = []
    for part in PARTS.values():
        table = part.comparisons
        whole = table[(table["metric"] == "steps") & (table["scope"] == "all") & (table["at"] == "tuned")]
        raw += whole[["cell", "ratio", "p"]].to_numpy().tolist()
    assert [entry.cell for entry in found.entries] == [cell for cell, _, _ in raw] == ["gru", "rnn"] * 3
    assert [entry.ratio for entry in found.entries] == pytest.approx([ratio for _, ratio, _ in raw])
    assert [entry.p for entry in found.entries] == pytest.approx(by_hand([p for _, _, p in raw]))
    assert found.comparisons == 6
    words = {(entry.task, entry.cell): entry.steps for entry in found.entries}
    assert words["one", "gru"] == "faster"
    assert words["three", "rnn"] == "slower"
    assert sum(found.counts("gru").values()) == 3


def test_a_verdict_that_the_correction_takes_away() -> None:
    """A difference that its own task shows is not shown beside eleven tasks without one, if it is not sure enough."""
    near = next(
        one for one in (part(x / 100, 1.0) for x in range(99, 80, -1)) if one.verdicts[0].verdict.endswith("faster")
    )
    found = matrix({"near": near, **{f"null {i}": part(1.0, 1.0) for i in range(11)}})
    entry = found.at("near", "gru")
    assert entry is not None
    assert found.comparisons == 24
    assert entry.p > 0.05
    assert not entry.steps.endswith("faster")


def test_where_nothing_can_be_tested() -> None:
    """Of cells that never solve there is no ratio, and no correction over 0 comparisons is spoken of."""
    never = summary_of(LABELS, dict.fromkeys(LABELS, 1e9))
    found = matrix({"one": never, "two": never})
    assert found.comparisons == 0
    for text in (laid.text(found), laid.markdown(found, "profile")):
        said = " ".join(text.split())
        assert "0 comparisons" not in said
        assert "No ratio of steps could be tested" in said


def test_bounds_are_marked() -> None:
    """A ratio to a cell, or of a cell, that never solved is a bound, in the words of each task's own report."""
    never = summary_of(LABELS, {"lstm": 300.0, "gru": 1e9, "rnn": 300.0})
    found = matrix({"one": never, "two": PARTS["one"]})
    marked = {(entry.task, entry.cell): entry.bound for entry in found.entries if entry.bound}
    assert marked == {("one", "gru"): "at least"}
    for text in (laid.text(found), laid.markdown(found, "profile")):
        assert text.count("≥ ") >= 2
    assert laid.frame(found)["bound"].tolist() == ["at least", "", "", ""]


def test_as_text() -> None:
    """Markdown, the terminal's lines and the CSV's rows name every task and cell once each, and the correction."""
    found = matrix(PARTS)
    for text in (laid.text(found), laid.markdown(found, "profile")):
        assert "corrected over 6 comparisons (Holm)" in " ".join(text.split())
        assert all(name in text for name in (*PARTS, "gru", "rnn", "lstm"))
    assert laid.markdown(found, "profile").startswith("# profile: 2 cells against lstm on 3 tasks\n")
    frame = laid.frame(found)
    assert frame[["task", "cell"]].drop_duplicates().shape == (6, 2)
    assert frame["p"].tolist() == [entry.p for entry in found.entries]


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_fits_the_terminal(columns: int) -> None:
    """No line is wider than the terminal, whatever the task is called; a wide one has one line per task."""
    found = matrix({"binary_addition_sequential": PARTS["one"], "two": PARTS["two"]})
    lines = laid.text(found, columns).splitlines()
    assert max(map(len, lines)) <= columns
    if columns == 200:
        assert sum(line.startswith("binary_addition_sequential ") for line in lines) == len(found.cells)


def test_other_baselines() -> None:
    """Tasks with different baselines have no matrix."""
    other = summary_of(("gru", "rnn"))
    with pytest.raises(ValueError, match="2 baselines: gru, lstm"):
        matrix({"one": PARTS["one"], "two": other})
