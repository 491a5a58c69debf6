"""Where other people's code raised: their own file and line, and the shapes that came in."""

from __future__ import annotations

import linecache
import sysconfig
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

_HOUSE = Path(__file__).parent.parent
_BUILT_IN = (_HOUSE / "cells", _HOUSE / "tasks")
"""Parts of cellbench that count as somebody's code: they come in by the same door."""
_LIBRARIES = tuple(Path(sysconfig.get_paths()[name]) for name in ("stdlib", "platstdlib"))
_PACKAGES = ("torch", "numpy")


@dataclass(frozen=True)
class Place:
    """A line of somebody's code.

    Attributes:
        file: as Python names it; for a cell from a file `<mycell.py 0123456789ab>`.
        line: its number, from 1.
        code: its text, without the spaces around it.
        function: the function that the tensors came into: the first of somebody's own on the way to the line.
        shapes: of that function's arguments that are or hold tensors, for example `x (5, 2), state (5, 8)`.
    """

    file: str
    line: int
    code: str
    function: str
    shapes: str

    def text(self, path: str = "") -> str:
        """Write the place in lines: file and line, the code, the shapes.

        Args:
            path: the file's path, for a cell from a file.
        """
        lines = [f"{path or self.file}:{self.line}", f"    {self.code}"]
        if self.shapes:
            lines.append(f"  {self.function} was given {self.shapes}")
        return "\n".join(lines)


def place_of(error: BaseException) -> Place | None:
    """Find the innermost line of somebody's code that an error, or the error that caused it, came through.

    Returns:
        None if it came through none.
    """
    found = None
    for each in _chain(error):
        frames = [
            (frame, line) for frame, line in traceback.walk_tb(each.__traceback__) if theirs(frame.f_code.co_filename)
        ]
        if frames:
            found = frames
    if not found:
        return None
    frame, line = found[-1]
    file = frame.f_code.co_filename
    # the first function that tensors came into: `forward`, for what a helper of it raised
    came_in = ((outer.f_code.co_name, shapes) for outer, _ in found if (shapes := _shapes(outer)))
    return Place(file, line, linecache.getline(file, line).strip(), *next(came_in, (frame.f_code.co_name, "")))


def theirs(file: str) -> bool:
    """Tell whether a file is somebody's code: not cellbench's own, torch's, numpy's or Python's."""
    if file.startswith("<"):
        # a cell from a file has a name in the same brackets, but with the file's suffix and its hash
        return ".py " in file
    path = Path(file)
    if any(path.is_relative_to(folder) for folder in _BUILT_IN):
        return True
    if path.is_relative_to(_HOUSE) or any(part in _PACKAGES for part in path.parts):
        return False
    return not any(path.is_relative_to(folder) and "site-packages" not in path.parts for folder in _LIBRARIES)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, then those that caused it."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__


def _shapes(frame: FrameType) -> str:
    """List the arguments of a frame's function that are or hold tensors, each with its shape."""
    code = frame.f_code
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    shown = ((name, _shape(frame.f_locals.get(name))) for name in names)
    return ", ".join(f"{name} {shape}" for name, shape in shown if shape)


def _shape(value: Any) -> str:
    """Write the shape of a tensor, or those of the tensors in tuples, lists and dicts; empty if there is none."""
    if isinstance(value, list | tuple) or type(value) is dict:
        parts = list(filter(None, map(_shape, value.values() if isinstance(value, dict) else value)))
        return f"({', '.join(parts)})" if parts else ""
    shape = getattr(value, "shape", None)
    # a torch.Size is a tuple; anything else that is named so is not a tensor's
    return str(tuple(shape)) if isinstance(shape, tuple) and not isinstance(value, type) else ""
