"""A run in stages: seeds are added until each comparison is decided, or a cap is reached.

Nothing is remembered between stages, or between runs: the looks are replayed from what is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellbench.executors.dispatch import Finished
from cellbench.experiment import Experiment
from cellbench.planning import Plan, Stage
from cellbench.records import Answer, Planned
from cellbench.wording import duration

if TYPE_CHECKING:
    from cellbench.summary.staging import Standing

_MOST_NAMED = 6
"""The most open comparisons that are named after a look."""


@dataclass
class Stages:
    """The stages of one run.

    Attributes:
        experiment, folder: of the run; its seeds are staged.
        planned: everything that it plans, up to the most seeds.
        facts: resolved, facts and environment, as reports need them.
        answers: what cells answer to laws in this run, by the cell's digest.
        standing: what the looks say, as of the last `stand`.
    """

    experiment: Experiment
    folder: Path
    planned: Sequence[Planned]
    facts: Mapping[str, Any]
    answers: Mapping[str, Sequence[Answer]]
    standing: Standing = field(init=False)
    _said: int = 0
    _seconds: float = 0.0
    _cost: float = 0.0

    def run(
        self,
        plan: Plan,
        workers: int,
        begin: Callable[..., Plan],
        train: Callable[[Plan], None],
        say: Callable[[str], object],
        doing: Callable[[str], object],
    ) -> None:
        """Train stage after stage, until nothing is open or a stage lacks what others train.

        Args:
            plan: of the first stage.
            workers: that train at the same time.
            begin: plans a stage, given `stage` and the `engines` of the stages before.
            train: trains what a plan lacks, and stores it.
            say: called with a line about each look.
            doing: called with what is done between two stages.
        """
        while True:
            for line in self.lines(plan, workers):
                say(line)
            train(plan)
            doing("looking at what is decided")
            stage = self.stand()
            if stage.targets == plan.targets:
                break
            plan = begin(stage=stage, engines=plan.engines)
        for line in [*self.lines(None, workers), *self.incomplete()]:
            say(line)

    def stand(self, fresh: bool = False) -> Stage:
        """Replay the looks, and return the stage that is next; of a finished plan the last one, with nothing to train.

        Args:
            fresh: as if nothing were stored.

        Raises:
            ExperimentError: an earlier plan with another first look has been looked at.
        """
        from cellbench.results.standing import standing

        stood = standing(self.folder, {**self.facts, "command": "", "started": ""}, self.planned, self.answers, fresh)
        if stood.first_was is not None:
            raise self.experiment.fault(
                ("seeds", "from"),
                f"was {stood.first_was} when the first look was made; only `to` may change. `--fresh` starts anew",
            )
        self.standing = one = stood.standing
        number = one.stage.number if one.stage is not None else max(1, one.looked)
        planned = {cell.label: self.experiment.owner(cell.label) for cell in self.experiment.cells}
        targets, most = ({label: seeds[of] for label, of in planned.items()} for seeds in (one.targets, one.most))
        return Stage(number, targets, most)

    def see(self, event: object) -> None:
        """Learn from a chunk how long training takes."""
        if isinstance(event, Finished):
            self._seconds += sum(outcome.seconds for outcome in event.outcomes)
            self._cost += event.chunk.cost

    def lines(self, plan: Plan | None, workers: int) -> list[str]:
        """Say what the last look decided, and what is trained next; nothing before the first look.

        Args:
            plan: of the next stage; None if the run has ended.
            workers: that train at the same time.
        """
        one = self.standing
        if not one.looked or not one.readings:
            return []
        if self._said == one.looked and plan is None:
            return []
        self._said = one.looked
        look = one.stages.looks[one.looked - 1]
        said = ", ".join(f"{word} {count}" for word, count in one.decided.items())
        head = (
            f"look {look.number} of {len(one.stages.looks)}, {look.seeds} seeds: {sum(one.decided.values())} of "
            f"{len(one.readings)} decided{f' ({said})' if said else ''}."
        )
        next_ = f" {self._next(plan, workers)}" if plan is not None and plan.todo else ""
        return [f"{head}{next_}", *self._open()]

    def _next(self, plan: Plan, workers: int) -> str:
        """Say what the next stage trains."""
        from cellbench.summary import words  # takes long to import, and a run without stages needs none of it

        one, owner = self.standing, self.experiment.owner
        cells = list(dict.fromkeys(owner(cell.label) for cell in self.experiment.cells))
        seeds = sorted({r.seed for chunk in plan.todo for r in chunk.replicas})
        labels = [label for label in cells if any(owner(chunk.cell.label) == label for chunk in plan.todo)]
        base = next(iter(one.readings))[1]
        others = [label for label in labels if label != base]
        who = [base] if base in labels else []
        who += others if len(others) <= 2 else [words.count(len(others), "cells")]
        replicas = sum(len(chunk.replicas) for chunk in plan.todo)
        cost = sum(chunk.cost for chunk in plan.todo)
        seconds = cost * (self._seconds / self._cost if self._cost else 1.0) / max(1, workers)
        return (
            f"Stage {plan.stage}: {words.listing(who)}, seeds {seeds[0]} to {seeds[-1]}, {replicas:,} replicas, about "
            f"{duration(seconds)}."
        )

    def _open(self) -> list[str]:
        """Say of the open comparisons for how much longer at most they are."""
        from cellbench.summary import looked

        rows = [reading.row for reading in self.standing.open if reading.row.open and not reading.row.behind]
        design = next(iter(self.standing.readings.values())).replicas.design
        lines = [f"  {row.cell} open: {looked.outlook(row, design)}" for row in rows[:_MOST_NAMED]]
        return [*lines, f"  and {len(rows) - _MOST_NAMED} more open"] if len(rows) > _MOST_NAMED else lines

    def incomplete(self) -> list[str]:
        """Say that a stage lacks parts, which other shards train; nothing if it does not."""
        one = self.standing
        if one.stage is None:
            return []
        planned = [(self.experiment.owner(p.cell.label), r) for p in self.planned for r in p.replicas]
        in_stage = set(one.in_stage)
        before = max((look.seeds for look in one.stages.looks if look.number < one.stage.number), default=0)
        total = sum(label in in_stage and before <= r.seed < one.stage.seeds for label, r in planned)
        said = f"{one.stored(before):,} of {total:,} replicas; merge, and run again"
        return [f"stage {one.stage.number} is not complete: {said}"]
