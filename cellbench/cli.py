"""The commands: each parses, makes one call and prints. Results go to stdout, the rest to stderr.

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
    """The console script: one error tree, one exit status each, no traceback for bad input."""
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
        if isinstance(error.__context__, BrokenPipeError):  # click's way to end then
            reader_is_gone()
        # none of ours gets here: it is a plugin's, and must not look like success
        traceback.print_exc()
        print(f"a plugin's code called sys.exit({error.code}); its place stands above", file=sys.stderr)
        raise SystemExit(1) from None
    except Exception as error:
        # click's usage errors know how to show themselves; with standalone_mode off they reach us
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            raise SystemExit(error.exit_code) from None
        raise
    raise SystemExit(status if isinstance(status, int) else 0)


def _version(wanted: bool) -> None:
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
        Path | None, typer.Argument(metavar="[EXPERIMENT]", help="A YAML file; without one, the default experiment.")
    ] = None,
    cell: Annotated[
        list[str] | None, typer.Option(metavar="FILE:CLASS", help="Add a cell of your own, ./mycell.py:MyCell.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, train.max_steps=500.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE,...", help="Train a part, cell=gru,seed=0,bits=8.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; default: the cores this process may use.")
    ] = None,
    executor: Annotated[str, typer.Option(metavar="local|dask", help="Where to train.")] = "local",
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Dask scheduler, tcp://node1:8786 or its file; default: one made here."),
    ] = None,
    shard: Annotated[str | None, typer.Option(metavar="I/N", help="Train the I-th of N parts.")] = None,
    results: Annotated[Path, typer.Option(metavar="DIR", help="The folder that holds results folders.")] = Path(
        "results"
    ),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and how long it may take.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Set stored results aside and start anew.")] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Train only.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> int:
    """Train what is missing, then report. Killed and run again, it goes on where it was."""
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
            print(f"The report is of these results already. Made again: cellbench report {folder}", file=sys.stderr)
        show(str(found))
        print(f"Page: {folder}/report.html; charts: {folder}/charts; tables: {folder}/summary.md, *.csv")
    if found.failed:
        print(f"{found.failed:,} replicas failed: {folder}/failures.txt", file=sys.stderr)
        return 1
    return 0


def _load(experiment: Path | None, cells: list[str], overrides: list[str]) -> Experiment:
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
    from cellbench.planning import estimate
    from cellbench.terminal.progress import duration, introduction

    lines = introduction(plan)
    lines.append(f"Points: {len({p.point for p in plan.selected})}. Cells: {len(plan.experiment.cells)}.")
    lines += [f"  {label}: {e.engine}{f' ({e.reason})' if e.reason else ''}" for label, e in plan.engines.items()]
    if plan.todo:
        seconds = estimate(plan.todo)
        lines.append(f"About {duration(seconds)} of one core, by a short calibration. Nothing was run.")
    return "\n".join(lines)


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Results folders.")],
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the report of several folders goes; default: A+B.")
    ] = None,
    form: Annotated[str, typer.Option("--format", metavar="png|svg", help="The files in charts/.")] = "png",
    open_page: Annotated[bool, typer.Option("--open", help="Open report.html in the browser.")] = False,
) -> None:
    """Make the tables, the charts and the page again, also in the middle of a run; several folders in one report."""
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
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Results of the parts.")],
) -> None:
    """Unite the results of shards; again, and in any order, it gives the same."""
    from cellbench.results import Results, write
    from cellbench.store.merge import merge as merge_folders

    merged = merge_folders(out, folders)
    show(str(Results(out, write(out))))
    for line in merged.unlike:
        print(f"Replicas of one cell come from unlike machines: {line}", file=sys.stderr)
    missing = merged.counts.get("missing", 0) + merged.counts.get("failed (machine)", 0)
    print(f"{sum(merged.counts.values()):,} replicas planned, {missing:,} of them missing, in {out}", file=sys.stderr)


@app.command()
def verify(
    folder: Folder,
    sample: Annotated[int, typer.Option(min=1, help="How many replicas to train again.")] = 20,
    choice: Annotated[
        int | None, typer.Option(metavar="N", help="Choose the same ones again; default: anew each time.")
    ] = None,
) -> int:
    """Train randomly chosen replicas again and compare every number; exit 1 with the first difference.

    Runs the text of cells from files that is stored in DIR.
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
    """What is in a results folder, complete or not, with which versions, and the command to go on."""
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
def list_(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """The cells and tasks that are installed, and the plugins that are broken."""
    from cellbench.plugins import Entry, discover

    registry = discover()

    def facts(entry: Entry) -> dict[str, str]:
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
def info(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Versions, hardware and plugins, for bug reports."""
    from cellbench.engines.lanes import described
    from cellbench.environment import describe
    from cellbench.plugins import discover

    facts = {**describe(discover()), "cache of compiled cells": described()}
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
    """The JSON schema of an experiment file, for editors."""
    from cellbench.experiment import schema as experiment_schema

    print(json.dumps(experiment_schema(), indent=2))


@app.command()
def check(
    cell: Annotated[str, typer.Argument(metavar="CELL", help="A registered name, or FILE:CLASS.")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> int:
    """Whether a cell is sound: one line a check; exit 0 or 1."""
    from cellbench.conformance.report import check_cell

    return 0 if check_cell(cell, as_json=as_json) else 1


@app.command()
def new(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A cell; its package is ./cellbench-NAME.")
    ] = None,
    experiment: Annotated[Path | None, typer.Option(metavar="FILE", help="A commented experiment instead.")] = None,
) -> None:
    """Write a plugin package around a new cell, or an experiment file."""
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
    experiment: Annotated[Path | None, typer.Argument(metavar="[EXPERIMENT]", help="As for `run`.")] = None,
    cell: Annotated[list[str] | None, typer.Option(metavar="FILE:CLASS", help="As for `run`.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As for `run`.")] = None,
    isa: Annotated[str | None, typer.Option(metavar="NAME", help="For other nodes: avx512, avx2 or sse2.")] = None,
) -> int:
    """Compile an experiment's cells into the cache, for nodes without a compiler; exit 1 if one was refused."""
    from cellbench.running import build as build_experiment

    built = build_experiment(_load(experiment, cell or [], set_ or []), isa)
    for line, _ in built:
        print(line)
    return 0 if all(done for _, done in built) else 1
