"""`cellbench.run` and `compare`: runs that show their progress where they were started, in a notebook or a terminal."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellbench import experiment as experiments
from cellbench import running
from cellbench.plugins import discover
from cellbench.terminal import notebook, progress

if TYPE_CHECKING:  # takes long to import
    from cellbench.results import Results


@functools.wraps(running.run)
def run(*arguments: Any, **keys: Any) -> Results:
    """Run, and show the progress unless the caller takes the events or asks for quiet."""
    if keys.get("quiet") or keys.get("on_event") is not None:
        return running.run(*arguments, **keys)
    given = keys.get("workers", 1)
    workers = given if isinstance(given, int) else 1
    with notebook.shown(workers) if notebook.in_notebook() else progress.shown(False, workers) as on_event:
        return running.run(*arguments, **{**keys, "on_event": on_event})


def compare(
    a: str | Callable[..., Any] | Mapping[str, Any],
    b: str | Callable[..., Any] | Mapping[str, Any],
    experiment: str | Path | Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    **keys: Any,
) -> Results:
    """Compare one cell with another, and with nothing else: a version with the one before it.

    The experiment is run with these two alone. What its other folders hold of them is not trained again.

    Args:
        a: the baseline: a class or function that makes a cell, a mapping as in `cells`, a registered name, a label of
            the experiment, or `file.py:Class`, perhaps with a label and options.
        b: the cell that is compared with it, given alike.
        experiment: a file, or its keys; None takes the default experiment.
        folder: the results folder; default `results/<name>+<a>-vs-<b>`.
        **keys: the arguments of `run`, and the keys of an experiment file.

    Returns:
        Results with one verdict, on `b`; `verdicts` has its word.

    Raises:
        CellbenchError: the input is bad, and nothing was run.
        Interrupted: the run was interrupted; what was trained is kept.
    """
    arguments = inspect.signature(running.run).parameters
    options = {name: value for name, value in keys.items() if name in arguments}
    changed = {name: value for name, value in keys.items() if name not in arguments}
    if isinstance(options.get("report"), Mapping):
        changed["report"] = options.pop("report")
    source = experiments.default_file() if experiment is None else experiment
    overrides = options.pop("overrides", ())
    loaded = experiments.load(source, discover(), keys=changed, overrides=overrides, versus=(a, b))
    return run(loaded, folder, **options)
