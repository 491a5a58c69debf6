"""Runs the notebook of the documentation and keeps its outputs: `python docs/make_notebook.py` (the extra notebook).

The cells are those that docs/notebook.ipynb has; only the outputs are new.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("notebook.ipynb")


def run(path: Path = NOTEBOOK) -> nbformat.NotebookNode:
    """Run a notebook in an empty folder; returns it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times
    return notebook


if __name__ == "__main__":
    nbformat.write(run(), NOTEBOOK)
    sys.stdout.write(f"Wrote {NOTEBOOK}\n")
