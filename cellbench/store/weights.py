"""The weights of trained models, beside runs.sqlite: one file per replica, weights/12/1234....npz.

They are a copy for convenience. Whatever is missing or damaged is trained again from the store.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path

from cellbench.errors import StoreError
from cellbench.store.guard import is_regular, is_there

NAME = "weights"
_KEY = re.compile(r"[0-9a-f]{32}")


def path(folder: Path, key: str) -> Path:
    """Name the file of a replica's weights."""
    return folder / NAME / key[:2] / f"{key}.npz"


def write(folder: Path, key: str, content: bytes) -> None:
    """Write the weights of a replica as a whole file.

    Raises:
        StoreError: it cannot be written.
    """
    target = path(folder, key)
    try:
        for inner in (folder / NAME, target.parent):
            if inner.is_symlink():
                raise StoreError(f"{inner} is a link: nothing is written there. Remove the link.")
        target.parent.mkdir(parents=True, exist_ok=True)
        number, made = tempfile.mkstemp(prefix=f".{key[:8]}-", dir=target.parent)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(content)
            Path(made).replace(target)
        except BaseException:
            Path(made).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StoreError(
            f"{target} cannot be written: {error.strerror}. Make room or the folder writable, and run the same command "
            "again; or leave out `keep: weights`."
        ) from None


def read(folder: Path, key: str) -> bytes | None:
    """Read the weights of a replica; None if none were kept."""
    target = path(folder, key)
    if not is_regular(target):
        return None
    try:
        return target.read_bytes()
    except OSError as error:
        raise StoreError(f"{target} cannot be read: {error.strerror}") from None


def gather(out: Path, folders: Iterable[Path], keys: Collection[str] | None = None) -> None:
    """Copy into one folder the weights that several have and it does not, all of them or those of some keys."""
    for folder in folders:
        for found in sorted((folder / NAME).glob("??/*.npz")):
            if keys is not None and found.stem not in keys:
                continue
            if _KEY.fullmatch(found.stem) and is_regular(found) and not is_there(path(out, found.stem)):
                write(out, found.stem, found.read_bytes())
