"""The seal of a report: hashes of what it was made from, so that a finished experiment that is run again need not make
it again.

Any change breaks the seal: of the experiment, the plan, the environment or cellbench's text; of a byte of the store or
of the report's files; or a log beside the store.
"""

from __future__ import annotations

import hashlib
import io
import json
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cellbench.records import Planned
from cellbench.report.files import write_text
from cellbench.report.report import FILES
from cellbench.store import FILE
from cellbench.wording import width

NAME = ".report.json"


def request(experiment: Mapping[str, Any], planned: Iterable[Planned]) -> str:
    """Hash everything that a report is made from, except the store.

    Args:
        experiment: resolved, facts and environment, as the store takes them.
        planned: the whole plan.
    """
    digest = hashlib.sha256(json.dumps(experiment, sort_keys=True).encode())
    for p in planned:
        digest.update(repr((p.cell.label, p.point, p.fit, [r.key for r in p.replicas])).encode())
    house = Path(__file__).parent.parent
    for path in sorted(p for p in house.rglob("*") if p.is_file() and p.suffix != ".pyc"):
        digest.update(f"{path.relative_to(house)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def store(folder: Path) -> str | None:
    """Hash the store's bytes; None while a part of the store is in a log beside it."""
    path = folder / FILE
    if any(path.with_name(f"{FILE}-{log}").exists() for log in ("wal", "journal")):
        return None
    return _digest(path)


def put(folder: Path, asked: str, of: str | None, answer: str) -> None:
    """Seal the report that was just made.

    Args:
        folder: the results folder.
        asked: what `request` returned.
        of: what `store` returned before the report was made; if it is None or has changed, nothing is sealed.
        answer: the text that was printed.
    """
    with suppress(OSError):  # something that cellbench does not write lies among the report's files
        if of is not None and of == store(folder):
            content = {"request": asked, "store": of, "files": _files(folder), "answer": answer, "width": width()}
            write_text(folder / NAME, json.dumps({**content, "seal": _own(content)}, indent=1))


def answer(folder: Path, asked: str) -> str | None:
    """Return the text that was printed with the report in the folder if the seal holds, else None.

    It is empty if it was laid out for another width of the terminal.
    """
    with suppress(OSError, ValueError, TypeError, KeyError):
        with _opened(folder / NAME) as file:
            content = json.load(file)
        own = content.pop("seal")
        whole = own == _own(content) and content["request"] == asked
        if whole and content["store"] == store(folder) and content["files"] == _files(folder):
            return str(content["answer"]) if content["width"] == width() else ""
    return None


def _own(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _files(folder: Path) -> dict[str, str]:
    """Hash the report's files that exist."""
    paths = [path for path in (folder / name for name in FILES) if path.exists()]
    paths += sorted((folder / "charts").glob("*.png"))
    return {str(path.relative_to(folder)): _digest(path) for path in paths}


def _digest(path: Path) -> str:
    with _opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _opened(path: Path) -> io.BufferedReader:
    """Open a regular file: a stranger's folder may hold a pipe, which never ends.

    Raises:
        OSError: it is something else, or cannot be opened.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        raise OSError(f"{path} is no regular file")
    return path.open("rb")
