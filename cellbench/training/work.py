"""What a worker does with a chunk: make the cell and the engine, train, and turn every failure into records."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from types import FrameType

import torch

from cellbench import sources
from cellbench.errors import CellError
from cellbench.plugins import Registry, discover, load_factory
from cellbench.records import CellSpec, Chunk, Outcome
from cellbench.task import Task
from cellbench.training.engines import Engine, Refused
from cellbench.training.engines.choice import prepare
from cellbench.training.loop import train
from cellbench.training.model import Blueprint
from cellbench.training.optimizers import OPTIMIZERS


class _Timeout(BaseException):
    """Not an Exception, so that a cell's own `except Exception` does not swallow it."""


@lru_cache(maxsize=1)
def _registry() -> Registry:
    return discover()


@lru_cache(maxsize=8)
def task_of(name: str) -> Task:
    """The registered task, made once a process."""
    task: Task = load_factory(_registry().find("task", name))()
    return task


def blueprint_of(cell: CellSpec, hidden_size: int, task: Task) -> Blueprint:
    """How the cell's model is made.

    Raises:
        CellError, PluginError: the factory cannot be loaded.
    """
    if cell.from_file:
        factory = sources.load(cell.sources, cell.factory.rpartition(":")[2])
    else:
        factory = load_factory(_registry().find("cell", cell.name))
    return Blueprint(
        factory=factory,
        origin=cell.factory,
        options=cell.options,
        input_size=task.input_size,
        hidden_size=hidden_size,
        output_size=task.output_size,
        readout_hidden=cell.readout_hidden,
        learn_initial_state=cell.learn_initial_state,
    )


@lru_cache(maxsize=64)
def _made(
    cell: CellSpec, hidden_size: int, task: str, engine: str, optimizer: str, clip_norm: float | None
) -> tuple[Blueprint, Engine]:
    blueprint = blueprint_of(cell, hidden_size, task_of(task))
    return blueprint, prepare(engine, blueprint, OPTIMIZERS[optimizer], clip_norm)


def work(chunk: Chunk) -> list[Outcome]:
    """Train a chunk; one outcome a replica, in the chunk's order. Never raises for what a cell does."""
    torch.set_num_threads(1)
    started, clock = datetime.now(UTC), time.perf_counter()
    outcomes = _attempt(chunk)
    seconds = (time.perf_counter() - clock) / len(chunk.replicas)
    return [
        replace(
            outcome,
            engine=chunk.engine,
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
    try:
        with _limit(chunk.settings.train.timeout):
            train_settings = chunk.settings.train
            blueprint, engine = _made(
                chunk.cell,
                chunk.hidden_size,
                chunk.settings.task,
                chunk.engine,
                train_settings.optimizer,
                train_settings.clip_norm,
            )
            return list(train(chunk, task_of(chunk.settings.task), engine, blueprint))
    except _Timeout:
        said = f"timed out: the chunk took more than {chunk.settings.train.timeout:g} s (train.timeout)"
        return _failed(chunk, "machine", said)
    except MemoryError:
        return _failed(chunk, "machine", traceback.format_exc())
    except Refused as refusal:
        return _failed(chunk, "machine", f"the engine {chunk.engine} refuses the cell on this worker: {refusal}")
    except Exception as error:
        if "can't allocate memory" in str(error):  # torch's allocator raises RuntimeError
            return _failed(chunk, "machine", traceback.format_exc())
        if len(chunk.replicas) == 1 or isinstance(error, CellError):
            said = f"{chunk.cell.label} (from {chunk.cell.provider})\n{traceback.format_exc()}"
            return _failed(chunk, "cell", said)
    # One of them raised; which one must not depend on who shares the chunk.
    return [outcome for r in chunk.replicas for outcome in _attempt(replace(chunk, replicas=(r,)))]


def _failed(chunk: Chunk, cause: str, said: str) -> list[Outcome]:
    return [Outcome(key=r.key, status="failed", cause=cause, traceback=said) for r in chunk.replicas]  # type: ignore[arg-type]


_PROCESS = threading.Lock()
"""Held while a chunk trains in a thread: torch's generators, modules and imports belong to the whole process."""


AGAIN = 1.0
"""Seconds after which a limit that was not heard is said again."""
PATIENCE = 8
"""How often it is not said while a module is being imported."""


class _Limit:
    """Whether the time is over, and whether its block still runs."""

    def __init__(self) -> None:
        self.rung, self.over = 0, False

    def strikes(self, frame: FrameType | None) -> bool:
        """The time is over: whether the code that stands at this frame is to be interrupted now.

        An import is let finish: interrupted halfway, torch's own would be left in pieces for the chunks after this one.
        """
        if self.over:
            return False
        self.rung += 1
        return self.rung > PATIENCE or not _importing(frame)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code is not _attempt.__code__:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Raise _Timeout in this block after so many seconds, and from it whatever the block makes of being interrupted.

    Code may swallow it (a bare `except:`, a `__del__`) or turn it into an error of its own (libraries do, around their
    imports): neither is the cell's failure, and what such a block returns was not trained undisturbed. What swallows it
    is interrupted again. Both ways interrupt Python code, not a call that never returns to it; that is the executor's
    to end.
    """
    limit = _Limit()
    in_main = threading.current_thread() is threading.main_thread()
    try:
        with _by_signal(limit, seconds) if in_main else _by_thread(limit, seconds):
            yield
    except Exception:
        if not limit.rung:
            raise
    if limit.rung:
        raise _Timeout


@contextmanager
def _by_signal(limit: _Limit, seconds: float) -> Iterator[None]:
    def ring(signum: int, frame: FrameType | None) -> None:
        if limit.strikes(frame):
            raise _Timeout

    before = signal.signal(signal.SIGALRM, ring)

    def end() -> None:
        limit.over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        try:
            yield
        finally:
            end()
    finally:  # the first may be interrupted as it begins
        end()


@contextmanager
def _by_thread(limit: _Limit, seconds: float) -> Iterator[None]:
    """Where no signal reaches: Dask's workers run tasks in threads."""
    me = threading.get_ident()
    throw = ctypes.pythonapi.PyThreadState_SetAsyncExc
    state, ended = threading.Lock(), threading.Event()

    def watch() -> None:
        wait = seconds
        while not ended.wait(wait):
            with state:
                if limit.strikes(sys._current_frames().get(me)):
                    throw(ctypes.c_ulong(me), ctypes.py_object(_Timeout))
            wait = AGAIN

    def end() -> None:
        with state:
            limit.over = True
            throw(ctypes.c_ulong(me), None)  # one thrown just now and not raised yet
        ended.set()

    with _PROCESS:
        threading.Thread(target=watch, daemon=True).start()
        try:
            try:
                yield
            finally:
                end()
        finally:  # the first may be interrupted as it begins
            end()
