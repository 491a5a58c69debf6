"""The wiring: an experiment, a folder, an executor; trained, stored, reported."""

from __future__ import annotations

import hashlib
import inspect
import json
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cellbench import environment, grid
from cellbench.agreement import Agreement
from cellbench.dispatch import Job, dispatch
from cellbench.errors import CellbenchError, CellError, Interrupted, PluginError, StoreError
from cellbench.executors import Executor, Here, Processes
from cellbench.experiment import Experiment
from cellbench.experiment import load as load_experiment
from cellbench.folder import locked, set_aside
from cellbench.keys import did_you_mean
from cellbench.plugins import Registry, discover
from cellbench.records import CellSpec, Chunk, Fit, Outcome, Planned, schedule
from cellbench.store import Store

if TYPE_CHECKING:
    from cellbench.results import Results

PRELOAD = ("cellbench.training.work", "cellbench.training.engines.stack", "cellbench.training.engines.reference")


@dataclass(frozen=True)
class EngineChoice:
    """The engine of one cell (by label), and why."""

    label: str
    engine: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What a run is about to do.

    Attributes:
        experiment, folder: of the run.
        planned: everything that the experiment plans.
        selected: the part asked for with `--only` or `--shard`; else the same.
        engines: one a cell.
        done: keys that need no training.
        todo: the chunks to train.
        notes: what the user should know, one line each.
    """

    experiment: Experiment
    folder: Path
    planned: list[Planned]
    selected: list[Planned]
    engines: tuple[EngineChoice, ...]
    done: frozenset[str]
    todo: list[Chunk]
    notes: tuple[str, ...] = ()

    @property
    def replicas(self) -> int:
        """How many replicas the selected part plans; a key that two labels share counts for both."""
        return sum(len(p.replicas) for p in self.selected)

    @property
    def replicas_done(self) -> int:
        """How many of them need no training."""
        return sum(r.key in self.done for p in self.selected for r in p.replicas)


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
        scheduler: the address of a Dask scheduler; None starts one on this machine, with `workers` workers.
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
    with ExitStack() as stack:
        stack.enter_context(_terminable())
        if isinstance(executor, str):
            executor = _executor(executor, scheduler, workers)
            stack.callback(executor.close)
        try:
            planned = grid.plan(experiment, _sizer(experiment))  # faults that show here leave no folder behind
        except KeyboardInterrupt:
            raise Interrupted("interrupted; nothing was run") from None
        stack.enter_context(locked(where))
        if fresh:
            set_aside(where)
        try:
            plan = prepare(experiment, where, planned, only=only, shard=shard)
            job = _job(plan, executor)
            with Store(where, write=True) as store:
                _record(store, plan, registry)
                on_event(plan)
                _train(store, plan, dispatch(plan.todo, executor, job), on_event)
        except KeyboardInterrupt:
            raise Interrupted("interrupted; what was trained is kept") from None
    from cellbench import results

    return results.Results(where, results.write(where) if report else None)


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


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM interrupts like Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def prepare(
    experiment: Experiment,
    folder: Path,
    planned: list[Planned] | None = None,
    *,
    only: Mapping[str, Sequence[str]] | None = None,
    shard: tuple[int, int] | None = None,
) -> Plan:
    """Plan a run: sizes measured, engines chosen, what is done already left out. Writes nothing.

    Args:
        experiment, folder: of the run.
        planned: the whole plan, if it was made before.
        only, shard: the part to train.

    Raises:
        CellbenchError: a cell cannot be made, a budget fits nothing, an engine refuses, stored results do not fit.
    """
    planned = planned if planned is not None else grid.plan(experiment, _sizer(experiment))
    selected = planned
    if only:
        selected = grid.select(selected, only)
        if not selected:
            raise CellbenchError(f"--only {_only_text(only)} leaves nothing of the experiment {experiment.name}")
    if shard is not None:
        selected = grid.shard(selected, *shard)
    done: frozenset[str] = frozenset()
    stored: dict[str, str] = {}
    if (folder / "runs.sqlite").exists():
        with Store(folder, write=False) as store:
            done, stored = frozenset(store.done()), store.stored_engines()
    engines = tuple(_choose(experiment, cell, planned, done, stored) for cell in experiment.cells)
    todo = _chunks(experiment, selected, {e.label: e.engine for e in engines}, done)
    return Plan(experiment, folder, planned, selected, engines, done, todo)


def _only_text(only: Mapping[str, Sequence[str]]) -> str:
    return ",".join(f"{k}={v}" for k, values in only.items() for v in values)


def _sizer(experiment: Experiment) -> grid.Sizer:
    from cellbench.training import sizes
    from cellbench.training.work import blueprint_of

    def size(cell: CellSpec, kind: str, number: int) -> Fit:
        place = ("cells", experiment.cells.index(cell))
        try:
            _check_options(experiment, cell, blueprint_of(cell, 1, experiment.task).factory)
            if kind == "hidden":
                hidden, found = number, sizes.measured(blueprint_of(cell, number, experiment.task))
            else:
                hidden, found = sizes.largest_fitting(lambda h: blueprint_of(cell, h, experiment.task), number)
        except sizes.NothingFits as error:
            raise experiment.fault(place, f"{cell.label} at {kind} {number}: {error}") from error
        except (CellError, PluginError) as error:
            # a broken cell stops no other: its replicas are planned, and fail with its traceback
            return Fit(number if kind == "hidden" else 1, None, None, None, " ".join(str(error).split()))
        return Fit(hidden, found.parameters, found.state, found.multiply_adds)

    return size


def _check_options(experiment: Experiment, cell: CellSpec, factory: Callable[..., Any]) -> None:
    """Options that the factory's signature does not take are bad input, not a failure of the cell."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return
    taken = [p.name for p in signature.parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        return
    for name, _ in cell.options:
        if name not in taken[2:]:
            place = ("cells", experiment.cells.index(cell), "options")
            known = did_you_mean(name, taken[2:]) if taken[2:] else "It takes none."
            raise experiment.fault(place, f"{cell.label} takes no option {name!r}. {known}")


def cell_digest(cell: CellSpec) -> str:
    """Identifies all that makes a cell, whatever its label."""
    facts = {k: v for k, v in asdict(cell).items() if k not in ("label", "provider", "sources")}
    text = json.dumps([facts, [s.sha256 for s in cell.sources]], sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _choose(
    experiment: Experiment, cell: CellSpec, planned: Sequence[Planned], done: frozenset[str], stored: Mapping[str, str]
) -> EngineChoice:
    """The cell's engine; the stored one must stay as long as it has results that are planned."""
    from cellbench.training.engines.choice import choose
    from cellbench.training.optimizers import OPTIMIZERS
    from cellbench.training.work import blueprint_of

    mine = [p for p in planned if p.cell == cell]
    train = experiment.settings.train
    hidden_sizes = sorted({p.fit.hidden_size for p in mine})
    keys = [r.key for p in mine for r in p.replicas]
    before = stored.get(cell_digest(cell))
    if before is not None and experiment.engine in ("auto", before) and all(key in done for key in keys):
        return EngineChoice(cell.label, before, "trained already")
    broken = next((p.fit.broken for p in mine if p.fit.broken), "")
    if broken:
        return EngineChoice(cell.label, "reference", f"{cell.label} cannot start: {broken}")
    blueprints = [blueprint_of(cell, h, experiment.task) for h in hidden_sizes]
    choice = choose(experiment.engine, blueprints, OPTIMIZERS[train.optimizer], train.clip_norm)
    if before is not None and before != choice.engine and any(key in done for key in keys):
        why = f" ({choice.reason})" if choice.reason else ""
        raise StoreError(
            f"{cell.label}: its stored results come from the engine {before}, but this run would train the rest with "
            f"{choice.engine}{why}. A cell's results must come from one engine. Go on with --set engine={before}, or "
            "start anew with --fresh (the old results are kept beside)."
        )
    return EngineChoice(cell.label, choice.engine, choice.reason)


CHUNK_SECONDS = 4.0
_SPEED = {"lanes": 1.5e9, "stack": 1.2e8, "reference": 2e7}
"""Multiply-adds of the forward pass a second, training all counted: rough, chunks need no more."""


def _chunks(
    experiment: Experiment, selected: Sequence[Planned], engines: Mapping[str, str], done: frozenset[str]
) -> list[Chunk]:
    """What is to be trained, in chunks of a few seconds, the longest first so that workers stay busy to the end."""
    chunks: list[Chunk] = []
    seen = set(done)
    for p in selected:
        missing = []
        for r in p.replicas:
            if r.key not in seen:
                seen.add(r.key)  # two labels may ask for one replica
                missing.append(r)
        if not missing:
            continue
        engine = engines[p.cell.label]
        seconds = _seconds(experiment, p, engine)
        # whole seeds, so that learning rates share their data
        rates = len(experiment.learning_rates)
        width = max(1, int(CHUNK_SECONDS / seconds / rates)) * rates
        width = min(width, 256) if engine == "lanes" else 32 if engine == "stack" else max(1, min(width, 8))
        for start in range(0, len(missing), width):
            replicas = tuple(missing[start : start + width])
            cost = seconds * len(replicas)
            chunks.append(Chunk(p.cell, p.point, p.fit.hidden_size, experiment.settings, engine, replicas, cost=cost))
    return sorted(chunks, key=lambda chunk: -chunk.cost)


def _seconds(experiment: Experiment, p: Planned, engine: str) -> float:
    """A rough guess of a replica's seconds."""
    from cellbench.streams import Stream

    inputs, _ = experiment.task.batch(Stream("size", count=1), 1, dict(p.point.parameters))
    batch = max(p.point.batch_size, 8)  # short batches fill no vector
    work = float((p.fit.multiply_adds or 0) * inputs.shape[0] * batch * experiment.settings.train.max_steps)
    return max(work / _SPEED[engine], 1e-4)


def _record(store: Store, plan: Plan, registry: Registry) -> None:
    experiment = plan.experiment
    texts = [s for cell in experiment.cells for s in cell.sources] + list(experiment.task_sources)
    store.set_experiment(
        experiment.resolved(),
        _facts(experiment, registry),
        environment.describe(registry),
        environment.command_line(),
        datetime.now(UTC).isoformat(timespec="seconds"),
        plan.planned,
        texts,
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
    from cellbench.training.work import work

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
    keys = {r.key: (p, r) for p in plan.selected for r in p.replicas}
    for chunk, found in ended:
        texts = {}
        for outcome in found:
            p, r = keys[outcome.key]
            texts[outcome.key] = replace(p.key, seed=r.seed, learning_rate=r.learning_rate).text()
        store.add(found, texts)
        on_event(Finished(chunk, tuple(found)))


def build(experiment: Experiment, isa: str | None = None) -> list[tuple[str, bool]]:
    """Compile every cell of an experiment, at every hidden size, into the cache.

    Args:
        experiment: what is to be run, perhaps elsewhere.
        isa: another instruction set than this processor's.

    Returns:
        One line a cell and hidden size, and whether it was built.
    """
    from cellbench.training.engines import Refused
    from cellbench.training.engines.lanes import build_ahead
    from cellbench.training.work import blueprint_of

    planned = grid.plan(experiment, _sizer(experiment))
    lines = []
    for cell in experiment.cells:
        for hidden in sorted({p.fit.hidden_size for p in planned if p.cell == cell}):
            what = f"{cell.label}, hidden size {hidden}"
            try:
                lines.append((f"{what}: {build_ahead(blueprint_of(cell, hidden, experiment.task), isa=isa)}", True))
            except Refused as refusal:
                lines.append((f"{what}: not built: {refusal}", False))
    return lines
