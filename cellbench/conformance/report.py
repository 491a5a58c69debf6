"""The report of `cellbench check`: one line per check."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from cellbench import plugins
from cellbench.conformance.laws import LAWS
from cellbench.conformance.observations import OBSERVATIONS
from cellbench.conformance.subject import Check, Result, Subject, one_thread
from cellbench.errors import CellError
from cellbench.model import refused_option
from cellbench.plugins import sources
from cellbench.wording import short

checks: tuple[Check, ...] = (*LAWS, *OBSERVATIONS)
"""All checks, in the order of the report: the laws first."""


@dataclass(frozen=True)
class Findings:
    """The checks of one cell, in order, each with its result."""

    subject: Subject
    found: tuple[tuple[Check, Result], ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(result.ok for _, result in self.found)

    @property
    def verdict(self) -> str:
        """The last line."""
        laws = [result for check, result in self.found if check.law]
        broken = sum(not result.ok for result in laws)
        if broken:
            return f"{self.subject}: {broken} of {len(laws)} laws broken"
        failed = "" if self.passed else ", but it cannot be trained"
        return f"{self.subject}: all {len(laws)} laws hold{failed}"

    def __str__(self) -> str:
        return "\n".join([*(line(check, result) for check, result in self.found), self.verdict])

    def __repr__(self) -> str:
        broken = [line(check, result) for check, result in self.found if not result.ok]
        return "\n".join([f"<{self.verdict}>", *broken])

    def _repr_html_(self) -> str:
        """Show every check in a notebook."""
        return f"<pre>{html.escape(str(self))}</pre>"

    def json(self) -> str:
        """Write all findings as JSON, for programs."""
        return json.dumps(
            {
                "cell": str(self.subject),
                "options": dict(self.subject.options),
                "passed": self.passed,
                "checks": [
                    {
                        "name": check.name,
                        "law": check.law,
                        "shows": check.shows,
                        "status": result.status,
                        "message": result.message,
                        "data": dict(result.data),
                    }
                    for check, result in self.found
                ],
            },
            indent=2,
            default=str,
        )


def line(check: Check, result: Result) -> str:
    """Format one check and its result as one line."""
    return f"{result.status:<5} {check.name:<33} {result.message}"


def report(subject: Subject, *, on_found: Callable[[Check, Result], object] = lambda check, result: None) -> Findings:
    """Run all checks on a cell. If it cannot be made, the checks after the first are skipped.

    Args:
        subject: the cell.
        on_found: called as each check ends.
    """
    found: list[tuple[Check, Result]] = []
    for check in checks:
        if found and not found[0][1].ok:
            result = Result("skip", "there is no cell to check")
        else:
            result = check(subject)
        found.append((check, result))
        on_found(check, result)
    return Findings(subject, tuple(found))


def check(cell: str | Callable[..., Any], *, options: Mapping[str, Any] | None = None) -> Findings:
    """Check that a cell is sound, as `cellbench check` does.

    Args:
        cell: a registered name, `path.py:Class`, or a class or factory `(input_size, hidden_size, **options)`.
        options: passed to the cell's factory.

    Returns:
        What each check found; `passed` says whether nothing failed, and `print` shows one line per check.

    Raises:
        PluginError, CellError: there is no such cell, or it cannot be imported.

    Example:
        >>> check("gru").passed
        True
    """
    with one_thread():
        return report(subject_of(cell, options))


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
        return Subject(sources.load(sources.of_file(path.resolve()), attribute), dict(options or {}), attribute)
    entry = plugins.discover().find("cell", cell)
    return Subject(plugins.load_factory(entry), {**entry.defaults, **(options or {})}, cell)


def check_cell(
    cell: str,
    *,
    options: Mapping[str, Any] | None = None,
    label: str | None = None,
    as_json: bool = False,
    echo: Callable[[str], object] = print,
) -> bool:
    """Check a cell and print what was found, as `cellbench check CELL` does.

    Args:
        cell: a registered name, or `path.py:Class`.
        options: passed to the cell's factory.
        label: a name for it in messages.
        as_json: print one JSON object instead of lines.
        echo: prints a line.

    Returns:
        Whether nothing failed: exit status 0 or 1.

    Raises:
        PluginError, CellError: there is no such cell, it cannot be imported, or it takes no such option.
    """
    torch.set_num_threads(1)  # as workers do, so that times and numbers are those of a run
    subject = subject_of(cell, options)
    subject = replace(subject, name=label) if label else subject
    refused = refused_option(subject.factory, options or {})
    if refused:
        raise CellError(f"{cell} {refused}")
    if as_json:
        whole = report(subject)
        echo(whole.json())
    else:
        whole = report(subject, on_found=lambda check, result: echo(line(check, result)))
        echo(whole.verdict)
    return whole.passed
