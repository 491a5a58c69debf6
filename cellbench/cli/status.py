"""`cellbench status`: what a results folder holds, and how to go on."""

from __future__ import annotations

from cellbench.cli.arguments import Folder
from cellbench.terminal.output import show


def status(folder: Folder) -> None:
    """Show what a results folder holds, and how to go on."""
    from dataclasses import replace

    from cellbench.environment import to_go_on
    from cellbench.records import stages_of
    from cellbench.store import Store
    from cellbench.store.earlier import doubts
    from cellbench.store.tally import tally, unplanned

    with Store(folder, write=False) as store:
        experiment, found, others, known = store.experiment(), tally(store), unplanned(store), doubts(store)
        commands = [one["command"] for one in store.history()]
    environment = experiment["environment"]
    planned, missing, staged = found.planned, found.to_train, ""
    if stages_of(experiment["resolved"]["seeds"]) is not None:
        from cellbench.results import gather

        report = gather(folder, curves=False)
        beyond = planned - len(report.runs)  # seeds that no stage has asked for yet
        planned, missing, staged = planned - beyond, missing - beyond, report.summary.heading
        found = replace(found, by_status={**found.by_status, "missing": found.by_status.get("missing", 0) - beyond})
    lines = [f"{experiment['resolved']['name']}: {planned:,} replicas planned, {planned - missing:,} done"]
    lines += [f"  {staged}"] if staged else []
    lines += [f"  {name}: {count:,}" for name, count in found.by_status.items() if count]
    lines += [f"  {label}: {said}" for label, said in known]
    if others:
        lines.append(f"  {others:,} more are stored that this experiment does not plan; they are kept")
    with_what = f"cellbench {environment['cellbench']}, torch {environment['packages'].get('torch', '?')}"
    python, processor = environment["python"], environment["processor"]
    lines.append(f"Started {experiment['started']} with {with_what}, Python {python}, on {processor}")
    if missing:
        next_ = to_go_on(experiment["command"], commands, folder, experiment["resolved"]["name"])
        lines += ["Not complete. To go on:", *(f"  {command}" for command in next_)]
    else:
        lines.append("Complete.")
    show("\n".join(lines))
