"""The report of `cellbench check`: one line per check."""

from __future__ import annotations

import html
import json
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from cellbench import plugins
from cellbench.conformance import task_laws
from cellbench.conformance.laws import LAWS
from cellbench.conformance.observations import OBSERVATIONS
from cellbench.conformance.subject import Check, Result, Subject
from cellbench.conformance.task_subject import TaskSubject, is_task
from cellbench.conformance.task_subject import subject_of as task_subject_of
from cellbench.errors import CellError
from cellbench.model import one_thread, refused_option
from cellbench.plugins import sources
from cellbench.task import Task
from cellbench.wording import short

checks: tuple[Check, ...] = (*LAWS, *OBSERVATIONS)
"""All checks of a cell, in the order of the report: the laws first."""

task_checks: tuple[Check, ...] = (*task_laws.LAWS, *task_laws.OBSERVATIONS)
"""All checks of a task, likewise."""


@dataclass(frozen=True)
class Findings:
    """The checks of one cell or task, in order, each with its result."""

    subject: Subject | TaskSubject
    found: tuple[tuple[Check, Result], ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(result.ok for _, result in self.found)

    @property
    def verdict(self) -> str:
        """The last line: which laws are broken, or cannot be told; what it does not name holds."""
        laws = [(check.name, result.status) for check, result in self.found if check.law]
        broken = [name for name, status in laws if status == "fail"]
        untold = [name for name, status in laws if status == "skip"]
        if broken:
            return f"{self.subject}: {len(broken)} of {len(laws)} laws broken: {', '.join(broken)}"
        hold = f"all {len(laws)} laws hold"
        if untold:
            hold = (
                f"{len(laws) - len(untold)} of {len(laws)} laws hold, {len(untold)} cannot be told: {', '.join(untold)}"
            )
        failed = "" if self.passed else ", but it cannot be trained"
        return f"{self.subject}: {hold}{failed}"

    def __str__(self) -> str:
        return "\n".join([*(line(check, result) for check, result in _shown(self.found)), self.verdict])

    def __repr__(self) -> str:
        broken = [line(check, result) for check, result in self.found if not result.ok]
        return "\n".join([f"<{self.verdict}>", *broken])

    def _repr_html_(self) -> str:
        """Show every check in a notebook."""
        return f"<pre>{html.escape(str(self))}</pre>"

    def json(self) -> str:
        """Write all findings as JSON, for programs."""
        subject = self.subject
        if isinstance(subject, TaskSubject):
            what: dict[str, Any] = {"task": str(subject), "points": [dict(point) for point in subject.points]}
        else:
            what = {"cell": str(subject), "options": dict(subject.options)}
        return json.dumps(
            {
                **what,
                "passed": self.passed,
                "checks": [
                    {
                        "name": check.name,
                        "law": check.law,
                        "shows": check.shows,
                        "status": result.status,
                        "message": result.message,
                        "data": dict(result.data),
                        **({"place": asdict(result.place)} if result.place else {}),
                    }
                    for check, result in self.found
                ],
            },
            indent=2,
            default=str,
        )


def line(check: Check, result: Result, columns: int | None = None) -> str:
    """Format one check and its result: on one line, and the place of what raised on more.

    Args:
        check, result: what was asked, and what came of it.
        columns: the width of the terminal: what is wider stands below the check's name. None: as wide as it is.
    """
    head, lines = f"{result.status:<5} {check.name:<33}", [result.message]
    first = f"{head} {result.message}"
    if columns is not None and len(first) > columns:
        first = head.rstrip()
        lines = textwrap.wrap(result.message, columns - len(_INDENT), break_long_words=False, break_on_hyphens=False)
    else:
        lines = []
    if result.place is not None:
        lines += result.place.text().splitlines()
    return "\n".join([first, *(f"{_INDENT}{each}" for each in lines)])


_INDENT = " " * 6


def _shown(found: Iterable[tuple[Check, Result]]) -> Iterator[tuple[Check, Result]]:
    """Yield checks as they are shown, each as soon as it is found.

    Those that could not be asked and say the same are one line at the end; the first of them is shown where it stands.
    """
    said: Counter[str] = Counter()
    for check, result in found:
        said[result.message] += result.status == "skip"
        if result.status != "skip" or (result is not _UNASKED and said[result.message] == 1):
            yield check, result
    for message, count in said.items():
        more = count if message == _UNASKED.message else count - 1
        if more > 0:
            name = f"the other {more} checks" if message == _UNASKED.message else f"{more} more checks"
            yield Check(name, False, "", lambda subject: ""), Result("skip", message)


_UNASKED = Result("skip", "there is no cell to check")


def report(
    subject: Subject | TaskSubject,
    *,
    on_found: Callable[[Check, Result], object] = lambda check, result: None,
) -> Findings:
    """Run all checks on a cell or a task. If a cell cannot be made, the checks after the first are skipped.

    Args:
        subject: the cell or task.
        on_found: called with what is to be shown as each check ends; once for all that are skipped.
    """
    found: list[tuple[Check, Result]] = []

    def asked() -> Iterator[tuple[Check, Result]]:
        of_task = isinstance(subject, TaskSubject)
        for check in task_checks if of_task else checks:
            no_cell = not of_task and bool(found) and not found[0][1].ok
            found.append((check, _UNASKED if no_cell else check(subject)))
            yield found[-1]

    for shown in _shown(asked()):
        on_found(*shown)
    return Findings(subject, tuple(found))


def check(cell: str | Callable[..., Any], *, options: Mapping[str, Any] | None = None) -> Findings:
    """Check that a cell or a task is sound, as `cellbench check` does.

    Args:
        cell: a registered name, `path.py:Class`, or a class or factory `(input_size, hidden_size, **options)`; or a
            task: its name, `path.py:Class`, the path of a file of arrays, or a class that derives from `Task`.
        options: passed to the cell's factory; of a task, grid parameters to ask it at.

    Returns:
        What each check found; `passed` says whether nothing failed, and `print` shows one line per check.

    Raises:
        PluginError, CellError: there is no such cell, or it cannot be imported.

    Example:
        >>> check("gru").passed
        True
    """
    with one_thread():
        return report(_subject(cell, options))


def _subject(given: str | Callable[..., Any], options: Mapping[str, Any] | None) -> Subject | TaskSubject:
    """Find the cell or the task that a user names."""
    if isinstance(given, type) and issubclass(given, Task):
        return task_subject_of(given, options)
    if isinstance(given, str) and is_task(given):
        return task_subject_of(given, options)
    return subject_of(given, options)


def subject_of(cell: str | Callable[..., Any], options: Mapping[str, Any] | None = None) -> Subject:
    """Find the cell that a user names.

    Args:
        cell: a registered name, `path.py:Class`, or a factory.
        options: these override the options that it is registered with.

    Raises:
        PluginError, CellError: there is no such cell, or it cannot be imported.
    """
    if not isinstance(cell, str):
        if not callable(cell):
            raise CellError(f"check: {short(cell)} is neither a name nor a class or factory of a cell")
        return Subject(cell, dict(options or {}))
    file, _, attribute = cell.rpartition(":")
    if file.endswith(".py"):
        path = Path(file)
        if not path.is_file():
            raise CellError(f"{cell}: there is no file {file}, seen from the current folder")
        factory = sources.load(sources.of_file(path.resolve()), attribute)
        return Subject(factory, dict(options or {}), attribute, file=str(path.resolve()))
    entry = plugins.discover().find("cell", cell)
    return Subject(plugins.load_factory(entry), {**entry.defaults, **(options or {})}, cell)


def check_cell(
    cell: str,
    *,
    options: Mapping[str, Any] | None = None,
    label: str | None = None,
    as_json: bool = False,
    columns: int | None = None,
    echo: Callable[[str], object] = print,
) -> bool:
    """Check a cell or a task and print what was found, as `cellbench check` does.

    Args:
        cell: a registered name, or `path.py:Class`; of a task, perhaps the path of a file of arrays.
        options: passed to the cell's factory; of a task, grid parameters to ask it at.
        label: a name for it in messages.
        as_json: print one JSON object instead of lines.
        columns: the width of the terminal, if lines are to fit it.
        echo: prints a line.

    Returns:
        Whether nothing failed: exit status 0 or 1.

    Raises:
        PluginError, CellError: there is no such cell, it cannot be imported, or it takes no such option.
    """
    torch.set_num_threads(1)  # as workers do, so that times and numbers are those of a run
    subject = _subject(cell, options)
    if isinstance(subject, Subject):
        subject = replace(subject, name=label) if label else subject
        refused = refused_option(subject.factory, options or {})
        if refused:
            raise CellError(f"{cell} {refused}")
    if as_json:
        whole = report(subject)
        echo(whole.json())
    else:
        whole = report(subject, on_found=lambda check, result: echo(line(check, result, columns)))
        echo(
            whole.verdict
            if columns is None
            else textwrap.fill(whole.verdict, columns, subsequent_indent="  ", break_on_hyphens=False)
        )
    return whole.passed
