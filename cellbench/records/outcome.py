"""What became of a replica."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cellbench.records.settings import CPU, Value


@dataclass(frozen=True)
class CurvePoint:
    """One evaluation of the learning curve: loss in nats per bit, accuracies as shares from 0 to 1."""

    step: int
    loss: float
    bit_accuracy: float
    sequence_accuracy: float


@dataclass(frozen=True)
class Evaluation:
    """One final evaluation.

    Attributes:
        by: empty at the trained parameters, else a task parameter's name or the task's difficulty.
        value: of that parameter or difficulty; None where `by` is empty.
        bit_accuracy, sequence_accuracy: shares from 0 to 1.
    """

    by: str
    value: Value | None
    bit_accuracy: float
    sequence_accuracy: float


Status = Literal["solved", "censored", "diverged", "failed"]


Cause = Literal["", "cell", "machine"]


@dataclass(frozen=True)
class Outcome:
    """What became of one replica. Every planned replica ends with exactly one outcome.

    Attributes:
        key: the replica's.
        status: `solved`; `censored`: not solved within max_steps; `diverged`: became non-finite before it was solved;
            `failed`.
        cause: of `failed`: `cell` (the cell's code raised; counts as never solved), or `machine` (killed, timed out,
            out of memory; listed as missing, left out of the statistics, and tried again by the next run).
        steps_to_solved: the step of the first of the `hold` evaluations; None if not solved.
        examples_to_solved, target_bits_to_solved: how many training had seen by that step.
        final_step: the step of the last update.
        final_loss, final_bit_accuracy, final_sequence_accuracy: of the final evaluation at the trained parameters; the
            accuracies are 0 for one that diverged.
        diverged_at: the step whose loss or gradient was not finite, or whose loss exceeded the bound; a solved replica
            may have one too.
        curve, evaluations: in order.
        engine, isa, compiler, device: what the numbers depend on besides the key, to the last bit.
        engine_version: of the engine's numbers; see `cellbench.records.versions`.
        seconds: the time to train and evaluate this replica's chunk, divided by the number of its replicas.
        started, finished: UTC, ISO 8601.
        host, worker, attempt: where it ran.
        traceback: of a failure.
        weights: the trained tensors, if the chunk asked to keep them: an .npz file. Stored beside the table.
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
    engine_version: int = 1
    device: str = CPU
    seconds: float = 0.0
    started: str = ""
    finished: str = ""
    host: str = ""
    worker: str = ""
    attempt: int = 1
    traceback: str = ""
    weights: bytes | None = field(default=None, repr=False)
