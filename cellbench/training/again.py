"""A stored replica, trained again from what its folder holds: its key, the experiment, the text of its cell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from cellbench.engines import Refused
from cellbench.engines.history import traits_among
from cellbench.errors import CellbenchError, CellError
from cellbench.model import Model, blueprint_of, generators_kept, set_generators, task_of
from cellbench.model.weights import fill
from cellbench.plugins import Registry, contained, sources
from cellbench.records import (
    NUMBERS_VERSION,
    VERSIONS,
    CellSpec,
    Chunk,
    Outcome,
    Point,
    Replica,
    ReplicaKey,
    Settings,
    Source,
    TaskSpec,
    is_own,
    wrongs,
)
from cellbench.store.replica import StoredReplica
from cellbench.task import Task
from cellbench.training.data import EvaluationData, longest
from cellbench.training.drawn import Drawn
from cellbench.training.loop import fit, initial_models
from cellbench.training.worker import ready, work


def is_from_file(label: str, resolved: Mapping[str, Any]) -> bool:
    """Tell whether an experiment made the cell of this label from a file."""
    return any(
        isinstance(cell, dict) and cell.get("factory") and label == (cell.get("label") or cell["name"])
        for cell in resolved["cells"]
    )


def _own_task(key: ReplicaKey, texts: Mapping[str, Source], path: str) -> TaskSpec | None:
    """Describe the task of the user's own that a replica was trained on; None if it was a registered one."""
    if not is_own(key.task):
        return None
    return TaskSpec(key.task, tuple(texts[sha] for sha in key.task_sources), path)


class Again:
    """A stored replica, ready to be trained again.

    Args:
        stored: the replica.
        resolved: the experiment that it belongs to.
        texts: the folder's, by their SHA-256.
        registry: the plugins that are installed.
        task_path: the file of the arrays that it was trained on, if it was trained on arrays.

    Attributes:
        chunk: the replica alone, as a worker takes it.
        unlike: what makes it a different replica here, one line each.
    """

    def __init__(
        self,
        stored: StoredReplica,
        resolved: Mapping[str, Any],
        texts: Mapping[str, Source],
        registry: Registry,
        task_path: str = "",
    ) -> None:
        key = stored.key()
        self.unlike: list[str] = []
        self._stored = stored
        if key.numbers_version != NUMBERS_VERSION:
            self.unlike.append(f"numbers_version: {key.numbers_version} then, {NUMBERS_VERSION} now")
        own = _own_task(key, texts, task_path)
        if own is None:
            self._registered("task", key.task, key.task_sources, registry)
        kept = tuple(texts[sha] for sha in key.cell_sources)
        from_file = is_from_file(stored.label, resolved)
        if not from_file:
            kept = self._registered("cell", key.cell, key.cell_sources, registry)
        cell = CellSpec(
            stored.label,
            key.cell,
            key.factory,
            key.options,
            key.learn_initial_state,
            key.readout_hidden,
            kept,
            from_file,
            layers=key.layers,
        )
        self.chunk = Chunk(
            cell,
            Point(key.parameters, key.batch_size, key.size),
            stored.hidden_size,
            Settings(key.task, key.train(resolved["train"]["timeout"]), key.evaluate, key.solved, key.final, own),
            stored.outcome.engine,
            (Replica(stored.outcome.key, key.seed, key.learning_rate),),
        )

    def _registered(self, kind: str, name: str, shas: Sequence[str], registry: Registry) -> tuple[Source, ...]:
        entry = registry.find(kind, name)
        installed = sources.of_entry(entry)
        if tuple(s.sha256 for s in installed) != tuple(shas):
            self.unlike.append(f"the {kind} {name}: the installed text ({entry.provider}) is not that of the results")
        return installed

    def _engines(self) -> list[str]:
        """List the stored engine, then those that may stand in for it here."""
        return [self.chunk.engine, *(e for e in ("stack", "reference") if e != self.chunk.engine)]

    def wrong(self) -> str:
        """Say what the version of the engine that trained it was wrong about; empty if nothing."""
        then = self._stored.outcome
        if then.engine_version >= VERSIONS.get(then.engine, 0):
            return ""
        steps = longest(self.task, self.chunk.settings, [self.chunk.point.parameters])
        try:
            blueprint = blueprint_of(self.chunk.cell, self.chunk.hidden_size, self.task)
            traits = traits_among([blueprint], steps, [then.engine])
        except Exception:
            return ""  # its code raises, which the comparison tells
        return wrongs(then.engine, then.engine_version, traits)

    def train(self) -> Outcome:
        """Train it again, by another engine if the stored one does not work here."""
        for engine in self._engines():
            (outcome,) = work(replace(self.chunk, engine=engine))
            if not outcome.traceback.startswith("the engine "):
                break
        if outcome.cause == "machine":
            raise CellbenchError(f"{self._stored.place} could not be trained here: {outcome.traceback.strip()}")
        return outcome

    @property
    def task(self) -> Task:
        """The task that it was trained on."""
        return task_of(self.chunk.settings.task, self.chunk.settings.own)

    def initial(self) -> Model:
        """Make its model, at its initial weights."""
        chunk = self.chunk
        point, seed = chunk.point, chunk.replicas[0].seed
        with contained():
            blueprint = blueprint_of(chunk.cell, chunk.hidden_size, self.task)
            return blueprint.build(point.parameters, point.batch_size, point.size, seed)

    def model(self) -> Model:
        """Train it again, by another engine if the stored one does not work here; the trained model.

        Raises:
            CellbenchError: no engine trains it here, or it diverged.
            CellError: the cell's code raised.
        """
        why = ""
        for name in self._engines():
            chunk = replace(self.chunk, engine=name, keep_weights=True)
            try:
                with contained():
                    blueprint, engine = ready(chunk)
                    models = initial_models(blueprint, chunk, engine)
                    fitted = fit(chunk, self.task, engine, models)
            except Refused as refusal:
                why = str(refusal)
                continue
            except CellbenchError:
                raise
            except Exception as error:
                raise CellError(f"{self._stored.place}: training it raised {type(error).__name__}: {error}") from error
            if not fitted.trained:
                raise CellbenchError(f"{self._stored.place} diverged at step {fitted.lost_at[0]} when trained again")
            # an engine that owns its models trained this very module, with whatever it holds beside tensors
            if not engine.owns_models:
                fill(models[0], fitted.tensors[0])
            return models[0].eval()
        raise CellbenchError(f"{self._stored.place} could not be trained here: {why}")

    def examples(self) -> Drawn:
        """Draw the examples of its final evaluation."""
        data = EvaluationData(self.task, self.chunk.settings, self.chunk.point.parameters)
        inputs, targets, mask = data.final([self.chunk.replicas[0].seed], "", None)
        return Drawn(inputs[0], targets[0], None if mask is None else mask[0])

    def score(self, model: Model) -> tuple[float, float]:
        """Compute a model's loss and its share of right answers at the final evaluation."""
        drawn = self.examples()
        with generators_kept():
            # what a random cell draws is named as when it was trained
            set_generators(*model.stream, self._stored.outcome.final_step, "evaluation")
            logits = torch.from_numpy(model.logits(drawn.inputs)).double()
        targets = torch.from_numpy(drawn.targets)
        mask = None if drawn.mask is None else torch.from_numpy(drawn.mask)[None]
        wanted = targets.double() if targets.is_floating_point() else targets
        loss, right, _ = model.objective.scores(logits[None], wanted[None], mask)
        return float(loss[0]) if math.isfinite(loss[0]) else math.nan, float(right[0])
