"""Folders in the user's cache whose content is run: only those that nobody else can change."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import platformdirs


def private(name: str, chosen: str | None = None) -> Path | None:
    """Open a folder, and make it if it is not there.

    Args:
        name: of the folder within the user's cache of cellbench.
        chosen: the path of another folder to take instead.

    Returns:
        Its path without links; None if it cannot be made, if others may write to it, or where there is no home (HOME
        is unset, and the user has no account).
    """
    folder = Path(chosen) if chosen else platformdirs.user_cache_path("cellbench") / name
    # without a home "~" stays as it is, and would become a folder of that name in the working directory
    if not chosen and not folder.is_absolute():
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = folder.resolve()
    except OSError:
        return None
    return folder if is_private(folder) else None


def is_private(folder: Path) -> bool:
    """Return whether only the user (and root) may change what is in a folder, or put another folder in its place."""
    if not hasattr(os, "getuid"):
        return True  # Windows: the user's profile is private by its access list
    for place in (folder, *folder.parents):
        try:
            facts = place.stat()
        except OSError:
            return False
        if facts.st_uid not in (os.getuid(), 0):
            return False
        others = facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        # in a sticky folder such as /tmp, others cannot rename what belongs to the user
        if others and (place == folder or not facts.st_mode & stat.S_ISVTX):
            return False
    return True
