"""Which stored replicas an earlier version of an engine trained wrongly: told by what their cells do today."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cellbench.engines.history import traits_among
from cellbench.experiment import Experiment
from cellbench.model import blueprint_of
from cellbench.records import VERSIONS, Planned, models, wrongs
from cellbench.store.earlier import Earlier
from cellbench.training.data import longest


@dataclass
class Judged:
    """What is known today of replicas that earlier versions trained.

    Attributes:
        right: the version of its engine that would give the same numbers, by key.
        wrong: the reason why it counts as not done, by key.
    """

    right: dict[str, int] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)


def judge(experiment: Experiment, planned: Sequence[Planned], earlier: Mapping[str, Earlier]) -> Judged:
    """Judge the planned replicas that an earlier version trained.

    Args:
        experiment: the experiment.
        planned: its whole plan.
        earlier: stored replicas that were not judged yet, by key.
    """
    found = Judged()
    for cell in experiment.cells:
        mine = [p for p in planned if p.cell.label == cell.label]
        by_key = {r.key: earlier[r.key] for p in mine for r in p.replicas if r.key in earlier}
        found.wrong |= {key: one.failed for key, one in by_key.items() if one.failed}
        rest = {key: one for key, one in by_key.items() if not one.failed}
        if not rest or any(p.fit.broken for p in mine):
            continue
        steps = longest(experiment.task, experiment.settings, (p.point.parameters for p in mine))
        try:
            blueprints = [blueprint_of(*model, experiment.task) for model in models(mine)]
            traits = traits_among(blueprints, steps, {one.engine for one in rest.values()})
        except Exception:
            continue  # its code raises: nothing can be told
        for key, one in rest.items():
            if why := wrongs(one.engine, one.version, traits):
                found.wrong[key] = why
            else:
                found.right[key] = VERSIONS[one.engine]
    return found
