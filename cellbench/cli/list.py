"""`cellbench list`: the installed cells and tasks, and broken plugins."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cellbench.terminal.output import show


def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the installed cells and tasks, and broken plugins."""
    from cellbench.plugins import Entry, discover

    registry = discover()

    def facts(entry: Entry) -> dict[str, str]:
        """Return what `--json` prints of a cell or a task."""
        names = ("name", "distribution", "version", "description", "reference")
        return {name: getattr(entry, name) for name in names}

    if as_json:
        names = ("entry_point", "distribution", "version", "cause")
        broken = [{name: getattr(b, name) for name in names} for b in registry.broken]
        for clash in registry.clashes:
            for provider in clash.providers:
                distribution, _, version = provider.rpartition(" ")
                broken.append(dict(zip(names, ("", distribution, version, str(clash)), strict=True)))
        cells, tasks = ([facts(e) for e in entries.values()] for entries in (registry.cells, registry.tasks))
        print(json.dumps({"cells": cells, "tasks": tasks, "broken": broken}, indent=2))
        return
    for title, entries in (("Cells", registry.cells), ("Tasks", registry.tasks)):
        show(f"{title}:")
        width = max((len(name) for name in entries), default=0)
        for entry in entries.values():
            show(f"  {entry.name:<{width}}  {entry.description} [{entry.provider}]")
    for said in (*registry.broken, *registry.clashes):
        show(f"Broken: {said}")
