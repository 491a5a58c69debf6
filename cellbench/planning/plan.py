"""The plan of a run: sizes measured, engines chosen, finished replicas left out, the rest cut into chunks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cellbench.engines import Choice
from cellbench.engines.lanes import Compilers
from cellbench.errors import CellbenchError
from cellbench.experiment import Experiment
from cellbench.planning.choosing import Choosing
from cellbench.planning.chunks import chunks
from cellbench.planning.grid import lay_out
from cellbench.planning.judging import Judged, judge
from cellbench.planning.part import Stage, deal, select, upto
from cellbench.planning.reuse import Alike, Neighbours, Reused
from cellbench.planning.supply import Supply
from cellbench.records import CellSpec, Chunk, Planned
from cellbench.store import FILE, Store, earlier


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
        supply: hands these out, where some cells are still compiled; what is said of their engines is what is likely.
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
    supply: Supply | None = None
    judged: Judged = field(default_factory=Judged)
    wrong: Mapping[str, str] = field(default_factory=dict)
    reused: tuple[Reused, ...] = ()
    passed_over: tuple[str, ...] = ()
    stage: int = 0
    targets: Mapping[str, int] = field(default_factory=dict)
    most: tuple[int, float] = (0, 0.0)
    continued: bool = False

    @property
    def compiling(self) -> list[str]:
        """The labels of the cells that are still compiled."""
        return [cell.label for cell in self.supply.waiting] if self.supply is not None else []

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
    pool: Compilers | None = None,
    overlap: bool = False,
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
        pool: threads that wait for compilers, so that cells are compiled side by side.
        overlap: whether cells may be compiled while others are trained: then the plan has a supply.

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
    chosen: MutableMapping[str, Choice] = dict(engines or {})
    choosing = Choosing(experiment, planned, done, stored, pool)

    def begin(cell: CellSpec) -> None:
        say(f"compiling {labels.index(cell.label) + 1} of {len(labels)}: {cell.label} (kept for next time)")
        choosing.begin(cell)

    missing = _missing(selected, done) if not fresh else []
    neighbours = Neighbours(experiment, folder, missing)
    # cells that were trained there are not asked first whether they can be
    found_there = neighbours.cells
    offered = [cell for cell in experiment.cells if cell.label in found_there and cell.label not in chosen]
    for cell in offered:
        begin(cell)
    for cell in offered:
        chosen[cell.label] = choosing.choose(cell)
    reused = neighbours.taken(Alike(experiment, chosen))
    done = choosing.done = done.union(*(found.keys for found in reused))
    judged.right |= {key: neighbours.right[key] for found in reused for key in found.keys & neighbours.right.keys()}
    open_cells = {p.cell.label for p in selected if any(r.key not in done for r in p.replicas)}
    ask([cell for cell in experiment.cells if cell.label in open_cells])
    without = [cell for cell in experiment.cells if cell.label not in chosen]
    waiting: list[CellSpec] = []
    for cell in without:
        # behind the first one that is compiled, the others can wait, too: they are traced while it is trained
        if not (waiting and choosing.can_wait(cell)):
            begin(cell)
            if not (overlap and choosing.awaited(cell) and choosing.can_wait(cell)):
                continue
        waiting.append(cell)
    for cell in without:
        chosen[cell.label] = Choice("lanes", "") if cell in waiting else choosing.choose(cell)
    chosen = {label: chosen[label] for label in labels}
    todo = chunks(experiment, selected, chosen, done)
    supply = Supply(todo, waiting, choosing, chosen, selected) if waiting else None
    passed_over = tuple(neighbours.passed_over)
    wrong = {**known_wrong, **judged.wrong}
    found = Plan(experiment, folder, planned, selected, chosen, done, todo, supply, judged, wrong, reused, passed_over)
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
