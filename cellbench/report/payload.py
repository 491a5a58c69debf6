"""Make what the page embeds: frames in little space, and the JavaScript of vega."""

from __future__ import annotations

import hashlib
import json
import math
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cellbench import usercache
from cellbench.errors import StoreError
from cellbench.report.drawing import python
from cellbench.report.files import write_bytes

DIGITS = 4
"""Significant digits of a chart's numbers; a table's CSV has all of them."""


def frame(table: pd.DataFrame, digits: int | None = DIGITS) -> dict[str, Any]:
    """Encode a frame by columns: numbers rounded, other columns as runs of positions in a list of their values.

    >>> frame(pd.DataFrame({"cell": ["a", "a", "b"], "x": [1.0, 0.123456, math.nan]}))
    {'length': 3, 'columns': {'cell': {'of': ['a', 'b'], 'runs': [0, 2, 1, 1]}, 'x': [1, 0.1235, None]}}
    """
    return {"length": len(table), "columns": {str(name): _column(table[name], digits) for name in table.columns}}


def _column(column: pd.Series[Any], digits: int | None) -> Any:
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        return _runs(column)
    values = column.to_numpy(dtype=np.float64, na_value=math.nan)
    known = np.where(np.isfinite(values), values, math.inf)
    if 4 * np.count_nonzero(known[1:] != known[:-1]) < len(values):  # long runs of one number
        found = _runs(pd.Series(np.where(np.isfinite(values), values, math.nan)))
        return {**found, "of": [None if x is None else _number(x, digits) for x in found["of"]]}
    different, which = np.unique(values, return_inverse=True)  # an accuracy has few values
    numbers = [_number(x, digits) for x in different.tolist()]
    return [numbers[i] for i in which.ravel().tolist()]


def _number(x: float, digits: int | None) -> float | int | None:
    if not math.isfinite(x):
        return None
    rounded = float(f"{x:.{digits}g}") if digits is not None else x
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def _runs(column: pd.Series[Any]) -> dict[str, Any]:
    codes, values = pd.factorize(column, use_na_sentinel=True)
    occurring: list[Any] = [v.item() if isinstance(v, np.generic) else v for v in values]
    if (codes < 0).any():
        codes = np.where(codes < 0, len(occurring), codes)
        occurring.append(None)
    if not len(codes):
        return {"of": occurring, "runs": []}
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    lengths = np.diff(np.concatenate([starts, [len(codes)]]))
    runs = np.stack([codes[starts], lengths], axis=1).ravel().tolist()
    return {"of": occurring, "runs": runs}


def script_safe(value: object) -> str:
    """Encode a value as JSON that is safe inside a script element, whatever its strings hold."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def vega() -> str:
    """Return Vega, Vega-Lite and vega-embed as one script. Bundling takes seconds, so the user's cache keeps it.

    The page runs it, so it is kept in a folder that nobody else can change, with the hash of its text.
    """
    version = metadata.version("vl-convert-python")  # it brings one version of vega, and uses its newest vega-lite
    folder = usercache.private("page")
    kept = None if folder is None else folder / f"vega-by-vl-convert-{version}.js"
    if kept is not None and (found := _whole(kept)) is not None:
        return found
    text = _no_end_tags(_bundle())
    if kept is not None:
        with suppress(StoreError):  # the disk is full: this report has it
            write_bytes(kept, f"// {_hash(text.encode())}\n{text}".encode())
    return text


def _whole(kept: Path) -> str | None:
    """Read the script that is kept; None if it is not there, or not as it was written."""
    try:
        head, _, content = kept.read_bytes().partition(b"\n")
        return content.decode() if head.decode() == f"// {_hash(content)}" else None
    except (OSError, UnicodeDecodeError):
        return None


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _bundle() -> str:
    """Bundle vega in a process of its own: in this one the hundred MiB that it takes would stay in use."""
    process = python("from cellbench.report.drawing import bundle; bundle()")
    made, _ = process.communicate()
    if process.returncode or not made:
        raise StoreError("report.html: the process that bundles vega ended. Is memory short? Run the command again.")
    return made


def _no_end_tags(text: str) -> str:
    """Escape what would end a script element early."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")
