"""`cellbench info`: versions, hardware and plugins, for bug reports."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cellbench.terminal.output import show


def info(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show versions, hardware and plugins, for bug reports."""
    from cellbench.engines.device import cards, missing
    from cellbench.engines.lanes import described
    from cellbench.environment import describe
    from cellbench.plugins import discover

    facts = {**describe(discover()), "cards": cards() or missing("cuda"), "cache of compiled cells": described()}
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items()) or "none"
        elif isinstance(value, list):
            value = "; ".join(value) or "none"
        show(f"{name}: {value}")
