"""Train what a plan lacks, and store each chunk as it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import Any

from cellbench import environment
from cellbench.engines import TRAINED, Choice
from cellbench.errors import StoreError
from cellbench.executors import Agreement, Executor, Here
from cellbench.executors.dispatch import Finished, Job, dispatch
from cellbench.planning import Plan
from cellbench.records import CPU, Answer, CellSpec, Chunk
from cellbench.running.admission import todays_laws
from cellbench.running.events import Notice, OnEvent
from cellbench.store import FILE, Store, earlier, weights
from cellbench.store.answers import keep as keep_answers
from cellbench.store.neighbours import take


def train_missing(
    plan: Plan,
    job: Callable[[Chunk], Job] | None = None,
    *,
    executor: Executor,
    facts: Mapping[str, Any],
    answers: Mapping[str, Sequence[Answer]],
    see: OnEvent,
) -> None:
    """Train what a plan lacks on the executor, and store it; `job` is made here if it was not before."""
    job = job or job_of(plan, executor)
    if plan.supply is not None:  # everything is trained on the CPU
        plan.supply.tell = see
        _train(plan, facts, answers, dispatch(plan.supply, executor, job), see)
        return
    # one process owns this machine's card: this one; workers of a cluster have cards of their own
    own = not is_cluster(executor)
    here = [chunk for chunk in plan.todo if own and chunk.device != CPU]
    rest = [chunk for chunk in plan.todo if not own or chunk.device == CPU]
    _train(plan, facts, answers, chain(dispatch(here, Here(), job), dispatch(rest, executor, job)), see)


def is_cluster(executor: Executor) -> bool:
    """Return whether chunks go to workers of a Dask cluster."""
    from cellbench.executors import Dask

    return isinstance(executor, Dask)


def job_of(plan: Plan, executor: Executor) -> Callable[[Chunk], Job]:
    """Make the function that turns a chunk into a job; workers of a cluster are first checked against this machine."""
    from cellbench.executors import Dask
    from cellbench.training.worker import work

    if not isinstance(executor, Dask):
        return lambda chunk: partial(work, chunk)
    sizes: dict[CellSpec, set[int]] = {}
    engines: dict[CellSpec, tuple[str, str]] = {}
    for chunk in plan.todo:
        sizes.setdefault(chunk.cell, set()).add(chunk.hidden_size)
        engines[chunk.cell] = chunk.engine, chunk.device
    settings = plan.experiment.settings
    needs = ((c, *engines[c], sorted(found)) for c, found in sizes.items())
    agreement = Agreement(needs, settings.task, settings.own)
    if sizes:
        agreement.ask(executor)
    return agreement.job


def _train(
    plan: Plan,
    facts: Mapping[str, Any],
    answers: Mapping[str, Sequence[Answer]],
    ended: Iterable[Finished],
    on_event: OnEvent,
) -> None:
    """Store what is known before training and what other folders hold, then each chunk as it ends."""
    with Store(plan.folder, write=True) as store:
        if store.upgraded is not None:
            said = f"{store.path} was upgraded to this version's schema; {store.upgraded} keeps it as it was."
            on_event(Notice(said))
        for found in plan.reused:
            take(store, found.folder, found.planned)
            if plan.experiment.keys.keep == "weights":
                weights.gather(plan.folder, [found.folder], found.keys)
        _record(store, plan, facts)
        if answers:
            keep_answers(store, answers, todays_laws())
        on_event(plan)
        _keep(store, plan, ended, on_event)
        if plan.supply is not None:
            if remember_reasons(facts["facts"]["cells"], plan):
                _record(store, plan, facts)
            _record_engines(store, plan)  # also of labels whose replicas were all trained under another one


def _keep(store: Store, plan: Plan, ended: Iterable[Finished], on_event: OnEvent) -> None:
    """Store each chunk's outcomes as it ends."""
    keys = {(p.cell.label, p.point): p.key for p in plan.selected}
    known = _record_engines(store, plan)
    for event in ended:
        chunk = event.chunk
        # by now the engine of a cell that was still compiled is certain
        if chunk.cell.label not in known:
            known = _record_engines(store, plan)
        # first the weights: a replica that is stored has them
        for outcome in event.outcomes:
            if outcome.weights is not None:
                weights.write(plan.folder, outcome.key, outcome.weights)
        store.add(event.outcomes, chunk.replicas, keys[chunk.cell.label, chunk.point].family_text())
        on_event(event)


def _record(store: Store, plan: Plan, facts: Mapping[str, Any]) -> None:
    experiment = plan.experiment
    texts = [s for cell in experiment.cells for s in cell.sources] + list(experiment.task_sources)
    store.set_experiment(
        **facts,
        command=environment.command_line(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        planned=plan.planned,
        texts=texts,
    )
    earlier.judge(store, plan.judged.right, plan.judged.wrong)
    _record_engines(store, plan)


def _record_engines(store: Store, plan: Plan) -> dict[str, Choice]:
    """Store each cell's engine that is certain, and return them by label.

    Another label of the same cell may still be compiled: what is expected of it says nothing about what is stored.
    """
    certain = {label: choice for label, choice in plan.engines.items() if label not in plan.compiling}
    choices = {cell.digest: certain[cell.label] for cell in plan.experiment.cells if cell.label in certain}
    store.set_engines({digest: (choice.engine, choice.reason) for digest, choice in choices.items()})
    return certain


def remember_reasons(cells: dict[str, dict[str, Any]], plan: Plan) -> bool:
    """Add to each cell's facts why no faster engine trains it; a cell that is trained already keeps its reason.

    Returns:
        Whether a fact changed.
    """
    before: Mapping[str, Any] = {}
    if any(c.reason == TRAINED for c in plan.engines.values()) and (plan.folder / FILE).exists():
        with suppress(StoreError), Store(plan.folder, write=False) as store:
            before = store.experiment()["facts"]["cells"]
    changed = False
    for label, choice in plan.engines.items():
        reason = None
        if choice.surprising:
            reason = f"{choice.engine}: {choice.reason}"
        elif choice.reason == TRAINED:
            reason = before.get(label, {}).get("engine_reason")
        if reason and reason != cells[label].get("engine_reason"):
            cells[label]["engine_reason"], changed = reason, True
    return changed
