"""The work on one chunk: make the cell and the engine, train, and turn every failure into records."""

from __future__ import annotations

import os
import socket
import time
import traceback
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache

import torch

from cellbench.engines import LONGEST, USUAL_BATCHES, Engine, Refused, optimizer_of, prepare
from cellbench.errors import CellError, TaskError
from cellbench.model import Blueprint, blueprint_of, task_of
from cellbench.plugins import Timeout, contained, kept
from cellbench.records import VERSIONS, CellSpec, Chunk, Outcome, TaskSpec, Train
from cellbench.training.data import longest
from cellbench.training.loop import train
from cellbench.training.timeout import limit
from cellbench.wording import one_line


def ready(chunk: Chunk) -> tuple[Blueprint, Engine]:
    """Make the chunk's model and its engine ready to train; the last 64 are kept for the chunks to come.

    Raises:
        CellError: the cell cannot be made.
        Refused: the engine cannot carry it.
    """
    settings = chunk.settings
    steps = longest(task_of(settings.task, settings.own), settings, [chunk.point.parameters])
    # the other engines are ready for every batch and length at once: one entry for all points
    at = (chunk.point.batch_size, steps) if chunk.engine == "lanes" else None
    task = (settings.task, settings.own)
    return _made(chunk.cell, chunk.hidden_size, task, chunk.engine, settings.train.updates(), chunk.device, at)


@lru_cache(maxsize=64)
def _made(
    cell: CellSpec,
    hidden_size: int,
    task: tuple[str, TaskSpec | None],
    engine: str,
    how: Train,
    device: str,
    at: tuple[int, int] | None,
) -> tuple[Blueprint, Engine]:
    """Make the blueprint and the engine that many chunks share; the arguments are the key of the cache."""
    blueprint = blueprint_of(cell, hidden_size, task_of(*task))
    batch_sizes, longest_one = (USUAL_BATCHES, LONGEST) if at is None else ((at[0],), at[1])
    made = prepare(engine, blueprint, optimizer_of(how), how.clip_norm, batch_sizes, longest_one, device)
    return blueprint, made


def work(chunk: Chunk) -> list[Outcome]:
    """Train a chunk, and return one outcome per replica, in the chunk's order. Never raises for what a cell does."""
    torch.set_num_threads(1)  # numbers must not depend on how many cores a worker has
    started, clock = datetime.now(UTC), time.perf_counter()
    with kept(chunk.cell.factory):  # the chunks to come must not depend on this one
        outcomes = _attempt(chunk)
    # replicas are trained together, so each is charged an equal part of the time
    seconds = (time.perf_counter() - clock) / len(chunk.replicas)
    return [
        replace(
            outcome,
            engine=chunk.engine,
            engine_version=VERSIONS[chunk.engine],
            seconds=seconds,
            started=started.isoformat(timespec="milliseconds"),
            finished=datetime.now(UTC).isoformat(timespec="milliseconds"),
            host=socket.gethostname(),
            worker=str(os.getpid()),
            attempt=chunk.attempt,
        )
        for outcome in outcomes
    ]


def _attempt(chunk: Chunk) -> list[Outcome]:
    """Train a chunk. If a cell fails, train its replicas one by one, so that the others are not lost with it.

    If memory is short, train its halves one after the other: numbers do not depend on which replicas share a chunk.
    """
    try:
        with limit(chunk.settings.train.timeout, _attempt.__code__), contained():
            blueprint, engine = ready(chunk)
            return list(train(chunk, task_of(chunk.settings.task, chunk.settings.own), engine, blueprint))
    except Timeout:
        said = f"timed out: the chunk took more than {chunk.settings.train.timeout:g} s (train.timeout)"
        return _failed(chunk, "machine", said)
    except MemoryError:
        short = traceback.format_exc()
    except TaskError as error:  # no fault of the cell: once the task is right, it is trained
        return _failed(chunk, "machine", str(error))
    except Refused as refusal:
        return _failed(chunk, "machine", f"the engine {chunk.engine} refuses the cell on this worker: {refusal}")
    except torch.AcceleratorError as error:  # it may be another replica's, and this process can use the card no more
        return _failed(chunk, "machine", f"the card failed, and the next run tries again: {one_line(error)}")
    except Exception as error:
        # as torch's allocators say, of the CPU and of a card
        out = isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
        short = traceback.format_exc() if out else ""
        if not short and (len(chunk.replicas) == 1 or isinstance(error, CellError)):
            said = f"{chunk.cell.label} (from {chunk.cell.provider})\n{traceback.format_exc()}"
            return _failed(chunk, "cell", said)
    # here the failed attempt is gone, and with it the memory that it had
    if short and len(chunk.replicas) == 1:
        # the machine's fault: another one may train the same replica
        said = (
            f"not enough memory to train one replica of {chunk.cell.label}: fewer --workers, a smaller batch or "
            f"evaluate.examples take less, or train it on another machine\n{short}"
        )
        return _failed(chunk, "machine", said)
    middle = len(chunk.replicas) // 2
    if short:
        parts = [chunk.replicas[:middle], chunk.replicas[middle:]]
    else:  # one replica raised: each by itself, so that a failure does not depend on which replicas share a chunk
        parts = [(r,) for r in chunk.replicas]
    return [outcome for part in parts for outcome in _attempt(replace(chunk, replicas=part))]


def _failed(chunk: Chunk, cause: str, said: str) -> list[Outcome]:
    """Make the outcomes of a chunk that failed; `cause` is a `Cause` of cellbench.records."""
    return [Outcome(key=r.key, status="failed", cause=cause, traceback=said) for r in chunk.replicas]  # type: ignore[arg-type]
