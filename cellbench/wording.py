"""Texts, cut, cleaned and corrected before people read them."""

from __future__ import annotations

import difflib
import re
import shutil
import textwrap
from collections.abc import Sequence

READ_AS_MISSING = frozenset(
    (
        "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
        "NULL", "NaN", "None", "n/a", "nan", "null",
    )
)  # fmt: skip
"""Texts that `pandas.read_csv` takes for a missing value."""

NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}"
"""The pattern of an experiment's name, which is also the name of its results folder."""


NARROWEST, WIDEST = 40, 100
"""Columns of the narrowest terminal that is written for, and of the widest prose: longer lines are hard to read."""


def width() -> int:
    """Return the columns of the terminal: those of COLUMNS if it is set, in a pipe too; without a terminal 80."""
    return max(NARROWEST, shutil.get_terminal_size((80, 24)).columns)


def wrapped(text: str, columns: int, after: str = "") -> list[str]:
    """Break a text into lines, each but the first after `after`; paths, options and `95 %` stay whole.

    >>> wrapped("It goes on with: run /home/me/first-experiment.yaml", 40, after="  ")
    ['It goes on with: run', '  /home/me/first-experiment.yaml']
    """
    lines = textwrap.wrap(
        printable(text).replace(" %", "\u00a0%"),
        min(columns, WIDEST),
        subsequent_indent=after,
        break_on_hyphens=False,
        break_long_words=False,
    )
    return [line.replace("\u00a0", " ") for line in lines] or [""]


def one_line(said: object, most: int | None = None) -> str:
    """Put a text, or an error's message, on one line, cut after `most` characters.

    >>> one_line(ValueError("two\\n  lines"))
    'two lines'
    """
    return " ".join(str(said).split())[:most]


def described(error: BaseException, most: int = 200) -> str:
    """Put an error on one line: its type, and its message cut after `most` characters.

    >>> described(ValueError("two\\n  lines"))
    'ValueError: two lines'
    """
    return f"{type(error).__name__}: {one_line(error, most)}"


def cut(text: str) -> str:
    """Show a text that people know already, such as an option that they typed, in 80 characters at most.

    >>> len(cut("--set seeds=" + "9" * 5_000))
    80
    """
    return text if len(text) <= 80 else f"{text[:77]}..."


def short(value: object) -> str:
    """Show a value as Python writes it, in 80 characters at most.

    >>> short(10**5_000)
    'a value that is too long to be shown'
    """
    try:
        return cut(repr(value))
    except (ValueError, RecursionError):  # an integer of thousands of digits, or a list within itself
        return "a value that is too long to be shown"


def is_axis(name: object) -> bool:
    """Tell whether a name can be that of a task's parameter or difficulty: a column's head, a part of a file's name.

    >>> is_axis("bits"), is_axis("../bits"), is_axis("bits\\n")
    (True, False, False)
    """
    return isinstance(name, str) and 0 < len(name) <= 100 and name.isprintable() and not set(name) & {"/", "\\"}


def printable(text: str) -> str:
    """Put a string from a plugin on one line, without control characters; what else cannot be printed is escaped.

    >>> printable("a\\x1b[31m\\nb")
    'a [31m b'
    """
    return escaped(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).strip())


def escaped(text: str) -> str:
    r"""Write what cannot be printed, line ends aside, as Python does: it could act on the terminal that shows it.

    >>> escaped("a\x1b[31m\u202e")
    'a\\x1b[31m\\u202e'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Suggest the nearest known word, or list them all if none is near.

    >>> did_you_mean("gruu", ["lstm", "gru"])
    'Did you mean gru?'
    >>> did_you_mean("x", ["lstm", "gru"])
    'Known: lstm, gru.'
    """
    near = difflib.get_close_matches(word, known, 1) if len(word) <= 200 else []
    if near:
        return f"Did you mean {near[0]}?"
    more = f" and {len(known) - _MOST_KNOWN:,} more" if len(known) > _MOST_KNOWN else ""
    return f"Known: {', '.join(known[:_MOST_KNOWN])}{more}."


_MOST_KNOWN = 50
"""The most words that are listed."""


def share_right(kind: str, tolerance: float) -> str:
    """Name the share of a task's answers that are right, by their kind; see `cellbench.task.Task.kind`.

    >>> share_right("classes", 0.04), share_right("numbers", 0.04)
    ('step accuracy', 'share within 0.04')
    """
    others = {"classes": "step accuracy", "numbers": f"share within {tolerance:g}"}
    return others.get(kind, "bit accuracy")


def duration(seconds: float) -> str:
    """Write a duration.

    >>> duration(45), duration(200), duration(7500)
    ('45 s', '3 min 20 s', '2 h 5 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
