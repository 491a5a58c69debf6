"""`cellbench status`: what a results folder holds, and how to go on."""

from __future__ import annotations

from cellbench.cli.arguments import Folder
from cellbench.terminal.output import show


def status(folder: Folder) -> None:
    """Show what a results folder holds, and how to go on."""
    from cellbench.environment import again
    from cellbench.store import Store
    from cellbench.store.earlier import doubts
    from cellbench.store.tally import tally, unplanned

    with Store(folder, write=False) as store:
        experiment, found, others, known = store.experiment(), tally(store), unplanned(store), doubts(store)
    environment = experiment["environment"]
    done = found.planned - found.to_train
    lines = [f"{experiment['resolved']['name']}: {found.planned:,} replicas planned, {done:,} done"]
    lines += [f"  {name}: {count:,}" for name, count in found.by_status.items()]
    lines += [f"  {label}: {said}" for label, said in known]
    if others:
        lines.append(f"  {others:,} more are stored that this experiment does not plan; they are kept")
    with_what = f"cellbench {environment['cellbench']}, torch {environment['packages'].get('torch', '?')}"
    python, processor = environment["python"], environment["processor"]
    lines.append(f"Started {experiment['started']} with {with_what}, Python {python}, on {processor}")
    lines.append("Complete." if not found.to_train else f"Not complete. To go on:\n  {again(experiment['command'])}")
    show("\n".join(lines))
