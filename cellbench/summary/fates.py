"""Decide which cells get no verdict on their speed: they failed, diverged or broke a law; and say why."""

from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np

from cellbench.summary import words
from cellbench.summary.selection import DIVERGED, FAILED, MISSING, NOT_PLANNED, ON_MACHINE, Selection
from cellbench.wording import escaped, one_line

FATED = ("failed", "diverged", "broken law")
"""The words that come before every other verdict, in this order."""

DESPITE = " despite a broken law"


def fate(replicas: Selection, label: str) -> str:
    """Return the word of a cell that gets no verdict on its speed; empty for one that does.

    - `failed`: every replica that ended, ended in the cell's own code
    - `diverged`: every replica failed or diverged before it had solved
    - `broken law`: the cell breaks a law, and the run was not told to trust it
    """
    # every row of a cell asks, and it depends on the cell alone
    if label not in replicas.fates:
        replicas.fates[label] = _fate(replicas, label)
    return replicas.fates[label]


def _fate(replicas: Selection, label: str) -> str:
    ended = _ended(replicas, label)
    if len(ended) and bool((ended == FAILED).all()):
        return "failed"
    if len(ended) and bool(np.isin(ended, (FAILED, DIVERGED)).all()):
        return "diverged"
    return "broken law" if breaks(replicas, label) and not replicas.design.trusted else ""


def breaks(replicas: Selection, label: str) -> tuple[str, ...]:
    """List the laws that a cell breaks, in words."""
    return tuple(replicas.design.broken_laws.get(label, ()))


def why(replicas: Selection, label: str) -> str:
    """Say in a sentence why a cell gets no verdict on its speed."""
    word, total = fate(replicas, label), len(_ended(replicas, label))
    if word == "failed":
        return f"All {total:,} replicas of {label} failed in its own code: {_errors(replicas, label)}."
    if word == "diverged":
        return f"{_diverged(replicas, label)} of {label} diverged{_first(replicas, label)}{_also(replicas, label)}."
    laws = breaks(replicas, label)
    return f"{label} breaks {words.count(len(laws), 'laws')} of cells: {'; '.join(laws)}."


def partly(replicas: Selection, label: str) -> str:
    """Say in a sentence how many of a cell's replicas failed or diverged, and why; empty if none did."""
    ended = _ended(replicas, label)
    failed, diverged = int((ended == FAILED).sum()), int((ended == DIVERGED).sum())
    parts = []
    if failed:
        parts.append(f"{failed:,} failed ({_errors(replicas, label)})")
    if diverged:
        parts.append(f"{diverged:,} diverged{_first(replicas, label)}")
    if not parts:
        return ""
    return f"Of the {len(ended):,} replicas of {label}, {words.listing(parts)}; they count as the whole budget."


def _ended(replicas: Selection, label: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Select the states of a cell's replicas that ended, those that a machine's failure ended aside."""
    state = replicas.state[replicas.cell(label)]
    found: np.ndarray[tuple[int], np.dtype[np.int64]] = state[~np.isin(state, (NOT_PLANNED, MISSING, ON_MACHINE))]
    return found


def _errors(replicas: Selection, label: str) -> str:
    """Tell a cell's most frequent failure, and how many others there are."""
    counted = Counter(escaped(failure(text)) for text in replicas.tracebacks.get(label, ()))
    if not counted:
        return "no traceback is stored"
    # the most frequent, and of equally frequent ones the first in the alphabet
    first = min(counted, key=lambda said: (-counted[said], said))
    more = f", and {words.count(len(counted) - 1, 'other errors')}" if len(counted) > 1 else ""
    return f"{first}{more}"


def _diverged(replicas: Selection, label: str) -> str:
    ended = _ended(replicas, label)
    count = int((ended == DIVERGED).sum())
    share = words.percent(count / len(ended))
    return f"All {count:,} replicas" if count == len(ended) else f"{count:,} of {len(ended):,} replicas ({share})"


def _first(replicas: Selection, label: str) -> str:
    c = replicas.cell(label)
    steps = replicas.diverged_at[c][replicas.state[c] == DIVERGED]
    first = np.nanmin(steps) if np.isfinite(steps).any() else math.nan
    return "" if math.isnan(first) else f", the first at step {first:.0f}"


def _also(replicas: Selection, label: str) -> str:
    failed = int((_ended(replicas, label) == FAILED).sum())
    return f"; {failed:,} failed ({_errors(replicas, label)})" if failed else ""


_FRAME = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+)', re.MULTILINE)
_OURS = re.compile(r"/cellbench/(?!cells/|tasks/)|/(?:torch|numpy)/|/python3\.\d+/(?!site-packages/)")


def failure(traceback: str) -> str:
    """Tell a stored traceback in a few words: the error, and the line of the cell's own code that it came through.

    >>> failure('Traceback (most recent call last):\\n  File "<mine.py 0123>", line 7, in f\\n    x\\nKeyError: 1')
    'KeyError: 1 (mine.py, line 7)'
    """
    # of errors that caused each other, Python writes the first one first
    first = re.split(r"\n\n(?:The above exception|During handling)", traceback.strip(), maxsplit=1)[0]
    lines = [line for line in first.splitlines() if line.strip() and not line.startswith((" ", "\t"))]
    said = one_line(lines[-1], 200) if lines else "an error without a traceback"
    frames = [m for m in _FRAME.finditer(first) if not _OURS.search(m["file"])]
    if not frames:
        return said
    file = frames[-1]["file"]
    name = file[1:].rpartition(" ")[0] if file.startswith("<") else file.replace("\\", "/").rpartition("/")[2]
    return f"{said} ({name or file}, line {frames[-1]['line']})"
