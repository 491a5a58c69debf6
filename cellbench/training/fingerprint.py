"""What a replica's numbers depend on beside its key, as it is in this process; compared between machines."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from cellbench.engines import Refused
from cellbench.errors import CellbenchError
from cellbench.model import task_of
from cellbench.plugins import registry, sources
from cellbench.records import CPU, NUMBERS_VERSION, CellSpec, Chunk, Outcome, Source, TaskSpec
from cellbench.training.worker import work

T = TypeVar("T")

Facts = Mapping[str, str]
"""By name (`torch`, `the text of cellbench`), the version or the hash that this process has."""

Need = tuple[CellSpec, tuple[int, ...], str, str, TaskSpec | None, str]
"""What a worker has to train: cell, hidden sizes, engine, the task's name, its texts if it is the user's own, and the
device."""

# all that computes numbers; what plans, stores and reports them may differ between client and worker
_ROOMS = ("model", "engines", "training", "plugins", "records", "cells", "tasks", "cell.py", "streams.py", "task.py")


def of_cells(needs: Sequence[Need]) -> Facts:
    """Collect the facts that the numbers of some cells depend on."""
    found: dict[str, str] = {}
    for need in needs:
        found.update(of_cell(*need))
    return found


@lru_cache(maxsize=256)
def of_cell(
    cell: CellSpec,
    hidden_sizes: tuple[int, ...],
    engine: str,
    task: str,
    own: TaskSpec | None = None,
    device: str = CPU,
) -> Facts:
    """Collect the facts that the numbers of one cell on one engine depend on."""
    found = {
        "cellbench": importlib.metadata.version("cellbench"),
        "the text of cellbench": _own_text(),
        "numbers_version": str(NUMBERS_VERSION),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "torch": torch.__version__,
        "numpy": np.__version__,
        **(_registered("task", task) if own is None else _imported(own.sources)),
    }
    # the text of a cell from a file is in its key; the libraries that it imports are not
    if cell.from_file:
        found |= _imported(cell.sources)
    else:
        found |= _registered("cell", cell.name)
    # last bits depend on what does the arithmetic
    if device != CPU:
        from cellbench.engines.device import missing, name_of

        found["the card"] = missing(device) or name_of(device)
    elif engine == "lanes":
        found |= _compiled(cell, hidden_sizes, task, own)
    else:
        from cellbench.engines.on_torch import instruction_set

        found["the instruction set of torch"] = instruction_set()
    return found


@lru_cache(maxsize=1)
def _own_text() -> str:
    """Hash the modules that train: two checkouts may have one version number."""
    here = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for room in _ROOMS:
        place = here / room
        paths = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.suffix in (".py", ".h"))
        if not paths:
            raise FileNotFoundError(f"{place}: no such module; a name in _ROOMS is out of date")
        for path in paths:
            digest.update(path.relative_to(here).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _registered(kind: str, name: str) -> dict[str, str]:
    """Find who provides a cell or a task, a hash of its text, and the versions of libraries that it needs."""
    try:
        entry = registry().find(kind, name)
        texts = sources.of_entry(entry)
    except CellbenchError as error:
        return {f"the {kind} {name}": str(error)}
    text = hashlib.sha256("".join(s.sha256 for s in texts).encode()).hexdigest()[:12]
    declared = _libraries(entry.distribution)
    return {f"the {kind} {name}": f"from {entry.provider}, text {text}", **declared, **_imported(texts)}


def _libraries(distribution: str) -> dict[str, str]:
    """Find the versions of what a plugin requires: its cells may be another library's. cellbench's own are above."""
    found = {}
    for needed in [] if distribution == "cellbench" else _metadata(importlib.metadata.requires, distribution) or []:
        name = re.split(r"[^\w.-]", needed, maxsplit=1)[0]
        if "extra ==" not in needed and name not in ("cellbench", "numpy", "torch"):
            version = _metadata(importlib.metadata.version, name)
            found[f"{name} (needed by {distribution})"] = version or "not installed"
    return found


def _imported(texts: Sequence[Source]) -> dict[str, str]:
    """Find the version (or else a hash) of each library that a cell's text imports."""
    return {f"{name} (imported by {texts[0].module})": _library(name) for name in sources.libraries(texts)}


@lru_cache(maxsize=256)
def _library(module: str) -> str:
    """Name the version of a module's distribution; a module of no distribution has a hash of its text instead."""
    distributions = sorted({name for name in _distributions().get(module, ()) if name})
    if distributions:
        return ", ".join(f"{name} {_metadata(importlib.metadata.version, name)}" for name in distributions)
    spec = sources.spec_of(module)
    if spec is None:
        return "not installed"
    folders = [Path(place) for place in spec.submodule_search_locations or ()]
    files = sorted(p for folder in folders for p in folder.rglob("*.py"))
    if not folders and spec.origin is not None:
        files = [Path(spec.origin)]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files if path.is_file()))
    return f"text {digest.hexdigest()[:12]}"


_distributions = lru_cache(maxsize=1)(importlib.metadata.packages_distributions)


def _metadata(ask: Callable[[str], T | None], distribution: str) -> T | None:
    """Ask importlib.metadata about a distribution; None if it is not installed."""
    try:
        return ask(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _compiled(cell: CellSpec, hidden_sizes: tuple[int, ...], task: str, own: TaskSpec | None) -> dict[str, str]:
    """Find the instruction set and the compiler; without a compiler, the one that the cached programs were built by."""
    from cellbench.engines.lanes import build

    try:
        isa = str(build.chosen_isa())
    except Refused as refusal:
        isa = str(refusal)
    try:
        compiler = build.find_compiler()
        found = compiler.version if compiler else _cached(cell, hidden_sizes, task, own)
    except Refused as refusal:
        found = str(refusal)
    return {"the instruction set of lanes": isa, "the C++ compiler": found}


def _cached(cell: CellSpec, hidden_sizes: tuple[int, ...], task: str, own: TaskSpec | None) -> str:
    """Name the compilers of the cached programs of a cell, or say that they are missing."""
    from cellbench.engines import OPTIMIZERS, prepare
    from cellbench.model import blueprint_of

    try:
        made = [
            prepare("lanes", blueprint_of(cell, h, task_of(task, own)), OPTIMIZERS["adam"], None, ()).compiler
            for h in hidden_sizes
        ]
    except (Refused, CellbenchError) as error:
        return f"none, and {cell.label} is not in its cache ({error}); `cellbench build` fills it"
    return ", ".join(sorted(set(made)))


def work_if_like(expected: Facts, need: Need, chunk: Chunk) -> list[Outcome]:
    """Train a chunk, if this worker computes the numbers that the client would.

    Raises:
        CellbenchError: it would compute others; the message lists each difference.
    """
    unlike = differences(expected, of_cell(*need))
    if unlike:
        raise CellbenchError(
            f"A worker that joined during the run ({socket.gethostname()}) would compute other numbers than this "
            "machine. It trained nothing; the results of other workers are kept.\n"
            + "\n".join(f"  {text}" for text in unlike)
        )
    return work(chunk)


_HINTS = {
    "the instruction set of lanes": "set CELLBENCH_ISA=avx2 (or sse2) for the client and all workers",
    "the instruction set of torch": "set ATEN_CPU_CAPABILITY=avx2 for the client and all workers",
    "the C++ compiler": "set CXX to one compiler on all machines, or share a cache (CELLBENCH_CACHE) that "
    "`cellbench build` filled",
}


def differences(here: Facts, there: Facts) -> list[str]:
    """Describe the facts that differ, one line per fact, with what to do about it."""
    found = []
    for name, value in here.items():
        other = there.get(name, "unknown")
        if other != value:
            hint = f"; {_HINTS[name]}" if name in _HINTS else ""
            found.append(f"{name}: {value} here, {other} there{hint}")
    return found
