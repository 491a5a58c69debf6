"""What `run`, `compare` and `profile` share: train with the progress on the screen, or say what would be trained."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellbench.errors import Interrupted
from cellbench.terminal.output import show

if TYPE_CHECKING:
    from cellbench.experiment import Experiment
    from cellbench.planning import Plan
    from cellbench.results import Results


def _more_seeds(experiment: Experiment, found: Results, workers: int) -> str:
    """Say how to add seeds until decided, where fixed seeds leave a comparison undecided; empty if they leave none.

    What lacks replicas, such as a part of an experiment, is completed first.
    """
    from cellbench.experiment.until_decided import plan_of
    from cellbench.wording import duration

    report = found.report
    undecided = report.summary.undecided
    plan = plan_of(experiment)
    if not undecided or plan is None or (report.runs["status"] == "missing").any():
        return ""
    runs = report.runs
    trained = runs[runs["label"].isin([*undecided, report.design.against])]["seconds"].sum()
    there, to = len(experiment.seeds), plan[1]
    seconds = float(trained) / there * (to - there) / workers
    return (
        f"To add seeds until decided (up to {to}, about {duration(seconds)}):\n"
        f"  {report.design.command} --until-decided"
    )


def begin_workers(workers: int | None) -> None:
    """Start the server of the workers, which imports torch while this process does."""
    from cellbench import environment
    from cellbench.executors import start_server

    if (workers or environment.usable_cores()) > 1:
        start_server()


def train(
    experiment: Experiment,
    folder: Path,
    *,
    quiet: bool,
    workers: int | None,
    report: bool = True,
    silent: bool = False,
    suggest: bool = False,
    **keys: Any,
) -> tuple[Results, int]:
    """Train what is missing, and print the answer.

    Args:
        experiment, folder: to be run.
        quiet: show no progress.
        workers: how many worker processes; default: the cores that this process may use.
        report: whether to write the report and print its text.
        silent: whether to write the report and print nothing of it.
        suggest: whether to say how to add seeds, where fixed seeds leave a comparison undecided.
        **keys: further arguments of `cellbench.running.run`.

    Returns:
        The results, and the exit status: 1 if a replica failed, or a cell diverged throughout.

    Raises:
        Interrupted: the run was interrupted; the message says how to go on.
    """
    from cellbench import environment
    from cellbench.running import run
    from cellbench.terminal.progress import shown

    workers = workers or environment.usable_cores()
    try:
        with shown(quiet, 1 if keys.get("scheduler") else workers) as on_event:
            found = run(experiment, folder, workers=workers, report=report, on_event=on_event, **keys)
    except Interrupted as error:
        raise Interrupted(f"{error}. To go on:\n  {environment.resume()}") from None
    if report and not silent:
        if found.answer is not None and not quiet:
            show(f"The report is up to date. To make it again: cellbench report {folder}", file=sys.stderr)
        show(str(found).rstrip())
        show(f"Page: {folder}/report.html")
        if suggest and found.answer is None and not quiet and (more := _more_seeds(experiment, found, workers)):
            show(more, file=sys.stderr)
    if found.failed:
        show(f"{found.failed:,} replicas failed: {folder}/failures.txt", file=sys.stderr)
    for label in found.diverged:
        show(f"{label} diverged, or failed, in every replica", file=sys.stderr)
    return found, 1 if found.failed or found.diverged else 0


def dry_run(plan: Plan) -> tuple[str, float]:
    """Write what would be trained, by which engines, and how long it may take.

    Returns:
        The text, and the seconds on one core.
    """
    from cellbench.planning import estimate, kept_bytes
    from cellbench.terminal.progress import introduction
    from cellbench.wording import duration

    lines = introduction(plan)
    cells, planned = len(plan.experiment.keys.cells), len(plan.experiment.cells)
    choices = f" ({planned} with each choice of the options that are tuned)" if planned > cells else ""
    lines.append(f"Points: {len({p.point for p in plan.selected})}. Cells: {cells}{choices}.")
    lines += [f"  {label}: {e.named}{f' ({e.reason})' if e.reason else ''}" for label, e in plan.engines.items()]
    seconds = estimate(plan.todo) if plan.todo else 0.0
    if plan.todo:
        whole = f"About {duration(seconds)} on one core, by a short calibration."
        if plan.stage:
            replicas, cost = plan.most
            rate = seconds / sum(chunk.cost for chunk in plan.todo)
            lines.append(f"Stage {plan.stage}: {sum(len(c.replicas) for c in plan.todo):,} replicas. {whole}")
            whole = f"If nothing were decided, all stages: {replicas:,} replicas, about {duration(rate * cost)}."
        lines.append(f"{whole} Nothing was run.")
        if kept := kept_bytes(plan.todo):
            size = f"{kept / 1e6:,.1f} MB" if kept >= 1e5 else f"{kept / 1e3:,.0f} kB"
            lines.append(f"The weights that are kept take about {size}.")
    return "\n".join(lines), seconds
