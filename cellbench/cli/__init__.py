"""The commands: `console` is the program, `arguments` what several commands share; one file per command beside them."""

from cellbench.cli.console import app, main

__all__ = ["app", "main"]
