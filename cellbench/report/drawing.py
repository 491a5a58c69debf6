"""Draw definitions as files, in processes of their own, while this process goes on.

vl-convert holds the interpreter's lock, so threads gain nothing. A process needs 0.7 s to be ready; it imports neither
torch nor the caller's own script.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from cellbench.errors import StoreError
from cellbench.report.files import write_bytes, write_text

MOST = 4
"""The most processes worth starting: the largest of a report's figures takes a quarter of the time of all."""

_SERVE = "from cellbench.report.drawing import serve; serve()"


class Pictures:
    """Draws definitions in the order in which they come; leaving the block waits until all are drawn.

    Args:
        processes: how many to use at most.

    Attributes:
        children: the processes that draw, while the block lasts.

    Raises:
        StoreError: on leaving, if a file could not be written or a process ended early.
    """

    def __init__(self, processes: int) -> None:
        self._count = max(1, min(processes, MOST))
        self._threads = ThreadPoolExecutor(self._count)
        self.children: list[subprocess.Popen[str]] = []
        self._idle: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()
        self._drawn: list[Future[None]] = []

    def __enter__(self) -> Pictures:
        self.children = [python(_SERVE) for _ in range(self._count)]
        for child in self.children:
            self._idle.put(child)
        return self

    def draw(self, definition: dict[str, Any], path: Path) -> None:
        """Draw a Vega-Lite definition as a .png, .svg or .pdf, at some time before the block is left."""
        # as text, which takes a tenth of the memory while it waits
        self._drawn.append(self._threads.submit(self._hand_over, json.dumps([str(path), definition]), path))

    def _hand_over(self, definition: str, path: Path) -> None:
        """Send one definition to an idle process and wait for its reply; an empty reply means that it ended."""
        child = self._idle.get()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(definition + "\n")
            child.stdin.flush()
            reply = child.stdout.readline()
        except OSError:
            reply = ""
        self._idle.put(child)
        if not reply:
            again = f"cellbench report {path.parent.parent}"
            raise StoreError(f"{path} was not drawn: the process that drew it ended. Try again: {again}")
        said = json.loads(reply)
        if said:
            raise StoreError(said)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                for drawn in self._drawn:
                    drawn.result()
        finally:
            for child in self.children:
                child.kill()
            self._threads.shutdown(cancel_futures=True)
            for child in self.children:
                child.communicate()


def python(code: str) -> subprocess.Popen[str]:
    """Start a process that runs some Python, with pipes for input and output and this process's import paths."""
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        encoding="utf-8", env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip


def serve() -> None:
    """Draw what comes in, in a process of its own: per line of JSON one file, and one line of JSON in reply."""
    replies = _replies()
    import vl_convert

    vl_convert.vegalite_to_svg({"mark": "point", "data": {"values": []}})  # loads vega before the first figure comes
    for line in sys.stdin:
        path, definition = json.loads(line)
        said = ""
        try:
            if path.endswith(".svg"):
                write_text(Path(path), vl_convert.vegalite_to_svg(definition))
            elif path.endswith(".pdf"):
                write_bytes(Path(path), vl_convert.vegalite_to_pdf(definition))
            else:
                write_bytes(Path(path), vl_convert.vegalite_to_png(definition, ppi=300))
        except StoreError as error:
            said = str(error)
        print(json.dumps(said), file=replies, flush=True)


def bundle() -> None:
    """Print the JavaScript of vega in one piece, in a process of its own."""
    replies = _replies()
    import vl_convert

    with replies:
        replies.write(vl_convert.javascript_bundle())  # type: ignore[call-arg]  # its stub has no default


def _replies() -> TextIO:
    """Open the stream for replies, and send whatever a library prints to stderr instead."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the caller ends this one
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return replies
