"""Whose code a verification would run: of each cell, that of an installed plugin, or a text that the folder holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellbench.errors import CellbenchError, StoreError
from cellbench.plugins import Registry, discover
from cellbench.records import ReplicaKey, Source, TaskSpec, is_own
from cellbench.store import Store
from cellbench.store.replica import families
from cellbench.training.again import is_from_file
from cellbench.wording import short


@dataclass(frozen=True)
class Code:
    """The code of one cell, or of the task.

    Attributes:
        label: the cell's; `the task`.
        factory: the class or function that is called.
        texts: the texts of a cell from a file, as the folder holds them; empty if it is installed here.
        provider: the plugin that it is installed from.
    """

    label: str
    factory: str
    texts: tuple[Source, ...]
    provider: str

    def __str__(self) -> str:
        if not self.texts:
            return f"{self.label}: {self.factory} of {self.provider}, as it is installed here"
        texts = (f"{s.module} ({len(s.text.encode()):,} bytes, SHA-256 {s.sha256})" for s in self.texts)
        return "\n    ".join([f"{self.label}: {self.factory} of a file, as the folder holds it:", *texts])


def of_cells(
    cells: Iterable[tuple[str, ReplicaKey]],
    resolved: Mapping[str, Any],
    texts: Mapping[str, Source],
    registry: Registry,
) -> list[Code]:
    """List the code of cells, each once, and of the task if it is the user's own.

    Args:
        cells: the label and the key of each.
        resolved: the experiment.
        texts: the folder's, by their SHA-256.
        registry: the plugins that are installed.

    Raises:
        KeyError, ValueError: a text is not stored, or is not the one that was run.
        PluginError: a cell is not installed.
    """
    found: dict[Code, None] = {}
    for label, key in cells:
        if is_from_file(label, resolved):
            found[Code(label, key.factory, _held(key.cell_sources, texts), "")] = None
        else:
            entry = registry.find("cell", key.cell)
            found[Code(label, entry.factory_name, (), entry.provider)] = None
        if is_own(key.task) and not (own := TaskSpec(key.task, _held(key.task_sources, texts))).arrays:
            found[Code("the task", key.task, own.sources, "")] = None
    return sorted(found, key=lambda code: code.label)


def _held(shas: Sequence[str], texts: Mapping[str, Source]) -> tuple[Source, ...]:
    held = tuple(texts[sha] for sha in shas)
    for sha, source in zip(shas, held, strict=True):
        if source.sha256 != sha:
            raise ValueError(f"the stored text of {short(source.module)} is not the one that was run")
    return held


def of_folder(folder: Path) -> list[Code]:
    """List the code that `verify` of a folder may run, whatever it chooses. Runs none of it.

    Raises:
        CellbenchError: the folder holds no results, a text is not the one that was run, or a cell is not installed.
    """
    with Store(folder, write=False) as store:
        resolved, texts, known = store.experiment()["resolved"], store.sources(), families(store)
        with store.reading():
            cells = [(label, ReplicaKey.parse(text)) for label, text in known]
            found = of_cells(cells, resolved, texts, discover())
    if not found:
        raise StoreError(f"{folder} holds no finished replica to verify")
    return found


def write_texts(found: Sequence[Code], out: Path) -> list[Path]:
    """Write the texts that a folder holds into another, for people to read.

    Args:
        found: as `of_folder` lists them.
        out: a folder that is not there yet, or is empty.

    Returns:
        The files. A text that two cells share is written once.

    Raises:
        CellbenchError: `out` holds something, or cannot be written.
    """
    paths = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise CellbenchError(f"--sources {out}: the folder is not empty; name another, which need not exist")
        for source in dict.fromkeys(source for code in found for source in code.texts):
            # the names are the author's, and must not lead out of the folder
            name = re.sub(r"[^A-Za-z0-9._-]+", "_", source.module)[-80:]
            path = out / f"{source.sha256[:12]}-{name}"
            with path.open("x", encoding="utf-8", newline="") as file:
                file.write(source.text)
            paths.append(path)
    except OSError as error:
        raise CellbenchError(f"--sources {out}: {error.strerror}") from None
    return paths
