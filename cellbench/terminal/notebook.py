"""The progress of a run in a notebook: one bar, changed in place."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cellbench.running import Event, OnEvent
from cellbench.terminal.progress import Counts, said
from cellbench.wording import duration

_EVERY = 0.25
"""Seconds between changes."""


def in_notebook() -> bool:
    """Tell whether this process is the kernel of a notebook, which shows HTML."""
    shell = sys.modules.get("IPython")
    shell = shell.get_ipython() if shell is not None else None
    return getattr(shell, "kernel", None) is not None


@contextmanager
def shown(workers: int = 1) -> Iterator[OnEvent]:
    """Give a callback for `run` that shows its events in a notebook.

    Args:
        workers: how many workers there are at least, for the time left.
    """
    from IPython.display import HTML, display

    counts, notes = Counts(least_workers=workers), list[str]()
    # what a front end that shows no HTML gets is the object's text
    handle: Any = display(HTML("planning ..."), display_id=True)
    last = 0.0

    def put(line: str) -> None:
        bar = f'<progress max="{max(1, counts.total)}" value="{counts.done}" style="width: 20em"></progress>'
        lines = [*notes, line]
        handle.update(HTML(f"{bar}<br>{'<br>'.join(html.escape(text) for text in lines)}"))

    def see(event: Event) -> None:
        nonlocal last
        counts.see(event)
        notes.extend(said(event))
        if time.monotonic() - last >= _EVERY or counts.done == counts.total:
            last = time.monotonic()
            put(counts.line())

    try:
        yield see
    finally:
        if counts.trained:
            ended = f"{counts.done:,} of {counts.total:,} replicas are done; trained {counts.trained:,}"
            put(f"{ended} in {duration(counts.elapsed)}.")
        elif counts.cells:
            put(f"{counts.done:,} of {counts.total:,} replicas are done; nothing was trained.")
