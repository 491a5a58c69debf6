"""Define the commands: each parses, makes one call and prints. Results go to stdout, everything else to stderr.

Nothing heavy is imported at the top, so that `--help` and `list` are quick.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import cellbench
from cellbench.environment import usable_cores
from cellbench.errors import CellbenchError, Interrupted
from cellbench.terminal.output import reader_is_gone, show

if TYPE_CHECKING:
    from cellbench.experiment import Experiment
    from cellbench.planning import Plan

app = typer.Typer(
    help="Does my recurrent cell beat LSTM? A fair, fast benchmark of recurrent cells on binary addition.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the console script: each kind of error has its exit status, and bad input shows no traceback."""
    try:
        status = app(prog_name="cellbench", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except CellbenchError as error:
        show(str(error), file=sys.stderr)
        raise SystemExit(error.exit_status) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        reader_is_gone()
    except MemoryError as error:
        print(f"not enough memory{f': {error}' if str(error) else ''}; what was trained is kept", file=sys.stderr)
        raise SystemExit(2) from None
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # click turns a broken pipe into an exit
            reader_is_gone()
        # cellbench itself never gets here: a plugin called sys.exit, and that must not look like success
        traceback.print_exc()
        print(f"a plugin's code called sys.exit({error.code}); the traceback above shows where", file=sys.stderr)
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
        print(f"cellbench {cellbench.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A results folder, such as results/default.")]


@app.command()
def run(
    experiment: Annotated[
        Path | None,
        typer.Argument(metavar="EXPERIMENT", help="An experiment file (YAML); without one, the default experiment."),
    ] = None,
    cell: Annotated[
        list[str] | None, typer.Option(metavar="FILE:CLASS", help="Add a cell of your own, such as ./mycell.py:MyCell.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override a key of the experiment, such as train.max_steps=500."
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE,...", help="Train only a part, such as cell=gru,seed=0,bits=8."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="How many worker processes train; default: the cores this process may use."),
    ] = None,
    executor: Annotated[
        str, typer.Option(metavar="local|dask", help="Train on this machine or on a Dask cluster.")
    ] = "local",
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="A Dask scheduler: its address, such as tcp://node1:8786, or its file; default: one started here.",
        ),
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Train the I-th of N parts of the experiment.")
    ] = None,
    results: Annotated[Path, typer.Option(metavar="DIR", help="The folder that holds the results folders.")] = Path(
        "results"
    ),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be trained and how long it may take, and stop.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Set the stored results aside and start again from nothing.")
    ] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Train, but write no report.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> int:
    """Train what is missing, then write the report.

    After an interruption, the same command goes on where it stopped.
    """
    from cellbench import environment, planning
    from cellbench.running import run as run_experiment

    if executor not in ("local", "dask"):
        raise CellbenchError(f"--executor {executor}: must be local or dask")
    if scheduler is not None and executor != "dask":
        raise CellbenchError(f"--scheduler {scheduler}: goes with --executor dask")
    loaded = _load(experiment, cell or [], set_ or [])
    part, number = planning.only(loaded, only or []), planning.shard(shard)
    folder = results / loaded.name
    if dry_run:
        print(_dry_run(planning.prepare(loaded, folder, only=part, shard=number, fresh=fresh)))
        return 0
    from cellbench.terminal.progress import shown

    workers = workers or environment.usable_cores()
    try:
        with shown(quiet, 1 if scheduler else workers) as on_event:
            found = run_experiment(
                loaded,
                folder,
                executor=executor,  # type: ignore[arg-type]
                scheduler=scheduler,
                workers=workers,
                only=part,
                shard=number,
                fresh=fresh,
                report=not no_report,
                on_event=on_event,
            )
    except Interrupted as error:
        raise Interrupted(f"{error}. To go on:\n  {environment.resume()}") from None
    if not no_report:
        if found.answer is not None and not quiet:
            print(f"The report is up to date. To make it again: cellbench report {folder}", file=sys.stderr)
        show(str(found))
        print(f"Page: {folder}/report.html; charts: {folder}/charts; tables: {folder}/summary.md, *.csv")
    if found.failed:
        print(f"{found.failed:,} replicas failed: {folder}/failures.txt", file=sys.stderr)
        return 1
    return 0


def _load(experiment: Path | None, cells: list[str], overrides: list[str]) -> Experiment:
    """Load an experiment file, or the default one."""
    from importlib import resources

    from cellbench.experiment import load
    from cellbench.plugins import discover

    source = (
        experiment
        if experiment is not None
        else Path(str(resources.files("cellbench.experiment").joinpath("default.yaml")))
    )
    return load(source, discover(), overrides=overrides, extra_cells=cells)


def _dry_run(plan: Plan) -> str:
    """Write what would be trained, by which engines, and how long it may take."""
    from cellbench.planning import estimate
    from cellbench.terminal.progress import duration, introduction

    lines = introduction(plan)
    lines.append(f"Points: {len({p.point for p in plan.selected})}. Cells: {len(plan.experiment.cells)}.")
    lines += [f"  {label}: {e.engine}{f' ({e.reason})' if e.reason else ''}" for label, e in plan.engines.items()]
    if plan.todo:
        seconds = estimate(plan.todo)
        lines.append(f"About {duration(seconds)} on one core, by a short calibration. Nothing was run.")
    return "\n".join(lines)


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR", help="One or more results folders.")],
    to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where to write the report of several folders; default: a folder named A+B."),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", metavar="png|svg", help="The format of the files in charts/.")
    ] = "png",
    open_page: Annotated[bool, typer.Option("--open", help="Open report.html in a browser.")] = False,
) -> None:
    """Write the tables, charts and page of results folders.

    Several folders make one report. A run that is still going on can be reported too.
    """
    from cellbench.report import publish
    from cellbench.results import Results, write

    if form not in ("png", "svg"):
        raise CellbenchError(f"--format {form}: must be png or svg")
    if len(folders) == 1 and to is None:
        folder = folders[0]
        found = write(folder, form=form)
    else:
        from cellbench.results import several

        folder = to if to is not None else folders[0].resolve().parent / several.name_of(folders)
        found = several.report(folders)
        publish(found, folder, processes=usable_cores(), form=form)
    show(str(Results(folder, found)))
    page = folder / "report.html"
    print(f"Page: {page}")
    if open_page:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())


@app.command()
def merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The results folder to write.")],
    folders: Annotated[list[Path], typer.Argument(metavar="DIR", help="The results folders of the shards.")],
) -> None:
    """Merge the results of several shards.

    The order does not matter, and merging again changes nothing.
    """
    from cellbench.results import Results, write
    from cellbench.store.merge import merge as merge_folders

    merged = merge_folders(out, folders)
    show(str(Results(out, write(out))))
    for line in merged.unlike:
        print(f"Replicas of one cell come from different kinds of machines: {line}", file=sys.stderr)
    missing = merged.counts.get("missing", 0) + merged.counts.get("failed (machine)", 0)
    print(f"{sum(merged.counts.values()):,} replicas planned, {missing:,} of them missing, in {out}", file=sys.stderr)


@app.command()
def verify(
    folder: Folder,
    sample: Annotated[int, typer.Option(min=1, help="How many replicas to train again.")] = 20,
    choice: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Choose the same replicas as an earlier run with this number; default: others each time."
        ),
    ] = None,
) -> int:
    """Train some replicas again and compare every number.

    They are chosen at random. The first difference ends the command with exit status 1. Cells from files are run from
    their text, as it is stored in DIR.
    """
    import secrets

    from cellbench.running.verify import verify as verify_folder

    choice = choice if choice is not None else secrets.randbelow(10**6)
    print(f"Choosing {sample} replicas at random; --choice {choice} chooses the same ones again.", file=sys.stderr)
    found = verify_folder(folder, sample, choice, on_line=lambda line: show(f"differs: {line}"))
    if not found.environment:
        print("The environment is the same as that of the results.")
    show(found.text())
    return 1 if found.difference else 0


@app.command()
def status(folder: Folder) -> None:
    """Show what a results folder holds, and how to go on."""
    from cellbench.environment import again
    from cellbench.store import Store

    with Store(folder, write=False) as store:
        experiment, counts, unplanned = store.experiment(), store.counts(), store.unplanned()
    environment = experiment["environment"]
    total, missing = sum(counts.values()), counts.get("missing", 0) + counts.get("failed (machine)", 0)
    lines = [f"{experiment['resolved']['name']}: {total:,} replicas planned, {total - missing:,} done"]
    lines += [f"  {name}: {count:,}" for name, count in counts.items()]
    if unplanned:
        lines.append(f"  {unplanned:,} more are stored that this experiment does not plan; they are kept")
    with_what = f"cellbench {environment['cellbench']}, torch {environment['packages'].get('torch', '?')}"
    python, processor = environment["python"], environment["processor"]
    lines.append(f"Started {experiment['started']} with {with_what}, Python {python}, on {processor}")
    lines.append("Complete." if not missing else f"Not complete. To go on:\n  {again(experiment['command'])}")
    show("\n".join(lines))


@app.command(name="list")
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
        print(f"{title}:")
        width = max((len(name) for name in entries), default=0)
        for entry in entries.values():
            print(f"  {entry.name:<{width}}  {entry.description} [{entry.provider}]")
    for said in (*registry.broken, *registry.clashes):
        print(f"Broken: {said}")


@app.command()
def info(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show versions, hardware and plugins, for bug reports."""
    from cellbench.environment import describe
    from cellbench.plugins import discover

    facts = describe(discover())
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items()) or "none"
        elif isinstance(value, list):
            value = "; ".join(value) or "none"
        print(f"{name}: {value}")


@app.command()
def schema() -> None:
    """Print the JSON schema of an experiment file, for editors."""
    from cellbench.experiment import schema as experiment_schema

    print(json.dumps(experiment_schema(), indent=2))


@app.command()
def check(
    cell: Annotated[str, typer.Argument(metavar="CELL", help="A registered name, or FILE:CLASS.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Check that a cell is sound.

    Prints one line per check. The exit status is 1 if a law does not hold.
    """
    from cellbench.conformance.report import check_cell

    return 0 if check_cell(cell, as_json=as_json) else 1


@app.command()
def new(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="The name of the new cell; its package will be ./cellbench-NAME."),
    ] = None,
    experiment: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a commented experiment file instead.")
    ] = None,
) -> None:
    """Write a plugin package for a new cell, or an experiment file."""
    from cellbench.scaffold import new_experiment, new_package

    if (name is None) == (experiment is None):
        raise CellbenchError("give a name, `cellbench new mycell`, or a file, `cellbench new --experiment mine.yaml`")
    if name is not None:
        folder = new_package(name, Path())
        print(f"Wrote {folder}. Next:\n  pip install -e {folder} && cellbench check {name}")
    elif experiment is not None:
        print(f"Wrote {new_experiment(experiment)}. Next:\n  cellbench run {experiment} --dry-run")


@app.command()
def build(
    experiment: Annotated[Path | None, typer.Argument(metavar="EXPERIMENT", help="The same as for `run`.")] = None,
    cell: Annotated[list[str] | None, typer.Option(metavar="FILE:CLASS", help="The same as for `run`.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="The same as for `run`.")] = None,
    isa: Annotated[
        str | None, typer.Option(metavar="NAME", help="Compile for other machines: avx512, avx2 or sse2.")
    ] = None,
) -> int:
    """Compile cells for machines without a compiler.

    The cells of an experiment are compiled into the cache. The exit status is 1 if one is refused.
    """
    from cellbench.running import build as build_experiment

    built = build_experiment(_load(experiment, cell or [], set_ or []), isa)
    for line, _ in built:
        print(line)
    return 0 if all(done for _, done in built) else 1
