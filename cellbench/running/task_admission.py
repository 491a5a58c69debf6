"""Ask the task of a run for its quick laws before anything is trained, and refuse one that breaks them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from itertools import product

from cellbench.conformance import task_laws
from cellbench.conformance.subject import Check, Result
from cellbench.conformance.task_subject import TaskSubject
from cellbench.errors import TaskError
from cellbench.experiment import Experiment
from cellbench.plugins import Timeout, kept
from cellbench.records import Value
from cellbench.running.admission import MEND, seen
from cellbench.training.timeout import limit

SECONDS = 60.0
"""How long all laws may take; those that are not asked by then are not asked."""
MOST_POINTS = 64
"""The most grid parameters at which a task is asked; of more, the first."""


def admit(experiment: Experiment, trust: bool) -> list[str]:
    """Ask the task for its quick laws, at the grid parameters that are planned.

    Args:
        experiment: whose task is asked.
        trust: whether a task that breaks a law may be trained on all the same, if it can be.

    Returns:
        How a task that is trusted breaks laws, for the report; empty if it keeps them.

    Raises:
        TaskError: the task breaks a law; the message says where and what to do.
    """
    name, own = experiment.settings.task, experiment.settings.own
    broken = [(law, result) for law, result in _asked(experiment) if not result.ok]
    hopeless = any(law is task_laws.draws_what_it_declares for law, _ in broken)
    if not broken or (trust and not hopeless):
        return [f"{law.name}: {result.message}" for law, result in broken]
    lines = [f"{name} breaks {'a law' if len(broken) == 1 else f'{len(broken)} laws'} of tasks:"]
    for law, result in broken:
        lines += [f"  {law.name}: {law.shows}", f"    but {result.message}"]
        if result.place is not None:
            lines += [f"    {line}" for line in result.place.text().splitlines()]
    if own is None or own.path:  # a class of a notebook has no name that a command knows
        where = name if own is None else seen(own.path) if own.arrays else f"{seen(own.path)}:{own.attribute}"
        lines.append(f"`cellbench check {where}` asks it alone.")
    raise TaskError("\n".join([*lines, MEND if hopeless else f"{MEND} To train all the same: --trust"]))


def _asked(experiment: Experiment) -> list[tuple[Check, Result]]:
    subject = TaskSubject(experiment.settings.task, points(experiment), experiment.settings.own)
    found: list[tuple[Check, Result]] = []
    with suppress(Timeout), limit(min(SECONDS, experiment.settings.train.timeout), _asked.__code__):
        for law in task_laws.QUICK:
            with kept(subject.name):
                found.append((law, law(subject)))
            if law is task_laws.draws_what_it_declares and not found[-1][1].ok:
                break  # the other laws would say the same in other words
    return found


def points(experiment: Experiment) -> tuple[Mapping[str, Value], ...]:
    """List the grid parameters that are planned: the first and the last to begin with, then those evaluated at."""
    names = [name for name, _ in experiment.axes]
    trained = [dict(zip(names, values, strict=True)) for values in product(*(values for _, values in experiment.axes))]
    evaluated = [{**trained[0], name: value} for name, values in experiment.settings.final.values for value in values]
    listed: list[Mapping[str, Value]] = []
    for point in (trained[0], trained[-1], *trained[:MOST_POINTS], *evaluated[:MOST_POINTS]):
        if point not in listed:
            listed.append(point)
    return tuple(listed[:MOST_POINTS])
