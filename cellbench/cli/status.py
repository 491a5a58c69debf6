"""`cellbench status`: what a results folder holds, and how to go on."""

from __future__ import annotations

from cellbench.cli.arguments import Folder
from cellbench.terminal.output import show


def status(folder: Folder) -> None:
    """Show what a results folder holds, and how to go on."""
    from cellbench.environment import again
    from cellbench.store import Store
    from cellbench.store.earlier import doubts

    with Store(folder, write=False) as store:
        experiment, counts, unplanned = store.experiment(), store.counts(), store.unplanned()
        known = doubts(store)
    environment = experiment["environment"]
    total, missing = sum(counts.values()), sum(counts.get(name, 0) for name in ("missing", "wrong", "failed (machine)"))
    lines = [f"{experiment['resolved']['name']}: {total:,} replicas planned, {total - missing:,} done"]
    lines += [f"  {name}: {count:,}" for name, count in counts.items()]
    lines += [f"  {label}: {said}" for label, said in known]
    if unplanned:
        lines.append(f"  {unplanned:,} more are stored that this experiment does not plan; they are kept")
    with_what = f"cellbench {environment['cellbench']}, torch {environment['packages'].get('torch', '?')}"
    python, processor = environment["python"], environment["processor"]
    lines.append(f"Started {experiment['started']} with {with_what}, Python {python}, on {processor}")
    lines.append("Complete." if not missing else f"Not complete. To go on:\n  {again(experiment['command'])}")
    show("\n".join(lines))
