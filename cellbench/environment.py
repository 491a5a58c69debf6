"""Versions, hardware, commit and plugins, as `cellbench info` prints them and the store keeps them per run."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from cellbench import compiler
from cellbench.plugins import Registry

_UNKNOWN = "cellbench run EXPERIMENT"
"""What is suggested where the stored command is not ours."""

_EXTRA = 'extra == "dask"'
"""The only extra that a run may use."""


def usable_cores() -> int:
    """Count the cores that this process may use, by its affinity and its control group's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(cores, int(quota + 0.5) if quota else cores))


def _cgroup_quota() -> float | None:
    """Read how many cores cgroup v2 or v1 grants; None without a limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()[:2]
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        quota_us = int(Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text(encoding="utf-8"))
        period_us = int(Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text(encoding="utf-8"))
        return quota_us / period_us if quota_us > 0 else None
    except (OSError, ValueError):
        return None


def describe(registry: Registry) -> dict[str, Any]:
    """Describe everything that a bug report or a reviewer asks for, without importing torch."""
    versions = {}
    for package in _packages():
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    entries = [*registry.cells.values(), *registry.tasks.values()]
    plugins = {e.distribution: e.version for e in entries if e.distribution != "cellbench"}
    return {
        "cellbench": importlib.metadata.version("cellbench"),
        "commit": _commit(),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": usable_cores(),
        "compiler": _compiler(),
        "packages": versions,
        "plugins": dict(sorted(plugins.items())),
        "broken": [str(b) for b in registry.broken],
    }


def _compiler() -> str:
    try:
        found = compiler.find()
    except ValueError as error:
        return f"none found: {error}"
    return found.version if found else "none found"


def _packages() -> list[str]:
    """Name the distributions that cellbench itself requires, in pyproject's order."""
    required = importlib.metadata.requires("cellbench") or []
    asked = (text for text in required if "extra ==" not in text or _EXTRA in text)
    return [re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in asked]


@lru_cache(maxsize=1)
def _commit() -> str:
    """Return the commit of the checkout that cellbench runs from; empty outside a checkout."""
    folder = Path(__file__).parent.parent
    if not (folder / ".git").exists():
        return ""
    out = _output(["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"])
    return out


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    # ARM64's file has no such line, and Linux knows no other name
    return platform.processor() or platform.machine()


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def command_line() -> str:
    """Return the command line as it was typed, for the record."""
    program = Path(sys.argv[0]).name if sys.argv else ""
    return shlex.join([*(["python", "-m", "cellbench"] if program == "__main__.py" else [program]), *sys.argv[1:]])


def resume() -> str:
    """Return the command that resumes this run: the command line as typed, without --fresh."""
    return shlex.join(["cellbench", *(a for a in sys.argv[1:] if a != "--fresh")])


def again(command: str, commands: Iterable[str] = ()) -> str:
    """Make a stored command safe to type again: without --fresh, which would set the stored results aside.

    Args:
        command: as stored.
        commands: all that are stored in its folder. Those of several shards say that it was merged from them: then the
            command is that of the whole, without --shard, and without --results, where that shard's results lie.
    """
    words = [word for word in _words(command) if word != "--fresh"]
    if merged(commands):
        words = _without(_without(words, "--shard"), "--results")
    starts = (["cellbench"], ["python", "-m", "cellbench"])
    ours = any(words[: len(start) + 1] == [*start, name] for start in starts for name in ("run", "compare"))
    return shlex.join(words) if ours else _UNKNOWN


def merged(commands: Iterable[str]) -> bool:
    """Tell whether a folder was merged from shards, by the commands that are stored in it.

    >>> merged(["cellbench run a.yaml --shard 1/2", "cellbench run a.yaml --shard=2/2"])
    True
    """
    return len({shard for command in commands if (shard := _value(_words(command), "--shard"))}) > 1


def to_go_on(command: str, commands: Iterable[str], folder: Path, name: str) -> list[str]:
    """List the commands that complete a folder: the one that was typed; for one merged from shards, of the whole.

    Args:
        command: the last one.
        commands: all that are stored in the folder.
        folder: the results folder.
        name: of the experiment, which its results folder bears.
    """
    commands = list(commands)
    one = again(command, commands)
    if not merged(commands) or one == _UNKNOWN:
        return [one]
    # `run` looks for a folder that bears the experiment's name
    words = [*_words(one), "--results", str(folder.parent)]
    home = folder.parent / name
    first = [shlex.join(["cellbench", "merge", str(home), str(folder)])] if home != folder else []
    return [*first, shlex.join(words)]


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return []


def _value(words: Sequence[str], option: str) -> str:
    """Return the last value that an option was given; empty if it was given none."""
    found = [word.partition("=")[2] for word in words if word.startswith(f"{option}=")]
    found += [value for word, value in pairwise(words) if word == option]
    return found[-1] if found else ""


def _without(words: Sequence[str], option: str) -> list[str]:
    """Take an option out, with its value."""
    kept, skip = [], False
    for word in words:
        if not skip and word != option and not word.startswith(f"{option}="):
            kept.append(word)
        skip = word == option
    return kept
