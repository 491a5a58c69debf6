"""From the results folders of a profile to its matrix of cells by tasks, and the files of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cellbench.errors import CellbenchError
from cellbench.report import csv
from cellbench.report import matrix as laid
from cellbench.results.results import gather
from cellbench.summary.matrix import Matrix, matrix

MARKDOWN, CSV = "profile.md", "profile.csv"


def of_folders(folders: Mapping[str, Path]) -> Matrix:
    """Compare the cells of several folders, each of one task.

    Args:
        folders: by the name of the task.

    Raises:
        StoreError: a folder holds no results.
        CellbenchError: there is no cell beside the baseline.
    """
    try:
        return matrix({task: gather(folder, curves=False).summary for task, folder in folders.items()})
    except ValueError as error:
        raise CellbenchError(str(error)) from None


def write(found: Matrix, name: str, folder: Path) -> None:
    """Write the matrix into a folder, as Markdown and as CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKDOWN).write_text(laid.markdown(found, name), encoding="utf-8")
    csv.write(laid.frame(found), folder / CSV)


def text(found: Matrix) -> str:
    """Write the matrix for a terminal."""
    return laid.text(found)
