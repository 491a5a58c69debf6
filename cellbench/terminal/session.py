"""`cellbench.run`: a run that shows its progress where it was started, in a notebook or on a terminal."""

from __future__ import annotations

import functools
from typing import Any

from cellbench import running
from cellbench.results import Results
from cellbench.terminal import notebook, progress


@functools.wraps(running.run)
def run(*arguments: Any, **keys: Any) -> Results:
    """Run, and show the progress unless the caller takes the events or asks for quiet."""
    if keys.get("quiet") or keys.get("on_event") is not None:
        return running.run(*arguments, **keys)
    given = keys.get("workers", 1)
    workers = given if isinstance(given, int) else 1
    with notebook.shown(workers) if notebook.in_notebook() else progress.shown(False, workers) as on_event:
        return running.run(*arguments, **{**keys, "on_event": on_event})
