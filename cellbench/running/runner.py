"""The wiring of a run: an experiment is planned, trained by an executor, stored in a folder and reported."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cellbench import environment
from cellbench.engines.lanes import compilers
from cellbench.errors import CellbenchError
from cellbench.executors import Executor, Here, Processes
from cellbench.experiment import Experiment, schema
from cellbench.experiment import load as load_experiment
from cellbench.planning import Plan, lay_out, prepare
from cellbench.plugins import Registry, discover, find_strays
from cellbench.records import Planned
from cellbench.running.admission import Admission
from cellbench.running.events import Event, Notice, OnEvent, Stage
from cellbench.running.fitting import is_cluster, job_of, remember_reasons, train_missing
from cellbench.running.interrupts import interruptible
from cellbench.running.stages import Stages
from cellbench.running.task_admission import admit
from cellbench.store import locked, set_aside
from cellbench.wording import did_you_mean

if TYPE_CHECKING:
    from cellbench.results import Results


def run(
    experiment: str | Path | Mapping[str, Any] | Experiment | None = None,
    folder: str | Path | None = None,
    *,
    executor: Executor | Literal["local", "dask"] = "local",
    scheduler: str | None = None,
    workers: int = 1,
    overrides: Sequence[str] = (),
    only: Mapping[str, Sequence[str]] | None = None,
    shard: tuple[int, int] | None = None,
    fresh: bool = False,
    trust: bool = False,
    report: bool | Mapping[str, Any] = True,
    on_event: OnEvent | None = None,
    quiet: bool = False,
    **keys: Any,
) -> Results:
    """Train the replicas that have no result yet, store them, and write the report.

    Args:
        experiment: a file, its keys as a mapping, or a loaded experiment; None if the keywords say it all.
        folder: the results folder; default `results/<name>`.
        executor: where chunks run: `local` (in this process if `workers=1`, else in worker processes), `dask`, or an
            executor of your own.
        scheduler: the address of a Dask scheduler, or its file; None starts one here, with `workers` workers.
        workers: how many worker processes.
        overrides: `a.b=c`, as `--set` takes them; not for a loaded experiment.
        only: the part to train, as `--only` names it.
        shard: the shard to train, as `(number, of)`.
        fresh: set stored results aside and start anew.
        trust: train cells that break a law all the same, and give them the usual verdicts.
        report: whether to write the report; or the keys of the experiment's section `report`, and it is written.
        on_event: called with stages, notices and the plan, then once per chunk. Without it, `cellbench.run` shows the
            progress: a bar in a notebook and on a terminal, a line every ten seconds elsewhere.
        quiet: show no progress.
        **keys: the keys of an experiment file: cells, grid, seeds, learning_rate, train and so on (docs/experiment.md).
            They change those of `experiment`; of a section, such as `train`, only the keys that are given. Without an
            experiment, `cells` and `grid` must be given, and `name` is `notebook`.

    Returns:
        The results of everything that the experiment plans.

    Raises:
        CellbenchError: the input is bad, and nothing was run.
        Interrupted: the run was interrupted; what was trained is kept.
    """
    registry = discover()
    if isinstance(report, Mapping):
        keys, report = {**keys, "report": report}, True
    experiment = _experiment(experiment, registry, keys, overrides)
    where = Path(folder) if folder is not None else Path("results") / experiment.name
    with interruptible() as interrupts, ExitStack() as stack:
        stages: Stages | None = None

        def see(event: Event) -> None:
            if stages is not None:
                stages.see(event)
            if on_event is not None:
                on_event(event)
            interrupts.check()

        def say(text: str) -> None:
            see(Stage(text))

        def notice(text: str) -> None:
            see(Notice(text))

        # before planning, so that workers import torch in the meantime
        if isinstance(executor, str):
            executor = _executor(executor, scheduler, workers)
            stack.callback(executor.close)
            if warning := getattr(executor, "warning", ""):
                see(Notice(warning))
        texts = [(cell.label, cell.sources) for cell in experiment.cells]
        texts += [(experiment.settings.task, experiment.task_sources)]
        for label, sources in texts:
            for name, place in find_strays(sources).items():
                see(Notice(_stray(label, name, place)))
        if experiment.keys.device == "mps":
            from cellbench.engines.device import MPS

            notice(MPS)
        despite = admit(experiment, trust)  # faults found here and in the plan leave no folder behind
        planned = lay_out(experiment, say)
        # one run per folder; from here on there may be results that an interrupt keeps
        stack.enter_context(locked(where))
        interrupts.said = "what was trained is kept"
        admission = Admission(experiment, where, planned, trust, fresh, say)
        facts = _described(experiment, registry, trust, despite)
        # a cluster is told before it trains what each cell was compiled to
        begin = partial(
            prepare, experiment, where, planned, only=only, shard=shard, ask=admission.ask, say=say,
            pool=stack.enter_context(compilers()), overlap=not is_cluster(executor),
        )  # fmt: skip
        if experiment.stages is not None:
            stages = Stages(experiment, where, planned, facts, admission.answers)
        plan = begin(fresh=fresh, stage=stages.stand(fresh) if stages is not None else None)
        remember_reasons(facts["facts"]["cells"], plan)
        # if nothing is to be trained and nothing has changed, the report that is there is the answer
        nothing = not plan.todo and not plan.reused
        if report and not fresh and nothing and (answer := _answer(where, facts, planned)) is not None:
            see(plan)
            return _results(where, answer=answer)
        # a cluster whose workers would compute other numbers is refused here, before anything is written
        job = job_of(plan, executor)
        if fresh:  # nothing can refuse the run any more
            set_aside(where)
        fit = partial(train_missing, executor=executor, facts=facts, answers=admission.answers, see=see)
        if stages is None:
            fit(plan, job)
        else:
            stages.run(plan, executor.slots, begin, fit, notice, say)
            stages = None
        asked = _request(facts, planned) if report else ""
        # a large plan takes as much memory as its report: free it, and end the workers, before the report is made
        stack.close()
        del plan, planned, job, admission, begin, fit
        if report:
            say("all trained; the report is being made")
        results = _reported(where, asked) if report else _results(where)
        interrupts.check()
        return results


def plan(
    experiment: Experiment,
    folder: Path,
    *,
    only: Mapping[str, Sequence[str]] | None = None,
    shard: tuple[int, int] | None = None,
    fresh: bool = False,
    trust: bool = False,
    on_event: OnEvent = lambda event: None,
) -> Plan:
    """Plan a run as `run` does, its cells asked; nothing is written.

    Raises:
        CellbenchError: the input is bad, the task breaks a law, or a cell cannot be trained.
    """

    def say(text: str) -> None:
        on_event(Stage(text))

    despite = admit(experiment, trust)
    planned = lay_out(experiment, say)
    ask = Admission(experiment, folder, planned, trust, fresh, say).ask
    stage = None
    if experiment.stages is not None:
        facts = _described(experiment, discover(), trust, despite)
        stage = Stages(experiment, folder, planned, facts, {}).stand(fresh)
    with compilers() as pool:
        return prepare(
            experiment, folder, planned, only=only, shard=shard, fresh=fresh, ask=ask, say=say, stage=stage, pool=pool
        )


def _described(experiment: Experiment, registry: Registry, trust: bool, despite: list[str]) -> dict[str, Any]:
    """Describe an experiment as the store takes it: resolved, facts and environment.

    The facts are what reports need besides the keys: each cell's digest finds its answers in the store, and `despite`
    has the laws that the task breaks.
    """
    facts = experiment.facts(registry)
    for cell in experiment.cells:
        facts["cells"][cell.label]["digest"] = cell.digest
    if trust:
        facts["trusted"] = True
    if despite:
        facts["task_breaks"] = despite
    return {"resolved": experiment.resolved(), "facts": facts, "environment": environment.describe(registry)}


def _experiment(
    given: str | Path | Mapping[str, Any] | Experiment | None,
    registry: Registry,
    keys: Mapping[str, Any],
    overrides: Sequence[str],
) -> Experiment:
    """Load the experiment that `run` was asked for."""
    known = [*schema()["properties"], *inspect.signature(run).parameters]
    for name in keys:
        if name not in known:
            raise CellbenchError(f"run: no argument or key {name!r}. {did_you_mean(name, known)}")
    if isinstance(given, Experiment):
        if keys or overrides:
            changes = [*keys, *overrides]
            raise CellbenchError(f"run: a loaded experiment is run as it is; {', '.join(changes)} cannot change it")
        return given
    return load_experiment({"name": "notebook"} if given is None else given, registry, keys=keys, overrides=overrides)


def _stray(label: str, name: str, place: Path) -> str:
    return (
        f"{label} imports {name} from {place}, which belongs to no installed distribution: no key holds its text, so "
        "an edit of it trains nothing again. Install it, or put it beside the file that imports it."
    )


def _results(folder: Path, **known: Any) -> Results:
    from cellbench.results import Results

    return Results(folder, own=True, **known)


def _request(facts: Mapping[str, Any], planned: Sequence[Planned]) -> str:
    """Hash what a report would be made of, beside the store."""
    from cellbench.results import seal  # what reports are made with takes long to import, and training needs none of it

    return seal.request(facts, planned)


def _answer(folder: Path, facts: Mapping[str, Any], planned: Sequence[Planned]) -> str | None:
    """Return the text of the report in the folder, if it would be made the same again."""
    from cellbench.results import seal

    return seal.answer(folder, _request(facts, planned))


def _reported(folder: Path, asked: str) -> Results:
    """Write the report, and seal it."""
    from cellbench.results import seal, write

    of = seal.store(folder)
    found = _results(folder, report=write(folder))
    seal.put(folder, asked, of, str(found))
    return found


def _executor(kind: str, scheduler: str | None, workers: int) -> Executor:
    if kind == "dask":
        from cellbench.executors import Dask

        return Dask(scheduler, workers)
    if kind != "local":
        raise CellbenchError(f"no executor {kind!r}: choose local or dask")
    if workers == 1:
        return Here()
    processes = Processes(workers)
    processes.warm()
    return processes
