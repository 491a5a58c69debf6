"""What the scripts that write measured parts into a page share: `<!-- measured: NAME -->` to `<!-- end -->`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

_PART = re.compile(r"(<!-- measured: ([\w-]+) -->\n).*?(<!-- end -->)", re.S)


def fill(page: Path, make: Callable[[str], str], missing: tuple[type[Exception], ...] = (FileNotFoundError,)) -> None:
    """Make each part of a page anew by its name, or leave it as it is where its results are missing."""

    def made(part: re.Match[str]) -> str:
        try:
            return f"{part[1]}{make(part[2])}\n{part[3]}"
        except missing as error:
            print(f"{part[2]}: no results ({error}); left as it is", file=sys.stderr)
            return part[0]

    page.write_text(_PART.sub(made, page.read_text()))
