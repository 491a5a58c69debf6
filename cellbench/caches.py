"""The folder for what can be made again: compiled cells, and the page's script."""

from __future__ import annotations

from pathlib import Path

import platformdirs


def user_cache() -> Path | None:
    """Name the user's cache folder; None where there is no home: HOME is unset, and the user has no account."""
    found = platformdirs.user_cache_path("cellbench")
    # without a home "~" stays as it is, and would become a folder of that name in the working directory
    return found if found.is_absolute() else None
