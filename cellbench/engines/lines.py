"""The user's own line behind an error or an operation, so that a refusal says where to look."""

from __future__ import annotations

import linecache
import os
from pathlib import Path
from types import FrameType, TracebackType

import torch

_HOUSE = str(Path(__file__).resolve().parents[1])
_MODEL = os.path.join(_HOUSE, "model")
_NOT_THEIRS = (
    os.path.dirname(os.path.abspath(torch.__file__)),
    os.path.join(_HOUSE, "engines"),
    _MODEL,
    os.path.join(_HOUSE, "cell.py"),
)


def theirs(path: str) -> bool:
    """Tell whether a file is neither torch's nor ours."""
    return not path.startswith(("<frozen", *_NOT_THEIRS)) and "contextlib.py" not in path


def written(path: str, line: int) -> str:
    """Name a line as `file:line: what it says`."""
    text = linecache.getline(path, line).strip()
    return f"{os.path.basename(path)}:{line}" + (f": {text[:80]}" if text else "")


def of_frame(frame: FrameType | None) -> str | None:
    """Find the innermost line that is neither torch's nor ours, from a frame outwards, within a run of a model."""
    found: str | None = None
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(_MODEL):
            return found
        if found is None and theirs(path):
            found = written(path, frame.f_lineno)
        frame = frame.f_back
    return None


def of_traceback(traceback: TracebackType | None) -> str | None:
    """Find the innermost such line that an exception came through, beyond the model's own."""
    found, within = None, False
    while traceback is not None:
        path = traceback.tb_frame.f_code.co_filename
        within = within or path.startswith(_MODEL)
        if within and theirs(path):
            found = written(path, traceback.tb_lineno)
        traceback = traceback.tb_next
    return found


def at(line: str | None) -> str:
    """Write a line in brackets, to be added to a reason; nothing if none is known."""
    return f" ({line})" if line else ""
