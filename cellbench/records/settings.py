"""The records that travel: from the grid to the workers, and back to the store. Imports nothing of ours.

The replica's key is here too. It is the contract between results and code: what it holds, and when it changes,
stands in docs/results.md, each row with its test.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

NUMBERS_VERSION = 1
"""Raised only when a golden trajectory of the reference engine changes; then every replica is trained anew."""

Value = int | float | str
Pairs = tuple[tuple[str, Any], ...]
"""A mapping as pairs, so that the record is hashable and its order is fixed."""


@dataclass(frozen=True)
class Point:
    """A grid point.

    Attributes:
        parameters: the task's grid parameters, in the task's order.
        batch_size: examples a step.
        size: `hidden 20` or `budget 2000`; cells are paired by it.
    """

    parameters: Pairs
    batch_size: int
    size: str


@dataclass(frozen=True)
class Train:
    """How a replica is trained.

    Attributes:
        max_steps: the budget of updates.
        optimizer: a name in training/optimizers.py.
        clip_norm: the greatest gradient norm left alone; None: no clipping.
        stop_when_solved: leave at the evaluation that completes `hold`.
        timeout: seconds a chunk may take; not part of the key.
    """

    max_steps: int
    optimizer: str
    clip_norm: float | None
    stop_when_solved: bool
    timeout: float


@dataclass(frozen=True)
class Evaluate:
    """When the learning curve is measured, and on how many examples."""

    every: int
    growth: float
    examples: int


@dataclass(frozen=True)
class Solved:
    """The rule for solved: `hold` consecutive evaluations with `metric` at or above `threshold`."""

    metric: str
    threshold: float
    hold: int


@dataclass(frozen=True)
class Final:
    """The evaluation of trained models.

    Attributes:
        examples: how many.
        values: for some of the task's parameters, the values to evaluate at beside the trained one.
        difficulty: whether to measure by the task's difficulty too, on a quarter of the examples for each.
    """

    examples: int
    values: tuple[tuple[str, tuple[Value, ...]], ...]
    difficulty: bool


@dataclass(frozen=True)
class Settings:
    """All that replicas of an experiment share."""

    task: str
    train: Train
    evaluate: Evaluate
    solved: Solved
    final: Final


@dataclass(frozen=True)
class Source:
    """The text of a module that the replica's numbers may depend on.

    Attributes:
        module: its dotted name, or for a cell from a file its path relative to that file's folder.
        text: the whole text.
    """

    module: str
    text: str

    @property
    def sha256(self) -> str:
        """Of the text in UTF-8, in hexadecimal."""
        return _sha256(self.text)


@dataclass(frozen=True)
class CellSpec:
    """A cell as an experiment asks for it, with all that a worker needs to make it.

    Attributes:
        label: the name in tables; not part of the key.
        name: the registered name, or the name given to a cell from a file.
        factory: `package.module:Class` for a registered cell, `mycell.py:MyCell` for one from a file.
        options: passed to the factory, defaults included.
        learn_initial_state: whether the initial state is trained.
        readout_hidden: units of one more layer before the readout, or None.
        sources: the defining module's text first, then the local modules it imports.
        from_file: whether the worker makes the cell from `sources`, rather than from a plugin that is installed.
        provider: `distribution version` of the plugin, for messages; not part of the key.
    """

    label: str
    name: str
    factory: str
    options: Pairs = ()
    learn_initial_state: bool = False
    readout_hidden: int | None = None
    sources: tuple[Source, ...] = field(default=(), repr=False)
    from_file: bool = False
    provider: str = ""


@dataclass(frozen=True)
class ReplicaKey:
    """All that a replica sees. Two replicas with equal keys have equal numbers on the same engine and processor.

    Attributes:
        task, task_sources: the task's name, and the SHA-256 of its module's text.
        parameters, batch_size, size: the grid point.
        seed: names the data's and the initial weights' streams.
        learning_rate: of the optimizer.
        max_steps, optimizer, clip_norm, stop_when_solved: from `train`; not its timeout.
        evaluate, solved, final: whole.
        cell, factory, options: which cell; not its label.
        cell_sources: SHA-256 of the text of the module that defines the cell, and of the local modules it imports.
        learn_initial_state, readout_hidden: the rest of the model.
        numbers_version: of cellbench.
    """

    task: str
    task_sources: tuple[str, ...]
    parameters: Pairs
    batch_size: int
    size: str
    seed: int
    learning_rate: float
    max_steps: int
    optimizer: str
    clip_norm: float | None
    stop_when_solved: bool
    evaluate: Evaluate
    solved: Solved
    final: Final
    cell: str
    factory: str
    options: Pairs
    cell_sources: tuple[str, ...]
    learn_initial_state: bool
    readout_hidden: int | None
    numbers_version: int = NUMBERS_VERSION

    def text(self) -> str:
        """The key as canonical JSON: what is hashed."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=repr)

    @classmethod
    def parse(cls, text: str) -> ReplicaKey:
        """The key that has this text.

        Raises:
            ValueError: it is not the text of a key.
        """
        try:
            raw = {name: _hashable(value) for name, value in json.loads(text).items() if not isinstance(value, dict)}
            whole = json.loads(text)
            final = {name: _hashable(value) for name, value in whole["final"].items()}
            key = cls(
                **{
                    **raw,
                    "evaluate": Evaluate(**whole["evaluate"]),
                    "solved": Solved(**whole["solved"]),
                    "final": Final(**final),
                }
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None
        if key.text() != text:
            raise ValueError("written otherwise")
        return key

    def digest(self) -> str:
        """32 hexadecimal digits: the first half of the SHA-256 of `text()`."""
        return _sha256(self.text())[:32]

    def member(self, seed: int, learning_rate: float) -> ReplicaKey:
        """This key with those two."""
        return replace(self, seed=seed, learning_rate=learning_rate)

    def family_text(self) -> str:
        """`text()` with neither seed nor learning rate: what the replicas of a cell at a point share.

        It is kept in the store, for people to read.
        """
        return self.member(None, None).text()  # type: ignore[arg-type]

    def texts(self) -> Callable[[int, float], str]:
        """`(seed, learning_rate) -> text()` of this key with those two: the rest is written out once."""
        # both numbers stand in the text as JSON writes them, between parts that no seed or rate changes
        marked = self.member("\x00seed", "\x00rate").text()  # type: ignore[arg-type]
        head, rest = marked.split(json.dumps("\x00rate"))
        middle, tail = rest.split(json.dumps("\x00seed"))
        # JSON writes a finite number as repr does, which takes a tenth of the time
        return lambda seed, learning_rate: f"{head}{learning_rate!r}{middle}{seed!r}{tail}"

    def digests(self) -> Callable[[int, float], str]:
        """`(seed, learning_rate) -> digest()` of this key with those two."""
        text = self.texts()
        return lambda seed, learning_rate: _sha256(text(seed, learning_rate))[:32]


def family_of(text: str) -> str:
    """16 hexadecimal digits that stand for a family: of the SHA-256 of its text."""
    return _sha256(text)[:16]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Replica:
    """One model to train: a cell at a point, with a seed and a learning rate."""

    key: str
    seed: int
    learning_rate: float


@dataclass(frozen=True)
class Fit:
    """A cell at a size, measured: hidden size, parameters, numbers of state, multiply-adds a step.

    A cell that cannot be made, or whose first step raises, has no sizes; `broken` says why, in one line. Its replicas
    are planned all the same, and end as failed.
    """

    hidden_size: int
    parameters: int | None
    state: int | None
    multiply_adds: int | None
    broken: str = ""


@dataclass(frozen=True)
class Planned:
    """A cell at a point with its replicas, seeds outermost.

    Attributes:
        cell, point, fit: what is planned.
        key: the replicas' key, but for the seed and the learning rate.
        replicas: in order.
    """

    cell: CellSpec
    point: Point
    fit: Fit
    key: ReplicaKey
    replicas: tuple[Replica, ...]


@dataclass(frozen=True)
class Chunk:
    """Replicas of one cell at one point, trained together by one worker.

    Attributes:
        cell, point, hidden_size, settings: what they share.
        engine: `lanes`, `stack` or `reference`.
        replicas: in the order of the plan.
        attempt: 1, or more after a machine's fault.
        cost: a rough guess of its seconds, for the order of chunks and the time left.
    """

    cell: CellSpec
    point: Point
    hidden_size: int
    settings: Settings
    engine: str
    replicas: tuple[Replica, ...]
    attempt: int = 1
    cost: float = 0.0


@dataclass(frozen=True)
class CurvePoint:
    """One evaluation of the learning curve: loss in nats a bit, accuracies as shares."""

    step: int
    loss: float
    bit_accuracy: float
    sequence_accuracy: float


@dataclass(frozen=True)
class Evaluation:
    """One final evaluation.

    Attributes:
        by: empty at the trained parameters, else a task parameter's name or the task's difficulty.
        value: of it; None where `by` is empty.
        bit_accuracy, sequence_accuracy: shares.
    """

    by: str
    value: Value | None
    bit_accuracy: float
    sequence_accuracy: float


Status = Literal["solved", "censored", "diverged", "failed"]
Cause = Literal["", "cell", "machine"]


@dataclass(frozen=True)
class Outcome:
    """What became of one replica. Every planned replica ends in exactly one.

    Attributes:
        key: the replica's.
        status: `solved`; `censored`: not solved within max_steps; `diverged`: went non-finite unsolved; `failed`.
        cause: of `failed`: `cell` (the cell's code raised; counts as never solved), or `machine` (killed, timed out,
            out of memory; missing from the statistics by name, tried again by the next run).
        steps_to_solved: the first of the `hold` evaluations; None if not solved.
        examples_to_solved, target_bits_to_solved: seen in training by then.
        final_step: the last update.
        final_loss, final_bit_accuracy, final_sequence_accuracy: of the final evaluation at the trained parameters; the
            accuracies are 0 for one that diverged.
        diverged_at: the step whose loss or gradient was not finite, or whose loss exceeded the bound; may be filled for
            a solved replica too.
        curve, evaluations: in order.
        engine, isa, compiler: what the bits depend on beside the key.
        seconds: of training and evaluating this replica's chunk, divided by its replicas.
        started, finished: UTC, ISO 8601.
        host, worker, attempt: where it ran.
        traceback: of a failure.
    """

    key: str
    status: Status
    cause: Cause = ""
    steps_to_solved: int | None = None
    examples_to_solved: int | None = None
    target_bits_to_solved: int | None = None
    final_step: int = 0
    final_loss: float | None = None
    final_bit_accuracy: float | None = None
    final_sequence_accuracy: float | None = None
    diverged_at: int | None = None
    curve: tuple[CurvePoint, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    engine: str = ""
    isa: str = ""
    compiler: str = ""
    seconds: float = 0.0
    started: str = ""
    finished: str = ""
    host: str = ""
    worker: str = ""
    attempt: int = 1
    traceback: str = ""


def pairs(mapping: Iterable[tuple[str, Any]]) -> Pairs:
    """A mapping's items, sorted by key, lists as tuples."""
    return tuple(sorted((str(k), _hashable(v)) for k, v in mapping))


def _hashable(value: Any) -> Any:
    if isinstance(value, dict):
        return pairs(value.items())
    if isinstance(value, list | tuple):
        return tuple(_hashable(v) for v in value)
    return value
