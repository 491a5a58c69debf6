"""Modules that a cell's text imports and that no key can hold: neither beside it, nor of an installed distribution.

Of a library, the version is stored with the results. A helper in some folder of PYTHONPATH has none.
"""

from __future__ import annotations

import importlib.metadata
import json
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlparse

from cellbench.plugins.sources import libraries, spec_of
from cellbench.records import Source


def find_strays(texts: Sequence[Source]) -> dict[str, Path]:
    """Find the helpers that these texts import and whose own text is in no key: where each is, by its name.

    Args:
        texts: of a cell, as its key holds them.
    """
    found = {}
    for name in libraries(texts):
        place = _place(name)
        if place is not None and not _installed(name, place):
            found[name] = place
    return found


def _place(name: str) -> Path | None:
    """Find the file or folder of a top-level module, without importing it; None if it is not there."""
    spec = spec_of(name)
    if spec is None:
        return None
    where = [spec.origin] if spec.has_location else list(spec.submodule_search_locations or ())
    return Path(where[0]).resolve() if where and where[0] else None


def _installed(name: str, place: Path) -> bool:
    folders = {sysconfig.get_path(kind) for kind in ("purelib", "platlib", "stdlib")}
    if any(place.is_relative_to(Path(folder).resolve()) for folder in folders):
        return True
    return name in _names() or any(place.is_relative_to(project) for project in _projects())


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    """List the top-level modules of all installed distributions."""
    return frozenset(importlib.metadata.packages_distributions())


@lru_cache(maxsize=1)
def _projects() -> tuple[Path, ...]:
    """List the folders of projects that are installed as they are (`pip install --editable`, PEP 660)."""
    found = []
    for distribution in importlib.metadata.distributions():
        with suppress(ValueError, KeyError, TypeError):
            url = json.loads(distribution.read_text("direct_url.json") or "{}")["url"]
            if url.startswith("file:"):
                found.append(Path(unquote(urlparse(url).path)).resolve())
    return tuple(found)
