"""From the results folders of a profile to its matrix of cells by tasks, its ranks, and the files of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from cellbench.errors import CellbenchError, StoreError
from cellbench.report import csv
from cellbench.report import matrix as laid
from cellbench.report.files import write_text
from cellbench.results.results import gather
from cellbench.store import FILE
from cellbench.summary import Summary, by_task
from cellbench.summary.matrix import Matrix, matrix
from cellbench.wording import short

MARKDOWN, CSV, TASKS = "profile.md", "profile.csv", "profile.json"


def of_folders(folders: Mapping[str, Path]) -> Matrix:
    """Compare the cells of several folders, each of one task; those without results yet are named as missing.

    Args:
        folders: by the name of the task.

    Raises:
        StoreError: no folder holds results.
        CellbenchError: there is no cell beside the baseline.
    """
    parts = _parts(folders)
    try:
        found = matrix(parts)
    except ValueError as error:
        raise CellbenchError(str(error)) from None
    return replace(found, missing=tuple(task for task in folders if task not in parts))


def _parts(folders: Mapping[str, Path]) -> dict[str, Summary]:
    """Summarise the folders that have results; without any, say what the first lacks."""
    there = {task: folder for task, folder in folders.items() if (folder / FILE).exists()}
    return {task: gather(folder, curves=False).summary for task, folder in (there or folders).items()}


def write(found: Matrix, name: str, folder: Path, folders: Mapping[str, Path]) -> None:
    """Write the matrix into a folder, as Markdown and as CSV, and where its tasks have their results.

    Args:
        found, name: the matrix, and the profile's name.
        folder: where to write.
        folders: the results folders, by the name of the task.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / MARKDOWN, laid.markdown(found, name))
    csv.write(laid.frame(found), folder / CSV)
    # relative, so that a copy of all folders together stays whole
    places = {task: Path(os.path.relpath(place, folder)).as_posix() for task, place in folders.items()}
    write_text(folder / TASKS, json.dumps({"tasks": places}, indent=2) + "\n")


def folders_of(folder: Path) -> dict[str, Path] | None:
    """Find the results folders of a profile, by the name of the task; None if the folder is not a profile's.

    Raises:
        StoreError: the file that lists them was altered.
    """
    file = folder / TASKS
    if not file.is_file():
        return None
    try:
        tasks = json.loads(file.read_text(encoding="utf-8"))["tasks"]
        found = {str(task): folder / str(place) for task, place in tasks.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise StoreError(f"{file} cannot be read ({short(str(error))}). `cellbench profile` writes it anew") from None
    if not found:
        raise StoreError(f"{file} lists no task. `cellbench profile` writes it anew")
    return found


def ranks_of(folders: Mapping[str, Path]) -> pd.DataFrame:
    """Rank all cells on each task; see `summary.by_task.ranked_by_task`.

    Args:
        folders: by the name of the task.

    Raises:
        StoreError: no folder holds results.
    """
    return by_task.ranked_by_task(_parts(folders))


def text(found: Matrix) -> str:
    """Write the matrix for a terminal."""
    return laid.text(found)
