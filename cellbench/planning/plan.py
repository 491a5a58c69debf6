"""The plan of a run: sizes measured, engines chosen, finished replicas left out, the rest cut into chunks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from cellbench.engines import TRAINED, Choice, choose, optimizer_of, together
from cellbench.engines.device import used
from cellbench.errors import CellbenchError, CellError, StoreError
from cellbench.experiment import Experiment
from cellbench.planning import devices
from cellbench.planning.cost import Guess
from cellbench.planning.grid import lay_out
from cellbench.planning.judging import Judged, judge
from cellbench.planning.part import Stage, deal, select, upto
from cellbench.planning.reuse import Alike, Neighbours, Reused
from cellbench.plugins import Timeout
from cellbench.records import CPU, CellSpec, Chunk, Planned, models
from cellbench.store import FILE, Store, earlier
from cellbench.training.data import longest
from cellbench.training.timeout import limit


@dataclass(frozen=True)
class Plan:
    """The plan of a run.

    Attributes:
        experiment, folder: of the run.
        planned: everything that the experiment plans.
        selected: the part asked for with `--only` or `--shard`; else the same.
        engines: each label's engine, and why.
        done: keys that need no training, those that are reused included.
        judged: what was found out about stored replicas that earlier versions of the engines trained.
        wrong: those that count as not done, with the reason, by key; found now or by an earlier run.
        todo: the chunks to train.
        reused: what is copied from other folders of the experiment before anything is trained.
        passed_over: the folders among these that cannot be read, one line each.
        stage: the number of the stage, where seeds are added until decided; else 0.
        targets: the seeds that each cell has after it, by label.
        most: of such an experiment, the replicas to train if nothing were decided, and their guessed cost.
        continued: whether an earlier stage of the same run came before.
    """

    experiment: Experiment
    folder: Path
    planned: list[Planned]
    selected: list[Planned]
    engines: Mapping[str, Choice]
    done: frozenset[str]
    todo: list[Chunk]
    judged: Judged = field(default_factory=Judged)
    wrong: Mapping[str, str] = field(default_factory=dict)
    reused: tuple[Reused, ...] = ()
    passed_over: tuple[str, ...] = ()
    stage: int = 0
    targets: Mapping[str, int] = field(default_factory=dict)
    most: tuple[int, float] = (0, 0.0)
    continued: bool = False

    @property
    def replicas(self) -> int:
        """The number of replicas in the selected part; a key that two labels share counts for both."""
        return sum(len(p.replicas) for p in self.selected)

    @property
    def again(self) -> list[str]:
        """Say which stored replicas count as not done, one line per cell and reason."""
        counts = Counter((p.cell.label, self.wrong[r.key]) for p in self.planned for r in p.replicas
                         if r.key in self.wrong)  # fmt: skip
        return [
            f"{n:,} stored {'replica' if n == 1 else 'replicas'} of {label} {'counts' if n == 1 else 'count'} as not "
            f"done: {why}"
            for (label, why), n in counts.items()
        ]

    @property
    def replicas_done(self) -> int:
        """The number of those that need no training."""
        return sum(r.key in self.done for p in self.selected for r in p.replicas)


def prepare(
    experiment: Experiment,
    folder: Path,
    planned: list[Planned] | None = None,
    *,
    only: Mapping[str, Sequence[str]] | None = None,
    shard: tuple[int, int] | None = None,
    fresh: bool = False,
    ask: Callable[[Sequence[CellSpec]], object] = lambda cells: None,
    say: Callable[[str], object] = lambda text: None,
    stage: Stage | None = None,
    engines: Mapping[str, Choice] | None = None,
) -> Plan:
    """Plan a run: measure sizes, choose engines, leave out what is done already. Writes nothing.

    Args:
        experiment, folder: of the run.
        planned: the whole plan, if it was made before.
        only, shard: the part to train.
        fresh: plan as if nothing were stored.
        ask: called with the cells of which something is to be trained, before engines are made for them; what it
            raises ends the plan.
        say: called with a line before each cell whose engine is made.
        stage: the seeds that each cell is to have now, where they are added until decided.
        engines: each label's engine, where an earlier stage of the run chose them.

    Raises:
        CellbenchError: a cell cannot be made, no size fits a budget, an engine refuses a cell, or stored results do not
            fit.
    """
    planned = planned if planned is not None else lay_out(experiment, say)
    part = planned
    if only:
        part = select(part, only, experiment.tuned)
        if not part:
            raise CellbenchError(f"--only {_only_text(only)} leaves nothing of the experiment {experiment.name}")
    if shard is not None:
        part = deal(part, *shard)
    # whoever names a seed means it, whatever the stage
    selected = part if stage is None or "seed" in (only or {}) else upto(part, stage.targets)
    done: frozenset[str] = frozenset()
    stored: dict[str, str] = {}
    judged, known_wrong = Judged(), dict[str, str]()
    if not fresh and (folder / FILE).exists():
        with Store(folder, write=False) as store:
            done, stored = frozenset(store.done()), store.stored_engines()
            before, known_wrong = earlier.unjudged(store), earlier.wrong(store)
        judged = judge(experiment, planned, before)
        done -= judged.wrong.keys()
    labels = [cell.label for cell in experiment.cells]
    chosen = dict(engines or {})

    def choose_for(cell: CellSpec) -> None:
        say(f"compiling {labels.index(cell.label) + 1} of {len(labels)}: {cell.label} (kept for next time)")
        # over the whole plan, not the selected part, so that every part of it gets the same engines
        chosen[cell.label] = _choose(experiment, cell, planned, done, stored)

    missing = _missing(selected, done) if not fresh else []
    neighbours = Neighbours(experiment, folder, missing)
    # cells that were trained there are not asked first whether they can be
    offered = neighbours.cells
    for cell in experiment.cells:
        if cell.label in offered and cell.label not in chosen:
            choose_for(cell)
    reused = neighbours.taken(Alike(experiment, chosen))
    done = done.union(*(found.keys for found in reused))
    judged.right |= {key: neighbours.right[key] for found in reused for key in found.keys & neighbours.right.keys()}
    open_cells = {p.cell.label for p in selected if any(r.key not in done for r in p.replicas)}
    ask([cell for cell in experiment.cells if cell.label in open_cells])
    for cell in experiment.cells:
        if cell.label not in chosen:
            choose_for(cell)
    chosen = {label: chosen[label] for label in labels}
    todo = chunks(experiment, selected, chosen, done)
    passed_over = tuple(neighbours.passed_over)
    wrong = {**known_wrong, **judged.wrong}
    found = Plan(experiment, folder, planned, selected, chosen, done, todo, judged, wrong, reused, passed_over)
    if stage is None:
        return found
    ahead = chunks(experiment, upto(part, stage.most), chosen, done)
    most = sum(len(chunk.replicas) for chunk in ahead), sum(chunk.cost for chunk in ahead)
    return replace(found, stage=stage.number, targets=stage.targets, most=most, continued=engines is not None)


def _missing(selected: Sequence[Planned], done: frozenset[str]) -> list[Planned]:
    """Select what is to be trained, without the replicas that need no training."""
    cut = (replace(p, replicas=tuple(r for r in p.replicas if r.key not in done)) for p in selected)
    return [p for p in cut if p.replicas]


def _only_text(only: Mapping[str, Sequence[str]]) -> str:
    return ",".join(f"{k}={v}" for k, values in only.items() for v in values)


COMPILE_SECONDS = 10.0
"""Seconds that choosing an engine may take beside the time of a chunk: a cell may have to be compiled."""


def _choose(
    experiment: Experiment, cell: CellSpec, planned: Sequence[Planned], done: frozenset[str], stored: Mapping[str, str]
) -> Choice:
    """Choose the cell's engine; a stored one must stay as long as planned results come from it."""
    from cellbench.model import blueprint_of

    mine = [p for p in planned if p.cell.label == cell.label]
    train = experiment.settings.train
    keys = [r.key for p in mine for r in p.replicas]
    before = stored.get(cell.digest)
    if before is not None and experiment.engine in ("auto", before) and all(key in done for key in keys):
        return Choice(before, TRAINED)
    broken = next((p.fit.broken for p in mine if p.fit.broken), "")
    if broken:
        return Choice("reference", f"{cell.label} cannot start: {broken}")
    blueprints = [blueprint_of(*model, experiment.task) for model in models(mine)]
    batch_sizes = sorted({p.point.batch_size for p in mine})
    steps = longest(experiment.task, experiment.settings, (p.point.parameters for p in mine))

    device = used(experiment.keys.device)

    def choose_on(wanted: str, where: str) -> Choice:
        return choose(wanted, blueprints, optimizer_of(train), train.clip_norm, batch_sizes, steps, where)

    def timed(choice: Choice) -> Chunk:
        """Make the chunk that a choice is timed by: one of the largest model's."""
        return chunks(experiment, mine[-1:], {cell.label: choice}, frozenset())[0]

    def chosen(wanted: str) -> Choice:
        try:
            with limit(train.timeout + COMPILE_SECONDS, chosen.__code__):
                return devices.choose_on(device, wanted, choose_on, timed)
        except Timeout:
            slowest = "reference" if wanted == "auto" else wanted
            return Choice(slowest, f"trying the engines took longer than train.timeout, {train.timeout:g} s")

    choice = chosen(experiment.engine)
    if before is not None and before != choice.engine and any(key in done for key in keys):
        if experiment.engine == "auto":
            # nobody asked for another engine: results stay comparable, and the user hears of the faster one
            with suppress(CellError):
                stays = chosen(before)
                faster = f"; {choice.engine} could train it now, and faster, in a run with --fresh"
                why = "" if choice.engine == "reference" else faster
                return replace(stays, reason=f"its stored results come from it{why}")
        why = f" ({choice.reason})" if choice.reason else ""
        raise StoreError(
            f"{cell.label}: its stored results come from the engine {before}, but this run would train the rest with "
            f"{choice.engine}{why}. A cell's results must come from one engine. Go on with --set engine={before}, or "
            "start anew with --fresh (the old results stay in the folder, under another name)."
        )
    return choice


CHUNK_SECONDS = 4.0
"""Seconds that a chunk should take: long compared with handing it out, short compared with a whole run."""


_MOST = {"lanes": 256, "stack": 32, "reference": 8}
"""Replicas that a chunk may hold."""


def _width(seconds: float, rates: int, group: int, most: int) -> int:
    """Choose how many replicas a chunk should hold.

    Args:
        seconds: that one replica takes.
        rates: learning rates; whole seeds share their data.
        group: replicas that the engine trains at a time; fewer take as long, so a chunk holds whole groups.
        most: replicas that it may hold.
    """
    affordable = min(int(CHUNK_SECONDS / seconds), most)
    whole = math.lcm(rates, group)
    if whole <= affordable:
        return affordable // whole * whole
    # no whole seeds and groups together: a group is a matter of speed, a seed one of drawing its data twice
    return max(1, affordable // group) * group if group > 1 else min(rates, most)


def chunks(
    experiment: Experiment, selected: Sequence[Planned], engines: Mapping[str, Choice], done: frozenset[str]
) -> list[Chunk]:
    """Cut the replicas to train into chunks of a few seconds, the longest first, so that workers stay busy."""
    cut: list[Chunk] = []
    guess = Guess(experiment.task, experiment.settings)
    seen = set(done)
    for p in selected:
        missing = []
        for r in p.replicas:
            if r.key not in seen:
                seen.add(r.key)  # two labels may ask for one replica
                missing.append(r)
        if not missing:
            continue
        engine, device = engines[p.cell.label].engine, engines[p.cell.label].device
        seconds = guess.seconds(p, engine)
        if engine == "stack" and device != CPU:
            width = devices.stack_width(experiment, p, device)
        else:
            group = together(engine, p.point.batch_size)
            width = _width(seconds, len(experiment.rates(p.cell)), group, _MOST[engine])
        for start in range(0, len(missing), width):
            replicas = tuple(missing[start : start + width])
            cost = seconds * len(replicas)
            cut.append(
                Chunk(
                    p.cell, p.point, p.fit.hidden_size, experiment.settings, engine, replicas, cost=cost,
                    keep_weights=experiment.keys.keep == "weights", device=device,
                )
            )  # fmt: skip
    return sorted(cut, key=lambda chunk: -chunk.cost)
