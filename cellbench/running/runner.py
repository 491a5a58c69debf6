"""The wiring: an experiment, a folder, an executor; trained, stored, reported."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cellbench import environment
from cellbench.errors import CellbenchError, Interrupted
from cellbench.executors import Executor, Here, Processes
from cellbench.executors.agreement import Agreement
from cellbench.executors.dispatch import Job, dispatch
from cellbench.experiment.experiment import Experiment
from cellbench.experiment.experiment import load as load_experiment
from cellbench.planning import grid
from cellbench.planning.plan import Plan, cell_digest, prepare, sizer
from cellbench.plugins.discovery import Registry, discover
from cellbench.records.schedule import schedule
from cellbench.records.settings import CellSpec, Chunk, Outcome
from cellbench.results import seal
from cellbench.store.folder import locked, set_aside
from cellbench.store.store import Store

if TYPE_CHECKING:
    from cellbench.results.results import Results

PRELOAD = ("cellbench.training.worker", "cellbench.engines.stack", "cellbench.engines.reference")


@dataclass(frozen=True)
class Finished:
    """An event: a chunk ended."""

    chunk: Chunk
    outcomes: tuple[Outcome, ...]


Event = Plan | Finished
OnEvent = Callable[[Event], None]


def run(
    experiment: str | Path | Mapping[str, Any] | Experiment,
    folder: str | Path | None = None,
    *,
    executor: Executor | Literal["local", "dask"] = "local",
    scheduler: str | None = None,
    workers: int = 1,
    overrides: Sequence[str] = (),
    only: Mapping[str, Sequence[str]] | None = None,
    shard: tuple[int, int] | None = None,
    fresh: bool = False,
    report: bool = True,
    on_event: OnEvent = lambda event: None,
) -> Results:
    """Train what is missing, store it, report.

    Args:
        experiment: a file, its keys, or an experiment that was loaded.
        folder: the results folder; default `results/<name>`.
        executor: where chunks run: `local` (here if `workers=1`, else in processes), `dask`, or one of your own.
        scheduler: the address of a Dask scheduler, or its file; None starts one here, with `workers` workers.
        workers: how many processes.
        overrides: `a.b=c`, as `--set` takes them; not for a loaded experiment.
        only: the part to train, as `--only`.
        shard: `(number, of)`.
        fresh: set stored results aside and start anew.
        report: write the reports.
        on_event: called with the plan, then once a chunk.

    Raises:
        CellbenchError: bad input (nothing was run), or `Interrupted` (results are kept).
    """
    registry = discover()
    if not isinstance(experiment, Experiment):
        experiment = load_experiment(experiment, registry, overrides=overrides)
    where = Path(folder) if folder is not None else Path("results") / experiment.name
    with _terminable() as check:

        def see(event: Event) -> None:
            on_event(event)
            check()

        with ExitStack() as stack:
            try:
                if isinstance(executor, str):
                    executor = _executor(executor, scheduler, workers)
                    stack.callback(executor.close)
                planned = grid.plan(experiment, sizer(experiment))  # faults that show here leave no folder behind
            except KeyboardInterrupt:
                raise Interrupted("interrupted; nothing was run") from None
            stack.enter_context(locked(where))
            try:
                plan = prepare(experiment, where, planned, only=only, shard=shard, fresh=fresh)
                facts = {
                    "resolved": experiment.resolved(),
                    "facts": _facts(experiment, registry),
                    "environment": environment.describe(registry),
                }
                asked = seal.request(facts, planned) if report else ""
                if report and not fresh and not plan.todo and (kept := _kept(where, asked, plan, see)) is not None:
                    return kept
                job = _job(plan, executor)
                if fresh:  # now that nothing refuses the run
                    set_aside(where)
                with Store(where, write=True) as store:
                    _record(store, plan, facts)
                    see(plan)
                    _train(store, plan, dispatch(plan.todo, executor, job), see)
            except KeyboardInterrupt:
                raise Interrupted("interrupted; what was trained is kept") from None
        del plan, planned, job  # a large plan takes as much memory as its report
        try:
            found = _reported(where, asked) if report else _results(where)
            check()
            return found
        except KeyboardInterrupt:
            raise Interrupted("interrupted; what was trained is kept") from None


def _results(folder: Path, **known: Any) -> Results:
    from cellbench.results.results import Results

    return Results(folder, **known)


def _kept(folder: Path, asked: str, plan: Plan, on_event: OnEvent) -> Results | None:
    """The results, if the report that is there is what would be made now; nothing is written then."""
    answer = seal.answer(folder, asked)
    if answer is None:
        return None
    on_event(plan)
    return _results(folder, answer=answer)


def _reported(folder: Path, asked: str) -> Results:
    """Make the report, and seal it."""
    from cellbench.results import results

    of = seal.store(folder)
    found = results.Results(folder, results.write(folder))
    seal.put(folder, asked, of, str(found))
    return found


def _executor(kind: str, scheduler: str | None, workers: int) -> Executor:
    if kind == "dask":
        from cellbench.executors.dask import Dask

        return Dask(scheduler, workers)
    if kind != "local":
        raise CellbenchError(f"no executor {kind!r}; there are local and dask")
    if workers == 1:
        return Here()
    processes = Processes(workers, PRELOAD)
    processes.warm()
    return processes


class _Signalled(KeyboardInterrupt):
    """A class of its own: where KeyboardInterrupt itself passes an `exec` of text, Python ends by SIGINT at the end."""


@contextmanager
def _terminable() -> Iterator[Callable[[], None]]:
    """SIGTERM interrupts like Ctrl-C; yields what raises if a signal came, for libraries that swallow the first raise.

    (A bare `except:` around an import does.) Whoever handles SIGINT otherwise, or ignores it, goes on to do so.
    """
    arrived: list[int] = []

    def check() -> None:
        if arrived:
            raise _Signalled

    def interrupt(signum: int, frame: object) -> None:
        arrived.append(signum)
        raise _Signalled

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    ours = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        ours.append(signal.SIGINT)
    before = {number: signal.signal(number, interrupt) for number in ours}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
    reasons = {e.label: (e.engine, e.reason) for e in plan.engines}
    store.set_engines({cell_digest(c): reasons[c.label] for c in experiment.cells})


def _facts(experiment: Experiment, registry: Registry) -> dict[str, Any]:
    """What reports need to know beside the experiment's keys, so that they need neither torch nor the plugins."""
    settings = experiment.settings
    names = [name for name, _ in experiment.axes]
    values = {**dict(settings.final.values), **dict(experiment.axes)}
    references = {}
    for name in names:
        for value in dict.fromkeys((*dict(experiment.axes)[name], *values[name])):
            others = {n: v[0] for n, v in experiment.axes if n != name}
            found = experiment.task.reference_accuracies({**others, name: value})
            if found:
                references[f"{name}={value}"] = dict(found)
    described = {}
    for cell in experiment.cells:
        entry = registry.cells.get(cell.name) if not cell.from_file else None
        described[cell.label] = {
            "cell": cell.name,
            "provider": cell.provider if entry else cell.factory,
            "description": entry.description if entry else "a cell from a file",
            "reference": entry.reference if entry else "",
            "options": dict(cell.options),
        }
    return {
        "axes": names,
        "difficulty": experiment.task.difficulty,
        "evaluation_steps": schedule(settings.evaluate.every, settings.evaluate.growth, settings.train.max_steps),
        "reference_accuracies": references,
        "cells": described,
    }


def _job(plan: Plan, executor: Executor) -> Callable[[Chunk], Job]:
    """What workers call; those of a cluster are asked first whether they are like this machine."""
    from cellbench.executors.dask import Dask
    from cellbench.training.worker import work

    if not isinstance(executor, Dask):
        return lambda chunk: partial(work, chunk)
    sizes: dict[CellSpec, set[int]] = {}
    engines: dict[CellSpec, str] = {}
    for chunk in plan.todo:
        sizes.setdefault(chunk.cell, set()).add(chunk.hidden_size)
        engines[chunk.cell] = chunk.engine
    agreement = Agreement(((c, engines[c], sorted(found)) for c, found in sizes.items()), plan.experiment.settings.task)
    if sizes:
        agreement.ask(executor)
    return agreement.job


def _train(store: Store, plan: Plan, ended: Iterator[tuple[Chunk, list[Outcome]]], on_event: OnEvent) -> None:
    keys = {(p.cell.label, p.point): p.key for p in plan.selected}
    for chunk, found in ended:
        store.add(found, chunk.replicas, keys[chunk.cell.label, chunk.point].family_text())
        on_event(Finished(chunk, tuple(found)))


def build(experiment: Experiment, isa: str | None = None) -> list[tuple[str, bool]]:
    """Compile every cell of an experiment, at every hidden size, into the cache.

    Args:
        experiment: what is to be run, perhaps elsewhere.
        isa: another instruction set than this processor's.

    Returns:
        One line a cell and hidden size, and whether it was built.
    """
    from cellbench.engines.engine import Refused
    from cellbench.engines.lanes import build_ahead
    from cellbench.training.worker import blueprint_of

    planned = grid.plan(experiment, sizer(experiment))
    lines = []
    for cell in experiment.cells:
        for hidden in sorted({p.fit.hidden_size for p in planned if p.cell == cell}):
            what = f"{cell.label}, hidden size {hidden}"
            try:
                lines.append((f"{what}: {build_ahead(blueprint_of(cell, hidden, experiment.task), isa=isa)}", True))
            except Refused as refusal:
                lines.append((f"{what}: not built: {refusal}", False))
    return lines
