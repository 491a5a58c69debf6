"""The C++ compiler of this machine. It is found without torch, so that `cellbench info` answers at once."""

from __future__ import annotations

import functools
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from typing import NamedTuple


class Found(NamedTuple):
    """A C++ compiler that works: how to call it, and the first line that it prints for `--version`."""

    command: tuple[str, ...]
    version: str


def find() -> Found | None:
    """Find the first compiler that works: $CXX, g++, clang++, c++, or the PyPI package ziglang.

    Raises:
        ValueError: $CXX is no command; the message says so.
    """
    return _find(os.environ.get("CXX"), os.environ.get("PATH"))


@functools.lru_cache(maxsize=8)
def _find(cxx: str | None, path: str | None) -> Found | None:
    """Find a compiler for these values of CXX and PATH; asked once for each, since every question starts a process."""
    try:
        commands = [tuple(shlex.split(cxx))] if cxx else []
    except ValueError as error:
        raise ValueError(f"the variable CXX is {cxx!r:.60}, which is no command: {error}") from None
    commands += [("g++",), ("clang++",), ("c++",)]
    for command in commands:
        if command and shutil.which(command[0], path=os.defpath if path is None else path):
            version = _version(command)
            if version is not None:
                return Found(command, version)
    if importlib.util.find_spec("ziglang") is not None:
        command = (sys.executable, "-m", "ziglang", "c++")
        version = _version(command)
        if version is not None:
            return Found(command, version)
    return None


def _version(command: tuple[str, ...]) -> str | None:
    """Ask a compiler for its version; None if it does not run."""
    try:
        answer = subprocess.run(
            [*command, "--version"], capture_output=True, encoding="utf-8", errors="replace", timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = answer.stdout.strip().splitlines()
    return lines[0] if lines else None
