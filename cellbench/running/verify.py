"""`cellbench verify`: train some stored replicas again, and compare every number.

The store holds what is needed: each replica's key, the experiment, the text of cells from files. Cells of plugins must
be installed; if their text is not that of the results, verify says so. Nothing is unpickled. The stored text of a cell
from a file is run, as `run` ran it, only after the caller has allowed it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cellbench import environment
from cellbench.errors import CellbenchError, StoreError
from cellbench.plugins import discover
from cellbench.records import LAYERS, MOST_LAYERS, TRAINED_BY, VERSIONS, Outcome, Source, Train, rounds_as
from cellbench.running.code import Code, of_cells
from cellbench.store import Store
from cellbench.store.replica import StoredReplica, finished
from cellbench.store.replica import outcome as stored_outcome
from cellbench.training.again import Again
from cellbench.wording import short

MOST = 10**6
"""The most units, parameters and examples per step that an experiment file may ask for."""

EARLY_STEPS = 50
EARLY_TOLERANCE = 1e-3
"""How much a loss may differ up to EARLY_STEPS, in nats per bit, if engine, compiler or instruction set differ.

Apart from rounding, all engines compute the same sums: lanes and stack differed by at most 1e-6 there."""
LOSS_TOLERANCE = 0.05
"""The same for later steps: training is chaotic, and rounding grows (to 1e-4 at step 630 of one replica)."""
ACCURACY_TOLERANCE = 0.1
"""How much an accuracy may differ there, as a share."""


@dataclass
class Verified:
    """The result of training a sample again.

    Attributes:
        stored: the number of replicas that could be chosen.
        environment: what differs between then and now, one line each.
        exact, close: how many replicas were compared bit for bit, and how many to the tolerance.
        points, evaluations: how many curve points and final evaluations were compared.
        worst: the greatest difference of a loss among those compared to the tolerance.
        difference: the replica that differs, with the first difference; empty if there is none.
        at: where in its training the difference is, such as `at step 5`; empty if the store contradicts itself, which
            shows without training.
    """

    stored: int = 0
    environment: list[str] = field(default_factory=list)
    exact: int = 0
    close: int = 0
    points: int = 0
    evaluations: int = 0
    worst: float = 0.0
    difference: str = ""
    at: str = ""

    def text(self) -> str:
        """Say in sentences what was compared, and what differs."""
        if self.difference and not self.at:
            return f"The store contradicts itself, and no replica was trained again:\n  {self.difference}"
        close = f"to the tolerance (losses differ by at most {self.worst:.2g})"
        if self.exact and self.close:
            how = f"{self.exact} bit for bit, {self.close} {close}"
        else:
            how = "bit for bit" if self.exact else close
        lines = [
            f"Trained {self.exact + self.close} of {self.stored:,} replicas again, and compared {self.points:,} curve "
            f"points and {self.evaluations:,} final evaluations: {how}."
        ]
        if self.difference:
            lines += [f"1 replica trained again differs, first {self.at}:", f"  {self.difference}"]
        else:
            lines.append("No difference.")
        return "\n".join(lines)


OnLine = Callable[[str], None]
Allow = Callable[[Sequence[Code]], bool]


def verify(
    folder: Path,
    sample: int = 20,
    chosen_by: int | None = None,
    on_line: OnLine = lambda line: None,
    allow: Allow = lambda code: False,
) -> Verified:
    """Train a random sample again, up to the first difference.

    Args:
        folder: the results folder.
        sample: how many replicas to train again.
        chosen_by: the seed of the choice; None chooses differently each time.
        on_line: called with each difference of the environment, most of them before anything is trained.
        allow: called with the code of the chosen cells before any of it is run; says whether texts of cells from files
            may be run. By default they may not.

    Raises:
        CellbenchError: the folder holds no results, a cell that they need is not installed, or a text may not be run.
    """
    registry = discover()
    with Store(folder, write=False) as store:
        experiment, texts, known = store.experiment(), store.sources(), finished(store)
        chosen = random.Random(chosen_by).sample(known, min(sample, len(known)))
        replicas = [stored_outcome(store, key) for key in chosen]
    if not replicas:
        raise StoreError(f"{folder} holds no finished replica to verify")
    found = Verified(stored=len(known))
    found.environment += _environment(experiment["environment"], environment.describe(registry))
    # all replicas are checked against the store before the first is trained, which takes longer
    prepared = []
    task_path = str(experiment["facts"].get("task_path", ""))
    for stored in replicas:
        with store.reading():  # the store is closed; this explains a section that lacks a key
            problem = _altered(stored, experiment["resolved"], texts)
            if problem:
                found.difference = f"{stored.place}: {problem}"
                break
            prepared.append((stored, Again(stored, experiment["resolved"], texts, registry, task_path)))
    found.environment += sorted({line for _, again in prepared for line in again.unlike})
    for line in found.environment:
        on_line(line)
    if found.difference:
        return found
    with store.reading():
        cells = [(stored.label, stored.key()) for stored in replicas]
        code = of_cells(cells, experiment["resolved"], texts, registry)
    if not allow(code) and any(one.texts for one in code):
        raise CellbenchError(
            f"Nothing was run: {folder} holds the code of cells from files, and verify would run it. Read it with "
            f"`cellbench verify {folder} --sources OUT`, and go on with --run-code if you would run it yourself."
        )
    for stored, again in prepared:
        outcome = again.train()
        # bit for bit only where nothing differs that the last bits depend on
        wrong = again.wrong()
        unlike = _elsewhere(stored.outcome, outcome)
        exact = not (again.unlike or wrong or unlike)
        if not exact and unlike and unlike not in found.environment:
            found.environment.append(unlike)
            on_line(unlike)
        found.exact += exact
        found.close += not exact
        found.points += len(outcome.curve)
        found.evaluations += len(outcome.evaluations)
        if not exact:
            found.worst = max(found.worst, _worst(stored.outcome, outcome))
        differences = _differences(stored.outcome, outcome, exact)
        difference = next(differences, ("in how it was trained", "a run trains it again") if wrong else None)
        if difference is not None:
            found.at, what = difference
            found.difference = f"{stored.place}: {what}{f' ({wrong})' if wrong else ''}"
            break
    return found


def _environment(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    lines = []
    for name in ("cellbench", "commit", "python", "implementation", "system", "machine", "processor", "compiler"):
        if then.get(name) != now.get(name):
            lines.append(f"{name}: {then.get(name) or 'unknown'} then, {now.get(name) or 'unknown'} now")
    for group in ("packages", "plugins"):
        before, after = then.get(group, {}), now.get(group, {})
        for name in sorted({*before, *after}):
            if before.get(name) != after.get(name):
                lines.append(f"{name}: {before.get(name, 'none')} then, {after.get(name, 'none')} now")
    return lines


def _elsewhere(then: Outcome, now: Outcome) -> str:
    """Say how the engine differs from that of the results; empty if the last bits do not depend on it."""
    alike = rounds_as(then.engine, then.engine_version) == rounds_as(now.engine, now.engine_version)
    parts = [
        f"{name} {getattr(then, name)} then, {getattr(now, name)} now"
        for name in TRAINED_BY
        if getattr(then, name) != getattr(now, name) and not (name == "engine_version" and alike)
    ]
    return f"trained by: {'; '.join(parts)}" if parts else ""


def _altered(stored: StoredReplica, resolved: Mapping[str, Any], texts: Mapping[str, Source]) -> str:
    """Find a contradiction in what is stored of a replica; empty if there is none. Nothing is trained."""
    try:
        key = stored.key()
    except (ValueError, TypeError, KeyError) as error:
        return f"its stored key cannot be read ({error})"
    if key.digest() != stored.outcome.key:
        return f"its stored key hashes to {key.digest()}, but its row has {stored.outcome.key}"
    final = resolved["final"]
    named = dict(stored.parameters)
    if LAYERS in named and LAYERS not in dict(key.parameters):  # an axis of the grid, and no parameter of the task
        wanted_layers = named.pop(LAYERS)
        if key.layers != wanted_layers:
            return f"its key has {key.layers} layers, its row {short(wanted_layers)}"
    wanted = {
        "task": resolved["task"], "parameters": tuple(named.items()), "batch_size": stored.batch_size,
        "size": stored.size, "seed": stored.seed, "learning_rate": stored.learning_rate,
        **Train.read(resolved["train"]).keyed(),
        "cell": stored.cell,
    }  # fmt: skip
    for name, value in wanted.items():
        if getattr(key, name) != value:
            return f"its key has {name} {short(getattr(key, name))}, its row or the experiment {short(value)}"
    kind, _, size = stored.size.partition(" ")
    if not 1 <= stored.hidden_size <= int(size) <= MOST or (kind == "hidden" and stored.hidden_size != int(size)):
        return f"its row has hidden_size {stored.hidden_size}, which is not of the size {stored.size!r}"
    if stored.outcome.engine not in VERSIONS:
        return f"its row has the engine {short(stored.outcome.engine)}, and there are {', '.join(VERSIONS)}"
    if not 1 <= key.layers <= MOST_LAYERS:
        return f"its key has {short(key.layers)} layers"
    if not 1 <= stored.batch_size <= MOST:
        return f"its row has batch_size {stored.batch_size}"
    sections = (("evaluate", key.evaluate), ("solved", key.solved))
    for section, values in sections:
        for name, value in vars(values).items():
            if resolved[section][name] != value:
                return f"its key has {section}.{name} {value!r}, the experiment {resolved[section][name]!r}"
    if key.final.examples != final["examples"]:
        return f"its key has final.examples {key.final.examples!r}, the experiment {final['examples']!r}"
    for sha in (*key.cell_sources, *key.task_sources):
        if sha not in texts:
            return f"the text {sha[:12]} that it was trained with is not stored"
        if texts[sha].sha256 != sha:
            return f"the stored text of {texts[sha].module} is not the one that it was trained with ({sha[:12]})"
    return ""


def _close(a: float | None, b: float | None, tolerance: float) -> bool:
    if a is None or b is None or not (math.isfinite(a) and math.isfinite(b)):
        return a == b or (a is not None and b is not None and math.isnan(a) and math.isnan(b))
    return abs(a - b) <= tolerance


def _worst(then: Outcome, now: Outcome) -> float:
    return max(
        (abs(a.loss - b.loss) for a, b in zip(then.curve, now.curve, strict=False) if math.isfinite(a.loss - b.loss)),
        default=0.0,
    )


def _differences(then: Outcome, now: Outcome, exact: bool) -> Iterator[tuple[str, str]]:
    """Yield where each difference is and what it is, in the order of training."""
    if now.cause and not then.cause:
        yield "in its status", f"it failed now: {' '.join(now.traceback.strip().splitlines()[-1:])}"
    loss, accuracy = (0.0, 0.0) if exact else (LOSS_TOLERANCE, ACCURACY_TOLERANCE)
    for a, b in zip(then.curve, now.curve, strict=False):
        if a.step != b.step:
            yield f"at step {a.step}", f"the curve has step {a.step} stored, step {b.step} now"
        early = min(loss, EARLY_TOLERANCE) if a.step <= EARLY_STEPS else loss
        for name, tolerance in (("loss", early), ("bit_accuracy", accuracy), ("sequence_accuracy", accuracy)):
            if not _close(getattr(a, name), getattr(b, name), tolerance):
                yield f"at step {a.step}", f"{name} {getattr(a, name)!r} stored, {getattr(b, name)!r} now"
    if exact and len(then.curve) != len(now.curve):
        yield "at the end of its curve", f"{len(then.curve)} points stored, {len(now.curve)} now"
    names = (
        ("status", "cause", "steps_to_solved", "examples_to_solved", "target_bits_to_solved", "final_step",
         "diverged_at", "final_loss", "final_bit_accuracy", "final_sequence_accuracy")
        if exact else ("cause",)
    )  # fmt: skip
    for name in names:
        a, b = getattr(then, name), getattr(now, name)
        if a != b and not (isinstance(a, float) and _close(a, b, 0.0)):
            yield f"in its {name}", f"{a!r} stored, {b!r} now"
    for i, (e, f) in enumerate(zip(then.evaluations, now.evaluations, strict=False)):
        if (e.by, e.value) != (f.by, f.value):
            yield f"in final evaluation {i}", f"by {e.by!r} {e.value!r} stored, by {f.by!r} {f.value!r} now"
        for name in ("bit_accuracy", "sequence_accuracy"):
            if not _close(getattr(e, name), getattr(f, name), accuracy):
                at = f" by {e.by} {e.value}" if e.by else ""
                yield f"in the final evaluation{at}", f"{name} {getattr(e, name)!r} stored, {getattr(f, name)!r} now"
    if len(then.evaluations) != len(now.evaluations):
        yield "in its final evaluations", f"{len(then.evaluations)} stored, {len(now.evaluations)} now"
