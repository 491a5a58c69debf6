"""Rank all cells on each of several tasks, and say which are among the fastest, for all tasks at once.

Nothing is averaged over tasks: a rank on one task and one on another have no common measure either.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from cellbench.summary.ranking import COLUMNS, ranked
from cellbench.summary.summary import Summary

AMONG = "among_fastest"
"""The column that says whether no cell is shown to need fewer steps on the task."""


def ranked_by_task(parts: Mapping[str, Summary], alpha: float = 0.05) -> pd.DataFrame:
    """Rank all cells on each task, with limits that hold for all cells and all tasks at once.

    Estimator: the limits of the ranks on one task (`statistics.ranks`) at the level `alpha` divided by the number of
    tasks (Bonferroni). A cell is among the fastest of a task if some replica at the tuned rate solved it and no cell
    is shown to be faster: the fastest cells are all among these with the confidence 1 - `alpha`. Where no cell solved
    a task, none is.

    Args:
        parts: the summary of each task's experiment, by the name of the task.
        alpha: the chance that the limits of any rank on any task are wrong.

    Returns:
        One row per task and cell, the fastest first: task, the columns of `ranking.ranked`, among_fastest.
    """
    frames = []
    for task, part in parts.items():
        frame = ranked(part.replicas, part.overview, part.comparisons, alpha / len(parts))
        solved = frame["solved"].fillna(0.0) > 0
        frame[AMONG] = (solved & (frame["rank_low"] == 1)).fillna(False).astype(bool)
        frame.insert(0, "task", task)
        frames.append(frame)
    return pd.concat([frame.astype(object) for frame in frames], ignore_index=True)[["task", *COLUMNS, AMONG]]


def counted(frame: pd.DataFrame) -> pd.DataFrame:
    """Count the tasks on which each cell is among the fastest, and those that it solved.

    Args:
        frame: of `ranked_by_task`.

    Returns:
        One row per cell, the most often among the fastest first: cell, among_fastest, solved, tasks.
    """
    solved = frame["solved"].astype(float).fillna(0.0) > 0
    rows = frame.assign(solved=solved, tasks=1, **{AMONG: frame[AMONG].astype(bool)})
    found = rows.groupby("cell", sort=False)[[AMONG, "solved", "tasks"]].sum().reset_index()
    return found.sort_values([AMONG, "solved"], ascending=False, kind="stable", ignore_index=True)
