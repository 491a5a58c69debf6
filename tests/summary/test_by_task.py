"""The fastest cells of each task: ranks with limits for all tasks at once, checked by t tests of scipy."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from scipy import stats

from cellbench.report import by_task as laid
from cellbench.summary import Summary
from cellbench.summary.by_task import AMONG, counted, ranked_by_task
from tests.helpers.frames import summary_of

LABELS = ("lstm", "gru", "rnn", "mgu")
PARTS = {
    "one": summary_of(LABELS, {"lstm": 300.0, "gru": 150.0, "rnn": 600.0, "mgu": 155.0}),
    "two": summary_of(LABELS, {"lstm": 300.0, "gru": 330.0, "rnn": 1e9, "mgu": 280.0}),
    "never": summary_of(LABELS, dict.fromkeys(LABELS, 1e9)),
}


def test_the_fastest_are_those_that_no_cell_beats() -> None:
    """On each task, Holm over all pairs' t tests at 5 % divided by the number of tasks leaves the same cells."""
    found = ranked_by_task(PARTS)
    for task, part in PARTS.items():
        if task == "never":
            continue
        beaten = by_hand(part, 0.05 / len(PARTS))
        solved = found[(found["task"] == task) & (found["solved"].astype(float) > 0)]
        assert set(solved.loc[solved[AMONG].astype(bool), "cell"]) == set(solved["cell"]) - beaten


def by_hand(part: Summary, alpha: float) -> set[str]:
    """The cells that another one beats, by paired t tests and a plain loop of Holm's."""
    replicas = part.replicas
    steps = {}
    for label in LABELS:
        c, points = replicas.cell(label), range(len(replicas.points))
        seeds = tuple(range(10))
        steps[label] = np.mean([replicas.values(c, g, seeds, "tuned")[0] for g in points], axis=0)
    pairs = [(a, b) for a, b in permutations(LABELS, 2) if a < b]
    p = {pair: stats.ttest_rel(steps[pair[0]], steps[pair[1]]).pvalue for pair in pairs}
    beaten, m = set(), len(pairs)
    for k, pair in enumerate(sorted(pairs, key=lambda pair: p[pair])):
        if p[pair] * (m - k) > alpha:
            break
        beaten.add(max(pair, key=lambda label: steps[label].mean()))
    return beaten


def test_a_task_that_no_cell_solves_has_no_fastest() -> None:
    """None is among its fastest, and it counts among the tasks all the same."""
    found = ranked_by_task(PARTS)
    assert not found.loc[found["task"] == "never", AMONG].astype(bool).any()
    counts = counted(found).set_index("cell")
    assert set(counts["tasks"]) == {3}
    assert counts["solved"].to_dict() == {"lstm": 2, "gru": 2, "rnn": 1, "mgu": 2}
    assert counts.index[0] in ("gru", "mgu")


def test_limits_hold_for_all_tasks_at_once() -> None:
    """Beside many tasks a cell's ranks are never narrower than on its task alone."""
    alone = ranked_by_task({"two": PARTS["two"]}).set_index("cell")
    beside = ranked_by_task({"two": PARTS["two"], **{f"task {i}": PARTS["one"] for i in range(40)}})
    beside = beside[beside["task"] == "two"].set_index("cell")
    for label in LABELS:
        assert beside.loc[label, "rank_low"] <= alone.loc[label, "rank_low"]
        assert beside.loc[label, "rank_high"] >= alone.loc[label, "rank_high"]
    assert beside["rank_high"].sum() > alone["rank_high"].sum()


def test_as_text() -> None:
    """The terminal's lines fit, Markdown has three tables, and both name every task and cell."""
    found = ranked_by_task(PARTS)
    text = laid.terminal(found, 80)
    assert max(map(len, text.splitlines())) <= 80
    markdown = laid.markdown(found)
    assert markdown.count("\n| ") + markdown.count("\n|-") >= 3 * 2 + 3 + 4 + 4
    assert all(name in said for name in (*LABELS, *PARTS) for said in (text, markdown))
