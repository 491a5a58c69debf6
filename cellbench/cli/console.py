"""Define the program: its commands, its exit statuses. Results go to stdout, everything else to stderr.

Nothing heavy is imported at the top of a command's file, so that `--help` and `list` are quick.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Annotated

import typer

import cellbench
from cellbench.cli.build import build
from cellbench.cli.check import check
from cellbench.cli.compare import compare
from cellbench.cli.info import info
from cellbench.cli.list import list_
from cellbench.cli.merge import merge
from cellbench.cli.new import new
from cellbench.cli.profile import profile
from cellbench.cli.rank import rank
from cellbench.cli.report import report
from cellbench.cli.run import run
from cellbench.cli.schema import schema
from cellbench.cli.show import show as show_examples
from cellbench.cli.status import status
from cellbench.cli.verify import verify
from cellbench.errors import CellbenchError
from cellbench.terminal.output import any_encoding, reader_is_gone, show, show_fitted

app = typer.Typer(
    help="Does my recurrent cell beat LSTM? A fair, fast benchmark of recurrent cells on binary addition.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(run)
app.command()(compare)
app.command()(profile)
app.command()(report)
app.command()(rank)
app.command()(merge)
app.command()(verify)
app.command(name="show")(show_examples)
app.command()(status)
app.command(name="list")(list_)
app.command()(info)
app.command()(schema)
app.command()(check)
app.command()(new)
app.command()(build)


_COMPLETES = {"_CELLBENCH_COMPLETE", "--show-completion", "--install-completion"}
"""What asks for shell completion: a variable that a shell sets at each Tab, and typer's options."""


def some_home() -> None:
    """Give a user without a home a temporary one: libraries that cellbench imports ask for it, and raise without.

    In containers HOME may be unset, and the user may have no account.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = tempfile.mkdtemp(prefix="cellbench-home-")
        atexit.register(shutil.rmtree, os.environ["HOME"], ignore_errors=True)


def main() -> None:
    """Run the console script: each kind of error has its exit status, and bad input shows no traceback."""
    any_encoding()
    some_home()
    if _COMPLETES & {*os.environ, *sys.argv[1:2]}:
        app(prog_name="cellbench")  # typer ends the program itself
    try:
        status = app(prog_name="cellbench", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
        if status == 130:  # typer's word for a KeyboardInterrupt within a command
            raise KeyboardInterrupt
    except CellbenchError as error:
        show_fitted(str(error), sys.stderr)
        raise SystemExit(error.exit_status) from None
    except KeyboardInterrupt:
        show("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        reader_is_gone()
    except MemoryError as error:
        show(f"not enough memory{f': {error}' if str(error) else ''}; what was trained is kept", file=sys.stderr)
        raise SystemExit(2) from None
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # click turns a broken pipe into an exit
            reader_is_gone()
        # cellbench itself never gets here: a plugin called sys.exit, and that must not look like success
        traceback.print_exc()
        show(f"a plugin's code called sys.exit({error.code}); the traceback above shows where", file=sys.stderr)
        raise SystemExit(1) from None
    except Exception as error:
        # click's usage errors, which reach us with standalone_mode off, can print themselves
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            raise SystemExit(error.exit_code) from None
        raise
    raise SystemExit(status if isinstance(status, int) else 0)


def _version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        show(f"cellbench {cellbench.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass
